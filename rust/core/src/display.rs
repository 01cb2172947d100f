//! Values of a payload in messages: escaped and truncated (contract 2.5).

/// Maximum number of characters that are shown.
const SHOWN: usize = 64;

/// `text` with invisible characters escaped, truncated to 64 characters.
///
/// Control characters, direction marks and other invisible characters would let a payload forge log
/// lines.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(4 * SHOWN));
    for (count, character) in text.chars().enumerate() {
        if count == SHOWN {
            shown.push('…');
            break;
        }
        match character {
            '\'' => shown.push('\''),
            _ => shown.extend(character.escape_debug()),
        }
    }
    shown
}

/// [`shown`] in double quotes.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", shown(text))
}

/// The first 64 characters, unescaped, with an ellipsis if there are more.
pub(crate) fn cut(text: &str) -> std::borrow::Cow<'_, str> {
    match text.char_indices().nth(SHOWN) {
        None => text.into(),
        Some((end, _)) => format!("{}…", &text[..end]).into(),
    }
}
