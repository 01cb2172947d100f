//! Strict RFC 8259 (contract 4), read in one pass without a tree, with byte offsets.
//!
//! A [`Cursor`] walks over bytes; the caller says what it wants next and the cursor either delivers it
//! or returns a [`Syntax`] with the first byte that cannot stand where it stands. `next_*` and the readers
//! check everything, UTF-8 in strings too; nothing here trusts its input.
//! Whatever the caller does not want it must [`Cursor::skip_value`], which checks just as strictly.
//!
//! What nearly every payload holds has a fast way beside the general one: names that are expected,
//! short numbers, short ASCII strings, members that follow each other without white space. Each looks
//! at one window of bytes, so that one test of bounds serves all its loads, and where anything is not
//! as it expects it passes nothing and leaves the rest to the general way.

mod cursor;
mod name;
mod number;
mod string;
mod syntax;
pub(crate) mod tree;

pub use cursor::Cursor;
pub(crate) use cursor::Kind;
pub(crate) use name::MemberName;
pub(crate) use number::Numeric;
pub use number::{Integer, Number};
pub use string::Text;
pub use syntax::{Syntax, SyntaxKind};

/// The deepest nesting that is accepted; the document's own object is depth 1 (contract 4).
pub const MAX_DEPTH: u32 = 32;

/// The longest number that is accepted, in characters (contract 4).
pub const MAX_NUMBER: usize = 1024;

/// Checks that `payload` is exactly one JSON document by the rules of contract 4.
///
/// # Errors
/// The first byte that cannot stand where it stands.
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
