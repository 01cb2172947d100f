//! Strings: scanned eight bytes at a time, and decoded only if the caller needs the text.
//!
//! The scan loads a word and looks for its first byte that is `"`, `\` or a control character
//! ([`special_bytes`]): if there is none it advances by eight bytes, else to that byte. A short
//! ASCII string takes a fast path in one window, without the loop, which needs a third of the
//! instructions.
//!
//! The scan checks escapes, including surrogate pairs, and UTF-8 if a byte is not ASCII. So
//! decoding cannot fail.

use std::borrow::Cow;

use super::cursor::word_at;
use super::{Cursor, Syntax, SyntaxKind};

/// A JSON string of a payload, not decoded yet.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// What is between the quotes: valid UTF-8, escapes not decoded.
    raw: &'a [u8],
    escaped: bool,
}

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The high bit of every byte of `word` that is `"`, `\` or a control character. Correct only for
/// ASCII, and up to the first such byte, which is all that callers use.
///
/// ```text
/// word                     temp":1,   0x2C31_3A22_706D_6574
/// word ^ 0x02…                        0x2E33_3820_726F_6776   `"` (0x22) becomes 0x20
/// … - 0x21…                           0x0D12_16FF_514E_4655   0x00 to 0x20: high bit set
/// (word ^ 0x5C…) - 0x01…              0x6F6C_657D_2B30_3827   the same for `\`, now 0x00
/// (… | …) & !word & 0x80…             0x0000_0080_0000_0000   39 trailing zeros: 4 bytes
/// ```
///
/// XOR 0x02 exchanges `"` and the space, and permutes the control characters. A borrow affects only
/// bytes behind the first special one.
#[inline(always)]
const fn special_bytes(word: u64) -> u64 {
    let quote_or_control = (word ^ (LOW * 0x02)).wrapping_sub(LOW * 0x21);
    let backslash = (word ^ (LOW * b'\\' as u64)).wrapping_sub(LOW);
    quote_or_control | backslash
}

/// Number of leading bytes of the little-endian `word` that need no further check in a string.
#[inline(always)]
const fn plain_bytes(word: u64) -> usize {
    ((special_bytes(word) & !word & HIGH).trailing_zeros() / 8) as usize
}

/// Number of leading bytes of the little-endian `word` that need no further check in a string and
/// are ASCII.
#[inline(always)]
const fn plain_ascii_bytes(word: u64) -> usize {
    (((special_bytes(word) | word) & HIGH).trailing_zeros() / 8) as usize
}

impl<'a> Cursor<'a> {
    /// Reads a string; the cursor stands on its opening quote.
    #[inline(always)]
    pub fn string(&mut self) -> Result<Text<'a>, Syntax> {
        if let Some(raw) = self.short_string() {
            return Ok(Text { raw, escaped: false });
        }
        let start = self.offset() + 1;
        let escaped = self.any_string()?;
        Ok(Text { raw: &self.bytes()[start..self.offset() - 1], escaped })
    }

    /// Reads a string of at most 24 ASCII characters without escapes; `None` for any other.
    #[inline(always)]
    fn short_string(&mut self) -> Option<&'a [u8]> {
        let window = self.window::<32>()?;
        let mut length = 0;
        for word in 0..3 {
            let plain = plain_ascii_bytes(word_at(window, 1 + 8 * word));
            length += plain;
            if plain < 8 {
                break;
            }
        }
        let raw = window.get(1..1 + length).filter(|_| window.get(1 + length) == Some(&b'"'))?;
        self.advance(length + 2);
        Some(raw)
    }

    /// Reads a string as [`Self::short_string`] does, if it begins here and has a comma directly
    /// behind it.
    #[inline(always)]
    pub(crate) fn short_string_and_comma(&mut self) -> Option<&'a [u8]> {
        let window = self.window::<32>()?;
        let raw = self.short_string().filter(|_| window[0] == b'"')?;
        (window.get(raw.len() + 2) == Some(&b',')).then(|| {
            self.advance(1);
            raw
        })
    }

    /// Reads any string; returns whether it has escapes.
    ///
    /// A whole [`Text`] would be returned in memory, and slow the callers' fast path, too.
    #[inline(never)]
    fn any_string(&mut self) -> Result<bool, Syntax> {
        debug_assert_eq!(self.peek(), b'"');
        self.advance(1);
        let start = self.offset();
        let mut escaped = false;
        // The OR of all bytes so far: its high bits say whether one of them is not ASCII.
        let mut beyond_ascii = 0;
        loop {
            while let Some(word) = self.word() {
                let plain = plain_bytes(word);
                self.advance(plain);
                if plain < 8 {
                    beyond_ascii |= word & !(u64::MAX << (8 * plain));
                    break;
                }
                beyond_ascii |= word;
            }
            match self.peek() {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    self.escape().map_err(|syntax| self.invalid_utf8(start).unwrap_or(syntax))?;
                }
                0..0x20 => {
                    let control = self.fail(SyntaxKind::ControlCharacter);
                    return Err(self.invalid_utf8(start).unwrap_or(control));
                }
                byte => {
                    beyond_ascii |= u64::from(byte);
                    self.advance(1);
                }
            }
        }
        if beyond_ascii & HIGH != 0
            && let Some(syntax) = self.invalid_utf8(start)
        {
            return Err(syntax);
        }
        self.advance(1);
        Ok(escaped)
    }

    fn escape(&mut self) -> Result<(), Syntax> {
        let start = self.offset();
        self.advance(1);
        match self.peek() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {
                self.advance(1);
                Ok(())
            }
            b'u' => match self.unicode_escape()? {
                0xD800..0xDC00 => {
                    for (ahead, expected) in [(0, b'\\'), (1, b'u')] {
                        if self.peek_at(ahead) != expected {
                            // If the document ends here, that is the error: the other half may be
                            // missing only because of that.
                            self.advance(ahead);
                            let lone = Syntax::new(start, SyntaxKind::LoneSurrogate);
                            return Err(self
                                .break_off()
                                .map_or(lone, |kind| Syntax::new(self.offset(), kind)));
                        }
                    }
                    self.advance(1);
                    match self.unicode_escape()? {
                        0xDC00..0xE000 => Ok(()),
                        _ => Err(Syntax::new(start, SyntaxKind::LoneSurrogate)),
                    }
                }
                0xDC00..0xE000 => Err(Syntax::new(start, SyntaxKind::LoneSurrogate)),
                _ => Ok(()),
            },
            _ => Err(self.fail(SyntaxKind::InvalidEscape)),
        }
    }

    /// Reads `uXXXX`; the cursor stands on the `u`.
    fn unicode_escape(&mut self) -> Result<u32, Syntax> {
        self.advance(1);
        let mut unit = 0;
        for _ in 0..4 {
            let Some(digit) = char::from(self.peek()).to_digit(16) else {
                return Err(self.fail(SyntaxKind::InvalidEscape));
            };
            unit = unit * 16 + digit;
            self.advance(1);
        }
        Ok(unit)
    }
}

