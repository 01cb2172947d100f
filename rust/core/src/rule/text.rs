//! STRING and FILE: at most so many bytes of UTF-8 (contract 5, 5.6).

use crate::collect::Collect;
use crate::json::{Cursor, Text};
use crate::verdict::{Fault, Reason, Stop};

use super::{Context, type_fault, value_fault};

/// The longest STRING when the model says nothing, and the longest FILE, in bytes.
pub(crate) const DEFAULT_MAX_LENGTH: usize = 1024;

/// What faults call a string.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TextKind {
    String,
    File,
}

impl TextKind {
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::String => ("STRING", "STRING without U+0000"),
            Self::File => ("FILE", "FILE without U+0000"),
        }
    }
}

/// A string of limited length.
#[derive(Clone, Debug)]
pub(crate) struct TextRule {
    pub(crate) kind: TextKind,
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
        let (type_name, faithful) = self.kind.names();
        let text = read_text(cursor, type_name, faithful)?;
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

/// Reads a string that a store can keep: one without U+0000 (contract 5.6). `type_name` and `faithful` are what faults
/// expect of another type and of another string.
#[inline(always)]
pub(crate) fn read_text<'a>(
    cursor: &mut Cursor<'a>,
    type_name: &'static str,
    faithful: &'static str,
) -> Result<Text<'a>, Stop> {
    let start = cursor.offset();
    if cursor.peek() != b'"' {
        return Err(type_fault(cursor, type_name));
    }
    let text = cursor.string()?;
    if text.has_nul() {
        cursor.back_to(start);
        return Err(value_fault(cursor, faithful));
    }
    Ok(text)
}
