//! STRING and FILE: at most so many bytes of UTF-8 (contract 5, 5.6).

use crate::collect::Collect;
use crate::json::{Cursor, Text};
use crate::verdict::{Fault, Reason, Stop};

use super::{Context, type_fault, value_fault};

/// The longest STRING when the model says nothing, and the longest FILE, in bytes.
pub(crate) const DEFAULT_MAX_LENGTH: usize = 1024;

/// What faults call a string: one of another JSON type is missed, or one without U+0000.
#[derive(Debug)]
pub(crate) struct TextNames {
    pub(crate) of_type: &'static str,
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

impl TextRule {
    #[inline(always)]
    pub(crate) fn check<C: Collect>(
        &self,
        cursor: &mut Cursor<'_>,
        context: &mut Context<'_>,
        collect: &mut C,
    ) -> Result<(), Stop> {
        let start = cursor.offset();
        let text = read_text(cursor, self.names)?;
        // Decoding never makes a string longer, so most need not be decoded.
        let mut length = text.raw_len();
        if length > self.max_length {
            length = text.decode_in(context.buffer).len();
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
}

/// Reads a string that a store can keep: one without U+0000 (contract 5.6).
#[inline(always)]
pub(crate) fn read_text<'a>(cursor: &mut Cursor<'a>, names: &'static TextNames) -> Result<Text<'a>, Stop> {
    let start = cursor.offset();
    if cursor.peek() != b'"' {
        return Err(type_fault(cursor, names.of_type));
    }
    let text = cursor.string()?;
    if text.has_nul() {
        cursor.back_to(start);
        return Err(value_fault(cursor, names.of_value));
    }
    Ok(text)
}
