//! Strict RFC 8259 (contract 4), read in one pass without a tree, with byte offsets.
//!
//! A pull parser: the caller asks a [`Cursor`] for what it expects next, and gets it or a
//! [`Syntax`] error with the first byte that is not valid at its place. Every function checks all
//! that it reads, including UTF-8 in strings. What the caller does not need it must skip
//! ([`Cursor::skip_value`]), which checks as strictly.
//!
//! The general path has a fast path beside it for what nearly every payload contains: expected
//! names, short numbers, short ASCII strings, members without white space between them. A fast path
//! looks at one window of bytes, so that one bounds check serves all its loads. If the input has
//! another form, it does not move the cursor and the general path reads the input.
//!
//! | file | content |
//! | --- | --- |
//! | `cursor` | position, white space, structure, skipping |
//! | `name` | comparing the payload with expected names |
//! | `string`, `number/` | scalars |
//! | `syntax` | syntax errors |
//! | `tree` | whole documents, for models and device files only |
//! | `write` | writing strings |

mod cursor;
mod name;
mod number;
mod string;
mod syntax;
pub(crate) mod tree;
mod write;

pub use cursor::Cursor;
pub(crate) use cursor::JsonType;
pub(crate) use name::{MemberName, NextName};
pub(crate) use number::{Float, Numeric};
pub use number::{Integer, Number};
pub use string::Text;
pub use syntax::{Syntax, SyntaxKind};
pub(crate) use write::{push_string, push_string_within};

/// Maximum nesting depth; the outermost object has depth 1 (contract 4).
pub const MAX_DEPTH: u32 = 32;

/// Maximum length of a number in characters (contract 4).
pub const MAX_NUMBER: usize = 1024;

/// Checks that `payload` is exactly one JSON document by the rules of contract 4.
///
/// # Errors
/// The first byte that is not valid at its place.
///
/// ```
/// assert!(pointgate_core::json::check(br#"{"a":[1,2.5e3,"\u00e9"]}"#).is_ok());
/// assert_eq!(pointgate_core::json::check(b"[1,]").unwrap_err().offset(), 3);
/// ```
pub fn check(payload: &[u8]) -> Result<(), Syntax> {
    let mut cursor = Cursor::new(payload);
    cursor.begin()?;
    cursor.skip_value()?;
    cursor.finish()
}
