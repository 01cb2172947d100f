//! ARRAY: elements of one simple type, up to a maximum number (contract 5).

use crate::collect::Collect;
use crate::fault::at_value::type_fault;
use crate::fault::{Fault, Reason, Stop};
use crate::reader::Reader;

use super::check::check_inside;
use super::stored::elements_with_numbers;
use super::{Check, Rule};

/// `maxSize` if the model does not set it.
pub(crate) const DEFAULT_MAX_SIZE: usize = 128;

/// An array of at most `max_size` elements.
#[derive(Clone, Debug)]
pub(crate) struct ArrayRule {
    /// INT, FLOAT, DOUBLE or STRING.
    pub(crate) element: Box<Rule>,
    pub(crate) max_size: usize,
}

impl Check for ArrayRule {
    fn check<C: Collect>(&self, reader: &mut Reader<'_>, collect: &mut C) -> Result<(), Stop> {
        let start = reader.cursor.offset();
        // The two most frequent element types get a loop of their own, without a dispatch for each
        // element.
        match &*self.element {
            Rule::Double(rule) => self.elements(reader, rule, collect),
            Rule::Text(rule) => self.elements(reader, rule, collect),
            rule => self.elements(reader, rule, collect),
        }?;
        collect.json(|| {
            let token = reader.cursor.bytes_from(start);
            let rewrites = reader.settings.numbers_as_strings && self.element.accepts_numbers();
            if rewrites { elements_with_numbers(self, token) } else { token.into() }
        });
        Ok(())
    }
}

impl ArrayRule {
    #[inline(always)]
    fn elements<C: Collect>(
        &self,
        reader: &mut Reader<'_>,
        rule: &impl Check,
        collect: &mut C,
    ) -> Result<(), Stop> {
        if reader.cursor.peek() != b'[' {
            return Err(type_fault(&reader.cursor, "ARRAY"));
        }
        reader.cursor.open()?;
        let mut first = true;
        let mut size = 0;
        while reader.cursor.next_element(&mut first)? {
            if size == self.max_size {
                // The pointer names the array, the offset is that of the first excess element.
                return Err(Fault::here(Reason::Length, reader.cursor.offset())
                    .expected(format!("at most {} elements", self.max_size))
                    .got("more elements")
                    .into());
            }
            let run = rule.check_run(&mut reader.cursor, self.max_size - size - 1);
            if run > 0 {
                size += run;
                reader.cursor.skip_whitespace();
            }
            check_inside(rule, size, reader, collect)?;
            size += 1;
        }
        Ok(())
    }
}
