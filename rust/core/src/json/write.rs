//! Strings written as JSON: escaped, and truncated to a limit.

use std::fmt::Write as _;

/// Appends `text` as a JSON string.
pub(crate) fn push_string(json: &mut String, text: &str) {
    push_string_within(json, text, usize::MAX);
}

/// Appends `text` as a JSON string of at most `limit` bytes, truncated between characters, with an
/// ellipsis.
pub(crate) fn push_string_within(json: &mut String, text: &str, limit: usize) {
    const MARK: &str = "…";
    let room = limit.saturating_sub(2);
    json.push('"');
    let start = json.len();
    // The last place at which the string can be truncated so that the ellipsis fits.
    let mut cut_at = start;
    for character in text.chars() {
        if json.len() - start + MARK.len() <= room {
            cut_at = json.len();
        }
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            ' '..='~' => json.push(character),
            _ if character.escape_debug().len() == 1 => json.push(character),
            // Invisible characters are escaped: replies are shown in logs and on terminals.
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(json, "\\u{unit:04x}");
                }
            }
        }
        if json.len() - start > room {
            json.truncate(cut_at);
            json.push_str(MARK);
            break;
        }
    }
    json.push('"');
}
