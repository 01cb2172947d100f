//! Cleans one key of a file, and reports suspicious ones.
//!
//! A device key of `EnOS` has ASCII letters, digits and `- _ . :`. So white space, invisible
//! characters, quotes and list separators at its ends do not belong to it and are removed.
//! Everything else is kept: a suspicious key is reported and still counts as a key.

use std::borrow::Cow;

use crate::display::quoted;

/// What spreadsheets and databases write for a missing value or a sum, in lower case.
const NO_KEYS: [&str; 20] = [
    "#n/a",
    "#ref!",
    "#name?",
    "#value!",
    "#div/0!",
    "#num!",
    "#null!",
    "#spill!",
    "null",
    "nil",
    "none",
    "nan",
    "n/a",
    "\\n",
    "total",
    "totals",
    "grand total",
    "subtotal",
    "sum",
    "summe",
];

const LONGEST_NO_KEY: usize = "grand total".len();

/// Why a key is suspicious.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Characters at its ends were removed.
    Cleaned,
    /// A spreadsheet has converted it to a number.
    Rewritten,
    /// It is probably a missing value, a sum or a separator.
    NoKey,
    /// It has characters that `EnOS` does not allow in keys.
    Foreign,
}

/// Number of variants of [`Doubt`].
pub(super) const DOUBTS: usize = 4;

const fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':')
}

