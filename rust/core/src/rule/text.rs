//! STRING and FILE: strings of a limited number of UTF-8 bytes (contract 5, 5.6).

use crate::collect::Collect;
use crate::fault::{Fault, Reason, Stop};
use crate::json::Cursor;
use crate::reader::Reader;

use super::Check;

/// `maxLength` of STRING and FILE in bytes, if the model does not set it.
pub(crate) const DEFAULT_MAX_LENGTH: usize = 1024;

/// What faults call a type whose values are strings.
#[derive(Debug)]
pub(crate) struct TextNames {
    /// In the fault of a value that is no string.
    pub(crate) of_type: &'static str,
    /// In the fault of a string that contains U+0000.
    pub(crate) of_value: &'static str,
}

pub(crate) static STRING: TextNames = TextNames { of_type: "STRING", of_value: "STRING without U+0000" };
pub(crate) static FILE: TextNames = TextNames { of_type: "FILE", of_value: "FILE without U+0000" };
pub(super) static DATE: TextNames = TextNames { of_type: "DATE", of_value: "DATE without U+0000" };
pub(super) static TEXT_ENUM: TextNames =
    TextNames { of_type: "ENUM of STRING", of_value: "ENUM of STRING without U+0000" };

/// A string of limited length.
#[derive(Clone, Debug)]
pub(crate) struct TextRule {
    /// [`STRING`] or [`FILE`].
    pub(crate) names: &'static TextNames,
    /// In bytes of UTF-8, escapes decoded.
    pub(crate) max_length: usize,
}

impl Check for TextRule {
    #[inline(always)]
    fn check<C: Collect>(&self, reader: &mut Reader<'_>, collect: &mut C) -> Result<(), Stop> {
        let start = reader.cursor.offset();
        let text = reader.text(self.names)?;
        // Decoding never makes a string longer, so only a string whose raw form is too long is
        // decoded.
        let mut length = text.raw_len();
        if length > self.max_length {
            length = text.decode_in(reader.buffer).len();
        }
        if length <= self.max_length {
            collect.text(text);
            return Ok(());
        }
        Err(Fault::here(Reason::Length, start)
            .expected(format!("at most {} bytes", self.max_length))
            .got(format!("{length} bytes"))
            .into())
    }

    #[inline(always)]
    fn check_run(&self, cursor: &mut Cursor<'_>, most: usize) -> usize {
        let mut behind = cursor.clone();
        let mut read = 0;
        while read < most {
            let mut next = behind.clone();
            let Some(raw) = next.short_string_and_comma() else { break };
            if raw.len() > self.max_length {
                break;
            }
            behind = next;
            read += 1;
        }
        *cursor = behind;
        read
    }
}
