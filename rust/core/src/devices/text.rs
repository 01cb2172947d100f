//! Detects by its first bytes what a device file is: text in UTF-8 or UTF-16, or something else,
//! which is named.
//!
//! The result is the text in UTF-8 without byte-order mark. Invalid UTF-8 is not reported here but
//! with its line.

use std::borrow::Cow;

use crate::Problem;

const UTF8_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Magic numbers of files that are saved under the name of a device file by mistake.
const FOREIGN: [(&[u8], &str); 14] = [
    (b"PK\x03\x04", "an Excel workbook or a zip archive: save it as CSV UTF-8"),
    (b"\xD0\xCF\x11\xE0", "an old Excel workbook: save it as CSV UTF-8"),
    (b"\x1F\x8B", "gzip: decompress it"),
    (b"\x28\xB5\x2F\xFD", "zstd: decompress it"),
    (b"BZh91AY&SY", "bzip2: decompress it"),
    (b"\xFD7zXZ\x00", "xz: decompress it"),
    (b"7z\xBC\xAF\x27\x1C", "a 7z archive: unpack it"),
    (b"PAR1", "a Parquet file: export it as CSV"),
    (b"SQLite format 3\x00", "an SQLite database: export it as CSV"),
    (b"%PDF-", "a PDF document: export it as CSV"),
    (b"{\\rtf", "an RTF document: save it as plain text"),
    (b"b0VIM ", "a swap file of vim"),
    (b"version https://git-lfs.github.com/spec/", "a pointer of Git LFS: run git lfs pull"),
    (b"\x00\x00\x00\x00", "NUL bytes: the file was not written to its end"),
];

/// Beginnings of web pages that servers send in place of the file; in upper or lower case, after
/// white space.
const MARKUP: [&[u8]; 3] = [b"<!doctype", b"<html", b"<?xml"];

/// The text of a file as UTF-8.
pub(super) fn decoded(data: &[u8]) -> Result<Cow<'_, [u8]>, Problem> {
    if let Some(rest) = data.strip_prefix(UTF8_MARK) {
        return Ok(rest.into());
    }
    // Before UTF-16: the little-endian mark of UTF-32 begins with that of UTF-16.
    if data.starts_with(b"\xFF\xFE\x00\x00") || data.starts_with(b"\x00\x00\xFE\xFF") {
        return Err(unexpected("UTF-32: save it as UTF-8"));
    }
    if let Some(rest) = data.strip_prefix(b"\xFF\xFE") {
        return from_utf16(rest, u16::from_le_bytes).map(Cow::Owned);
    }
    if let Some(rest) = data.strip_prefix(b"\xFE\xFF") {
        return from_utf16(rest, u16::from_be_bytes).map(Cow::Owned);
    }
    if let Some((_, name)) = FOREIGN.iter().find(|(mark, _)| data.starts_with(mark)) {
        return Err(unexpected(name));
    }
    if let [first, second, ..] = data
        && (*first == 0) != (*second == 0)
    {
        return Err(unexpected("UTF-16 without a byte-order mark: save it as UTF-8"));
    }
    let begins = |mark: &&[u8]| {
        data.trim_ascii_start().get(..mark.len()).is_some_and(|head| head.eq_ignore_ascii_case(mark))
    };
    if MARKUP.iter().any(begins) {
        return Err(unexpected("a page of HTML or XML"));
    }
    Ok(data.into())
}

fn unexpected(name: &str) -> Problem {
    Problem::new("", format!("expected a device file of UTF-8 text, got {name}"))
}

fn from_utf16(data: &[u8], unit: fn([u8; 2]) -> u16) -> Result<Vec<u8>, Problem> {
    let (pairs, rest) = data.as_chunks::<2>();
    let mut text = String::with_capacity(pairs.len());
    let problem = |text: &str, got: &str| {
        let line = 1 + text.bytes().filter(|&byte| byte == b'\n').count();
        Problem::new(format!("line {line}"), format!("expected UTF-16, got {got}"))
    };
    for character in char::decode_utf16(pairs.iter().map(|&pair| unit(pair))) {
        match character {
            Ok(character) => text.push(character),
            Err(_) => return Err(problem(&text, "half of a surrogate pair")),
        }
    }
    if !rest.is_empty() {
        return Err(problem(&text, "half of a character at the end: the file was not written to its end"));
    }
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    fn refusal(data: &[u8]) -> String {
        decoded(data).err().map(|problem| problem.to_string()).unwrap_or_default()
    }

    #[test]
    fn marks_say_how_text_is_encoded() {
        let text = "\u{feff}inv-1\r\né\u{1f600}";
        let expected = text.trim_start_matches('\u{feff}').as_bytes();
        for data in [text.as_bytes().to_vec(), utf16(text, u16::to_le_bytes), utf16(text, u16::to_be_bytes)] {
            assert_eq!(decoded(&data).ok().as_deref(), Some(expected));
        }
    }

    #[test]
    fn utf16_that_is_broken_is_named_with_its_line() {
        let cut = utf16("\u{feff}a\nb\nc", u16::to_le_bytes);
        let found = refusal(cut.get(..cut.len() - 1).unwrap_or_default());
        assert_eq!(
            found,
            "line 3: expected UTF-16, got half of a character at the end: the file was not written to its end"
        );
        let half = [b"\xFF\xFE\x61\x00\x0A\x00\x3D\xD8\x62\x00".as_slice()].concat();
        assert_eq!(refusal(&half), "line 2: expected UTF-16, got half of a surrogate pair");
    }

    #[test]
    fn what_is_no_text_is_named() {
        for (data, word) in [
            (b"PK\x03\x04\x14\x00".as_slice(), "Excel workbook"),
            (b"\xFF\xFE\x00\x00a\x00\x00\x00", "UTF-32"),
            (b"i\x00n\x00v\x00", "UTF-16 without a byte-order mark"),
            (b"\x00i\x00n\x00v", "UTF-16 without a byte-order mark"),
            (&[0; 512], "NUL bytes"),
            (b"\n <!DOCTYPE html>\n<html>", "HTML"),
            (b"\x1F\x8B\x08\x00", "gzip"),
            (b"b0VIM 9.0", "swap file of vim"),
        ] {
            let found = refusal(data);
            assert!(found.starts_with("expected a device file of UTF-8 text, got "), "{found}");
            assert!(found.contains(word), "{found}");
        }
    }
}
