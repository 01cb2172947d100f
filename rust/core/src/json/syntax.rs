//! Syntax errors.

use std::fmt;

/// Where and why a payload is not JSON.
///
/// It has eight bytes, so that results fit registers: offsets have 32 bits, because payloads are
/// smaller than 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syntax {
    offset: u32,
    kind: SyntaxKind,
}

/// What was expected, or what is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyntaxKind {
    /// The document ends too early.
    UnexpectedEnd,
    /// Bytes that are not UTF-8.
    InvalidUtf8,
    /// U+FEFF before the document.
    ByteOrderMark,
    /// Not the beginning of a value.
    ExpectedValue,
    /// No string in place of a member's name.
    ExpectedName,
    /// No colon after a member's name.
    ExpectedColon,
    /// Neither a comma nor the end of an object.
    ExpectedCommaOrBrace,
    /// Neither a comma nor the end of an array.
    ExpectedCommaOrBracket,
    /// A number without a digit where one is required.
    ExpectedDigit,
    /// A digit after a leading zero.
    LeadingZero,
    /// A number of more than [`super::MAX_NUMBER`] characters.
    NumberTooLong,
    /// A control character inside a string.
    ControlCharacter,
    /// A backslash before something that cannot be escaped.
    InvalidEscape,
    /// `\u` escape of half a surrogate pair.
    LoneSurrogate,
    /// Nested deeper than [`super::MAX_DEPTH`].
    TooDeep,
    /// Bytes after the document.
    TrailingBytes,
}

impl Syntax {
    #[cold]
    pub(crate) fn new(offset: usize, kind: SyntaxKind) -> Self {
        // Payloads are smaller than 4 GiB (`MAX_PAYLOAD_BYTES`); beyond that, in other documents,
        // the offset is clamped.
        Self { offset: u32::try_from(offset).unwrap_or(u32::MAX), kind }
    }

    /// The first byte that is not valid at its place; the document's length for an unexpected end.
    pub fn offset(self) -> usize {
        self.offset as usize
    }

    /// What was expected, or what is not allowed.
    pub fn kind(self) -> SyntaxKind {
        self.kind
    }
}

impl SyntaxKind {
    /// What JSON requires at this place, as a noun phrase.
    pub fn expected(self) -> &'static str {
        match self {
            Self::UnexpectedEnd => "more JSON",
            Self::InvalidUtf8 => "UTF-8",
            Self::ByteOrderMark => "a document without byte-order mark",
            Self::ExpectedValue => "a JSON value",
            Self::ExpectedName => "a member name in double quotes",
            Self::ExpectedColon => "':'",
            Self::ExpectedCommaOrBrace => "',' or '}'",
            Self::ExpectedCommaOrBracket => "',' or ']'",
            Self::ExpectedDigit => "a digit",
            Self::LeadingZero => "a number without leading zero",
            Self::NumberTooLong => "a number of at most 1024 characters",
            Self::ControlCharacter => "control characters in strings to be escaped",
            Self::InvalidEscape => "one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX",
            Self::LoneSurrogate => "surrogate escapes in pairs",
            Self::TooDeep => "a depth of at most 32",
            Self::TrailingBytes => "nothing after the document",
        }
    }
}

impl fmt::Display for Syntax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: expected {}", self.offset, self.kind.expected())
    }
}

impl std::error::Error for Syntax {}
