//! Recognises what a payload that is not JSON probably is (contract 4): compressed, in another
//! encoding, or JSON with a frequent mistake, such as a trailing comma.
//!
//! It runs only for refused payloads and looks at a few bytes around the syntax error (and at all
//! NUL bytes behind a document).

use std::borrow::Cow;

use crate::json::{Syntax, SyntaxKind};

/// `expected` and `got` of the fault.
pub(crate) struct Foreign {
    pub(crate) expected: &'static str,
    pub(crate) got: Cow<'static, str>,
}

const TEXT: &str = "a JSON document as UTF-8 text";

/// Magic numbers of other formats, and what they are called in messages.
const BEGINNINGS: [(&[u8], &str); 15] = [
    (b"\x1f\x8b", "gzip-compressed data, such as the Java SDK's GZIP mode sends"),
    (b"LZ4Block", "LZ4-compressed data, such as the Java SDK's LZ4 mode sends"),
    (b"\x89LZO\0", "LZO-compressed data"),
    (b"\x04\x22\x4d\x18", "LZ4-compressed data"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data"),
    (b"BZh", "bzip2-compressed data"),
    (b"\xfd7zXZ\0", "xz-compressed data"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\xff\x06\0\0sNaPpY", "Snappy-compressed data"),
    (b"\xff\xfe\0\0", "UTF-32 text, little-endian"),
    (b"\0\0\xfe\xff", "UTF-32 text, big-endian"),
    (b"\xff\xfe", "UTF-16 text, little-endian"),
    (b"\xfe\xff", "UTF-16 text, big-endian"),
    (b"H4sI", "gzip-compressed data in base64"),
    (b"eyJ", "JSON in base64"),
];

/// Second byte of a zlib header, by compression level; the first is `x`.
const ZLIB_LEVELS: [u8; 4] = [0x01, 0x5e, 0x9c, 0xda];

/// Literals of other languages.
const WORDS: [(&str, &str); 7] = [
    ("NaN", "NaN, which JSON lacks: leave the point out"),
    ("Infinity", "Infinity, which JSON lacks: leave the point out"),
    ("True", "True: JSON spells it true"),
    ("False", "False: JSON spells it false"),
    ("None", "None: JSON spells it null"),
    ("undefined", "undefined, which JSON lacks: leave the point out"),
    ("//", "a comment, which JSON lacks"),
];

/// Recognises why this payload is no JSON document; `None` if it is none of the frequent mistakes.
#[cold]
pub(crate) fn recognise(payload: &[u8], syntax: Syntax) -> Option<Foreign> {
    // Another format fails at its first byte, UTF-16 without a byte-order mark at its second.
    let got = if syntax.offset() <= 1 { beginning(payload) } else { None };
    if let Some(got) = got {
        return Some(Foreign { expected: TEXT, got: got.into() });
    }
    let rest = payload.get(syntax.offset()..).unwrap_or_default();
    if syntax.kind() == SyntaxKind::TrailingBytes {
        let got = trailing(rest)?;
        return Some(Foreign { expected: syntax.kind().expected(), got });
    }
    if let Some(got) = comma(payload, syntax) {
        return Some(Foreign { expected: syntax.kind().expected(), got: got.into() });
    }
    let in_place_of_value = !matches!(
        syntax.kind(),
        SyntaxKind::ControlCharacter | SyntaxKind::InvalidEscape | SyntaxKind::LoneSurrogate
    );
    let got = in_place_of_value.then(|| in_place(rest)).flatten()?;
    Some(Foreign { expected: syntax.kind().expected(), got: got.into() })
}

fn beginning(payload: &[u8]) -> Option<&'static str> {
    if let Some((_, name)) = BEGINNINGS.iter().find(|(magic, _)| payload.starts_with(magic)) {
        return Some(name);
    }
    match payload {
        [b'x', level, _, ..] if ZLIB_LEVELS.contains(level) => Some("zlib-compressed data"),
        [b'{' | b'[' | b'"', 0, ..] => Some("UTF-16 text, little-endian"),
        [0, b'{' | b'[' | b'"', ..] => Some("UTF-16 text, big-endian"),
        _ => None,
    }
}

/// What follows a complete document.
fn trailing(rest: &[u8]) -> Option<Cow<'static, str>> {
    if rest.iter().all(|&byte| byte == 0) {
        return Some(match rest.len() {
            1 => "a NUL byte, such as ends a string in C".into(),
            zeros => format!("{zeros} NUL bytes, such as fill a buffer behind a string in C").into(),
        });
    }
    match rest {
        [0, ..] => Some("a NUL byte, such as ends a string in C, and more behind it".into()),
        [b'{', ..] => Some("another document: send one request a message".into()),
        _ => None,
    }
}

/// A misplaced comma: before a closing bracket, or inside a number.
fn comma(payload: &[u8], syntax: Syntax) -> Option<&'static str> {
    let (read, rest) = payload.split_at_checked(syntax.offset())?;
    match (syntax.kind(), read, rest) {
        // Only in an object: in an array, `1,5` is two valid numbers.
        (SyntaxKind::ExpectedName, [.., b'0'..=b'9', b','], [b'0'..=b'9', ..]) => {
            Some("a digit behind a comma: a number has a decimal point, and no comma")
        }
        (SyntaxKind::ExpectedName, _, [b'}', ..]) => Some("'}' behind a trailing comma, which JSON lacks"),
        (SyntaxKind::ExpectedValue, _, [b']', ..]) if read.trim_ascii_end().ends_with(b",") => {
            Some("']' behind a trailing comma, which JSON lacks")
        }
        _ => None,
    }
}

/// What stands in place of a value, a name or a comma.
fn in_place(rest: &[u8]) -> Option<&'static str> {
    match rest {
        [b'\'', ..] => return Some("a single quote: JSON has double ones"),
        [b'\\', b'"', ..] => {
            return Some("an escaped quote: the JSON was encoded twice, or quoted for a shell");
        }
        // U+2018 to U+201F: typographic quotes, single and double.
        [0xE2, 0x80, 0x98..=0x9F, ..] => return Some("a typographic quote: JSON has straight ones"),
        [0, ..] => return Some("a NUL byte"),
        _ => {}
    }
    WORDS.iter().find(|(word, _)| rest.starts_with(word.as_bytes())).map(|&(_, got)| got)
}
