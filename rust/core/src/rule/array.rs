//! ARRAY: elements of one simple type, not too many (contract 5).

use crate::collect::Collect;
use crate::json::Cursor;
use crate::verdict::{Fault, Reason, Stop};

use super::stored::elements_with_numbers;
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
    pub(crate) fn check<C: Collect>(
        &self,
        cursor: &mut Cursor<'_>,
        context: &mut Context<'_>,
        collect: &mut C,
    ) -> Result<(), Stop> {
        let start = cursor.offset();
        // What the elements must be is asked once, not for each of them.
        match &*self.element {
            Rule::Double(rule) => self.elements(cursor, |cursor| rule.check(cursor, context, &mut ())),
            Rule::Text(rule) => self.elements(cursor, |cursor| rule.check(cursor, context, &mut ())),
            rule => self.elements(cursor, |cursor| rule.check(cursor, context, &mut ())),
        }?;
        collect.json(|| {
            let token = cursor.bytes_from(start);
            let rewrites = context.settings.numbers_as_strings && self.element.reads_numbers();
            if rewrites { elements_with_numbers(self, token) } else { token.into() }
        });
        Ok(())
    }

    #[inline(always)]
    fn elements<'a>(
        &self,
        cursor: &mut Cursor<'a>,
        mut check: impl FnMut(&mut Cursor<'a>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
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
            check(cursor).map_err(|stop| stop.inside(size))?;
            size += 1;
        }
        Ok(())
    }
}
