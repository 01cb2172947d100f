//! What every check of one request needs: the position in the payload, the product's settings, and
//! buffers.

use crate::catalog::ProductSettings;
use crate::fault::Stop;
use crate::fault::at_value::{type_fault, value_fault};
use crate::generation_set::GenerationSet;
use crate::json::{Cursor, Number, Numeric, Syntax, Text};
use crate::rule::TextNames;

/// Reads one request.
pub(crate) struct Reader<'r> {
    pub(crate) cursor: Cursor<'r>,
    pub(crate) settings: &'r ProductSettings,
    /// Times before 1971 that were accepted (contract 3.5).
    pub(crate) early_times: u64,
    /// Holds a decoded string while it is checked.
    pub(crate) buffer: &'r mut String,
    /// Members of the current STRUCT that have been read.
    pub(crate) members: &'r mut GenerationSet,
}

impl<'r> Reader<'r> {
    /// Reads a number; also one in a string if the product accepts those (contract 5.4).
    ///
    /// `None` if the value has another type; the cursor then still stands on the value.
    #[inline(always)]
    pub(crate) fn number<T: Numeric>(&mut self) -> Result<Option<T>, Syntax> {
        match self.cursor.short_number() {
            Some(value) => Ok(Some(value)),
            None => self.any_number(),
        }
    }

    #[inline(never)]
    fn any_number<T: Numeric>(&mut self) -> Result<Option<T>, Syntax> {
        match self.cursor.peek() {
            b'-' | b'0'..=b'9' => Ok(Some(T::from_number(self.cursor.number()?))),
            b'"' if self.settings.numbers_as_strings => {
                let start = self.cursor.offset();
                let number = Number::parse(self.cursor.string()?.decode_in(self.buffer)).map(T::from_number);
                if number.is_none() {
                    self.cursor.rewind_to(start);
                }
                Ok(number)
            }
            _ => Ok(None),
        }
    }

    /// Reads a string without U+0000, which no store keeps faithfully (contract 5.6).
    #[inline(always)]
    pub(crate) fn text(&mut self, names: &'static TextNames) -> Result<Text<'r>, Stop> {
        let start = self.cursor.offset();
        if self.cursor.peek() != b'"' {
            return Err(type_fault(&self.cursor, names.of_type));
        }
        let text = self.cursor.string()?;
        if text.has_nul() {
            self.cursor.rewind_to(start);
            return Err(value_fault(&self.cursor, names.of_value));
        }
        Ok(text)
    }
}
