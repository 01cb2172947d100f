//! ARRAY: elements of one simple type, not too many (contract 5).

use crate::json::Cursor;
use crate::verdict::{Fault, Reason, Stop};

use super::{Context, Rule, type_fault};

/// The most elements when the model says nothing.
pub(crate) const DEFAULT_MAX_SIZE: usize = 128;

/// An array of at most `max_size` elements.
#[derive(Clone, Debug)]
pub(crate) struct ArrayRule {
    /// INT, FLOAT, DOUBLE or STRING.
    pub(crate) element: Box<Rule>,
    pub(crate) max_size: usize,
}

impl ArrayRule {
    pub(crate) fn check(&self, cursor: &mut Cursor<'_>, context: &mut Context<'_>) -> Result<(), Stop> {
        if cursor.peek() != b'[' {
            return Err(type_fault(cursor, "ARRAY"));
        }
        cursor.open()?;
        let mut first = true;
        let mut size = 0;
        while cursor.next_element(&mut first)? {
            if size == self.max_size {
                // The array is named, but it is from here on that it is too long.
                return Err(Fault::here(Reason::Length, cursor.offset())
                    .expected(format!("at most {} elements", self.max_size))
                    .got("more elements")
                    .into());
            }
            self.element.check(cursor, context).map_err(|stop| stop.inside(size))?;
            size += 1;
        }
        Ok(())
    }
}
