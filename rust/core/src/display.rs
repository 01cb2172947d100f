//! How values from a payload are shown to people: escaped and cut (contract 2.5).

/// How many characters of a value are shown.
const SHOWN: usize = 64;

/// `text` with everything escaped that is not plainly visible, cut at 64 characters.
///
/// Control characters, direction marks and other invisible ones would let a payload forge log lines.
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

/// The first 64 characters, as they are, with a mark when there are more.
pub(crate) fn cut(text: &str) -> std::borrow::Cow<'_, str> {
    match text.char_indices().nth(SHOWN) {
        None => text.into(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()).into(),
    }
}