/// White space of any script, and characters without width: joiners, direction marks, byte-order
/// marks.
fn is_blank(character: char) -> bool {
    character.is_whitespace()
        || matches!(character, '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

pub(super) fn trimmed(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// The key of a field or, with `in_list`, of a line.
///
/// Removes quotes around the whole text and `="0007"`, which keeps spreadsheets from reading a
/// number; from a line also the comma or semicolon at its end.
pub(super) fn cleaned(text: &str, in_list: bool) -> Cow<'_, str> {
    if text.bytes().all(is_key_byte) {
        return text.into();
    }
    let mut key = trimmed(text);
    if in_list {
        key = trimmed(key.trim_end_matches([',', ';']));
    }
    let inside = key.strip_prefix("=\"").and_then(|rest| rest.strip_suffix('"'));
    for (inside, quote) in [(inside, "\""), (between(key, '"'), "\""), (between(key, '\''), "'")] {
        if let Some(inside) = inside {
            let inside = trimmed(inside);
            let doubled = quote.repeat(2);
            return if inside.contains(&doubled) {
                inside.replace(&doubled, quote).into()
            } else {
                inside.into()
            };
        }
    }
    key.into()
}

fn between(text: &str, quote: char) -> Option<&str> {
    text.strip_prefix(quote)?.strip_suffix(quote)
}

/// Whether a text is `deviceKey` as people write it: `Device Key`, `device_key`, `DEVICEKEY`.
pub(super) fn is_heading(text: &str) -> bool {
    let text = cleaned(text, true);
    let letters = text.bytes().filter(|byte| !matches!(byte, b' ' | b'_' | b'-'));
    letters.map(|byte| byte.to_ascii_lowercase()).eq(*b"devicekey")
}

/// Whether a text that begins with `#` is no comment but an error value of a spreadsheet.
pub(super) fn is_error_value(text: &str) -> bool {
    NO_KEYS.iter().any(|word| word.starts_with('#') && text.eq_ignore_ascii_case(word))
}

/// Why a key is suspicious, if it is.
pub(super) fn doubt(key: &str) -> Option<Doubt> {
    let is_plain = key.bytes().all(is_key_byte);
    if is_scientific(key) {
        Some(Doubt::Rewritten)
    } else if is_no_key(key) || (is_plain && !key.bytes().any(|byte| byte.is_ascii_alphanumeric())) {
        Some(Doubt::NoKey)
    } else {
        (!is_plain).then_some(Doubt::Foreign)
    }
}

fn is_no_key(key: &str) -> bool {
    // A fast check first: most keys have a digit, and of these words only `#div/0!` has one.
    key.len() <= LONGEST_NO_KEY
        && (key.starts_with('#') || !key.bytes().any(|byte| byte.is_ascii_digit()))
        && NO_KEYS.iter().any(|word| key.eq_ignore_ascii_case(word))
}

/// The text of the warning; `text` is the key before anything was removed.
pub(super) fn reason(doubt: Doubt, key: &str, text: &str) -> String {
    let shown = quoted(key);
    match doubt {
        Doubt::Cleaned => format!("{} was read as {shown}", quoted(text)),
        Doubt::Rewritten => {
            format!("{shown} looks like a number that a spreadsheet rewrote; the key itself is lost")
        }
        Doubt::NoKey if is_no_key(key) => format!("{shown} looks like no device key; it counts as one"),
        Doubt::NoKey => format!("{shown} has no letter and no digit; it counts as a key"),
        Doubt::Foreign => {
            let is_foreign =
                |character: &char| u8::try_from(*character).map_or(true, |byte| !is_key_byte(byte));
            let Some(character) = key.chars().find(is_foreign) else {
                unreachable!("the doubt is about one")
            };
            format!(
                "{shown} has {} (U+{:04X}), expected letters, digits and - _ . :",
                quoted(character.encode_utf8(&mut [0; 4])),
                u32::from(character)
            )
        }
    }
}

/// The error of a repeated key, if a spreadsheet has probably converted several keys to the same
/// number.
pub(super) fn merged(key: &str) -> Option<String> {
    let how = if is_scientific(key) {
        "a number in scientific notation"
    } else if has_lost_digits(key) {
        "a number of which only 15 digits are kept"
    } else {
        return None;
    };
    Some(format!(
        "expected every device key as text, got {} again: {how}, of several keys; export the column as text, or \
         remove the repeated lines",
        quoted(key)
    ))
}

/// `8.6E+14`, `8,6E+14`, `8.6e14`; not `12E5`, which may be a key.
fn is_scientific(key: &str) -> bool {
    fn digits(text: &str) -> Option<&str> {
        let rest = text.trim_start_matches(|character: char| character.is_ascii_digit());
        (rest.len() < text.len()).then_some(rest)
    }
    let Some(rest) = digits(key.strip_prefix(['-', '+']).unwrap_or(key)) else {
        return false;
    };
    let fraction = rest.strip_prefix(['.', ',']);
    let Some(rest) = fraction.map_or(Some(rest), digits) else {
        return false;
    };
    let Some(exponent) = rest.strip_prefix(['e', 'E']) else {
        return false;
    };
    let unsigned = exponent.strip_prefix('+');
    (fraction.is_some() || unsigned.is_some()) && digits(unsigned.unwrap_or(exponent)) == Some("")
}

/// A number with only zeros behind its 15th digit: spreadsheets keep no more digits of a number.
fn has_lost_digits(key: &str) -> bool {
    key.bytes().all(|byte| byte.is_ascii_digit())
        && key
            .as_bytes()
            .get(15..)
            .is_some_and(|rest| !rest.is_empty() && rest.iter().all(|&byte| byte == b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_that_no_key_has_are_taken_off() {
        for text in [
            "inv-1",
            " inv-1\t",
            "inv-1\u{a0}",
            "\u{200b}inv-1\u{feff}",
            "inv-1,",
            "inv-1 ; ",
            "\"inv-1\"",
            "'inv-1',",
            "=\"inv-1\"",
            "\"inv-1 \"",
            "\u{3000}inv-1",
        ] {
            assert_eq!(cleaned(text, true), "inv-1", "{text:?}");
        }
        assert_eq!(cleaned("inv-1,", false), "inv-1,");
        assert_eq!(cleaned("\"a\"\"b\"", false), "a\"b");
        assert_eq!(cleaned("b c", true), "b c");
        assert_eq!(cleaned("\"", true), "\"");
        assert_eq!(cleaned("=\"\"", true), "");
    }

    #[test]
    fn headings_are_what_people_write() {
        for text in
            ["deviceKey", "Device Key", "device_key", "\"DEVICE-KEY\"", "devicekey,", "\u{feff}deviceKey "]
        {
            assert!(is_heading(text), "{text}");
        }
        for text in ["device", "deviceKey2", "deviceKey,name", ""] {
            assert!(!is_heading(text), "{text}");
        }
    }

    #[test]
    fn numbers_that_were_keys_are_known() {
        for key in ["8.6E+14", "8,6E+14", "8.61234e14", "1E+15", "-1.5E+3"] {
            assert_eq!(doubt(key), Some(Doubt::Rewritten), "{key}");
            assert!(merged(key).is_some_and(|reason| reason.contains("scientific")), "{key}");
        }
        for key in
            ["12E5", "E+14", "8.E+14", "8.6E+", "8.6E+1x", "8.6", "860000000000000", "1000000000000001"]
        {
            assert_ne!(doubt(key), Some(Doubt::Rewritten), "{key}");
            assert_eq!(merged(key), None, "{key}");
        }
        assert!(merged("123456789012345000").is_some_and(|reason| reason.contains("15 digits")));
    }

    #[test]
    fn what_is_hardly_a_key_is_doubted() {
        for (key, expected) in [
            ("#N/A", Doubt::NoKey),
            ("Total", Doubt::NoKey),
            ("NULL", Doubt::NoKey),
            ("----", Doubt::NoKey),
            ("b c", Doubt::Foreign),
            ("inv\u{2013}1", Doubt::Foreign),
            ("inv\u{200b}1", Doubt::Foreign),
            ("é", Doubt::Foreign),
        ] {
            assert_eq!(doubt(key), Some(expected), "{key}");
        }
        for key in ["inv-1", "a_b.c:d", "0007", "Total-1"] {
            assert_eq!(doubt(key), None, "{key}");
        }
        let words = reason(Doubt::Foreign, "inv\u{a0}1", "");
        assert_eq!(words, "\"inv\\u{a0}1\" has \"\\u{a0}\" (U+00A0), expected letters, digits and - _ . :");
    }
}