impl<'a> Text<'a> {
    /// Number of bytes between the quotes, escapes not decoded.
    pub(crate) fn raw_len(self) -> usize {
        self.raw.len()
    }

    /// The text's bytes; `None` if it has escapes.
    #[inline(always)]
    pub(crate) fn plain(self) -> Option<&'a [u8]> {
        (!self.escaped).then_some(self.raw)
    }

    /// The text between the quotes, escapes not decoded.
    fn raw(self) -> &'a str {
        str::from_utf8(self.raw).unwrap_or_else(|_| unreachable!("`Cursor::string` has checked the UTF-8"))
    }

    /// The decoded text; allocates only if it has escapes.
    pub fn decode(self) -> Cow<'a, str> {
        if !self.escaped {
            return Cow::Borrowed(self.raw());
        }
        let mut text = String::with_capacity(self.raw.len());
        self.decode_into(&mut text);
        Cow::Owned(text)
    }

    /// The decoded text, in `buffer` if it has escapes.
    pub(crate) fn decode_in<'b>(self, buffer: &'b mut String) -> &'b str
    where
        'a: 'b,
    {
        if !self.escaped {
            return self.raw();
        }
        buffer.clear();
        self.decode_into(buffer);
        buffer
    }

    /// The bytes of the decoded text: cheaper than [`Self::decode_in`], because UTF-8 is not
    /// checked again.
    pub(crate) fn bytes_in<'b>(self, buffer: &'b mut String) -> &'b [u8]
    where
        'a: 'b,
    {
        if self.escaped { self.decode_in(buffer).as_bytes() } else { self.raw }
    }

    /// Whether the decoded text is `name`.
    pub fn is(self, name: &str) -> bool {
        // An escape has at most six bytes for one byte of text, so a longer string cannot be equal.
        if self.escaped {
            self.raw.len() <= 6 * name.len() && self.decode() == name
        } else {
            self.raw == name.as_bytes()
        }
    }

    /// Whether the text contains U+0000, which no store keeps faithfully (contract 5.6).
    #[inline(always)]
    pub(crate) fn has_nul(self) -> bool {
        // Only as an escape: a raw NUL is a syntax error.
        self.escaped && escapes_nul(self.raw)
    }

    fn decode_into(self, text: &mut String) {
        let mut rest = self.raw();
        while let Some((plain, escape)) = rest.split_once('\\') {
            text.push_str(plain);
            rest = decode_escape(escape, text);
        }
        text.push_str(rest);
    }
}

#[cold]
fn escapes_nul(raw: &[u8]) -> bool {
    // Decodes for certainty: in `\\u0000` the backslash itself is escaped.
    let text = Text { raw, escaped: true };
    text.raw().contains("\\u0000") && text.decode().contains('\0')
}

/// Decodes the escape behind a backslash and returns what follows it. The scan has checked its
/// form.
fn decode_escape<'a>(escape: &'a str, text: &mut String) -> &'a str {
    let mut characters = escape.chars();
    let decoded = match characters.next() {
        Some('b') => '\u{8}',
        Some('f') => '\u{c}',
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        Some('u') => {
            let unit = hexadecimal(&mut characters);
            if (0xD800..0xDC00).contains(&unit) {
                characters.nth(1);
                let low = hexadecimal(&mut characters);
                scalar(0x10000 + ((unit & 0x3FF) << 10) + (low & 0x3FF))
            } else {
                scalar(unit)
            }
        }
        Some(itself) => itself,
        None => unreachable!("`Cursor::string` has checked that something follows a backslash"),
    };
    text.push(decoded);
    characters.as_str()
}

fn hexadecimal(characters: &mut std::str::Chars<'_>) -> u32 {
    characters.take(4).filter_map(|digit| digit.to_digit(16)).fold(0, |unit, digit| unit * 16 + digit)
}

fn scalar(value: u32) -> char {
    char::from_u32(value).unwrap_or_else(|| unreachable!("`Cursor::string` has refused lone surrogates"))
}
