//! The fast path: numbers as gateways write them.
//!
//! All loads are in one window of 32 bytes, so one bounds check serves all of them. This takes half
//! the instructions of the general path, and the value is computed beside the dependency chain that
//! leads to the next byte.

use crate::json::Cursor;
use crate::json::cursor::word_at;

use super::Numeric;
use super::digits::{POWERS_U64, ZEROS, digits_value, leading_digits, value_of_eight};

/// A short number: `-? digit{1,7} '.' digit{1,7}` with at most eight digits in all, or a whole
/// number of at most 15 digits (7 if negative).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Short {
    /// All digits as one number, below 10^15.
    pub(super) whole: u64,
    /// How many of them are behind the decimal point.
    pub(super) places: usize,
    pub(super) negative: bool,
}

impl Short {
    /// The number at the beginning of a window, and its length; `None` if it has another form or is
    /// no number.
    ///
    /// ```text
    /// window                         -12.5,…
    /// word >> 8: behind the sign     12.5,…     2 digits
    /// eight: digits, shifted up                 0x0201_0000_0000_0000
    /// fraction: 8 bytes from `end`   5,…        1 digit
    /// eight >> 8 | 5 << 56                      0x0502_0100_0000_0000   both parts
    /// value_of_eight                 00000125   whole 125, places 1: -12.5
    /// ```
    #[inline(always)]
    fn read(window: &[u8; 32]) -> Option<(Self, usize)> {
        let negative = window[0] == b'-';
        let start = usize::from(negative);
        let word = word_at(window, 0) >> (8 * start);
        let digits = leading_digits(word);
        // Behind a 0 no digit may follow. Behind a sign the word has seven bytes, and the last of
        // them must be no digit: else the number may go on.
        let most = if word as u8 == b'0' { 1 } else { 7 - start };
        if digits.wrapping_sub(1) >= most {
            return if digits == 8 && word as u8 != b'0' { Self::read_long(window, word) } else { None };
        }
        let mut end = start + digits;
        let mut eight = (word ^ ZEROS) << (64 - 8 * digits);
        let mut places = 0;
        if window[end] == b'.' {
            let fraction = word_at(window, end + 1);
            places = leading_digits(fraction);
            if places.wrapping_sub(1) >= 7 {
                return None;
            }
            let low = (fraction ^ ZEROS) << (64 - 8 * places);
            end += 1 + places;
            if digits + places > 8 {
                if window[end] | 0x20 == b'e' {
                    return None;
                }
                let whole = value_of_eight(eight) * POWERS_U64[places] + value_of_eight(low);
                return Some((Self { whole, places, negative }, end));
            }
            eight = eight >> (8 * places) | low;
        }
        if window[end] | 0x20 == b'e' {
            return None;
        }
        Some((Self { whole: value_of_eight(eight), places, negative }, end))
    }

    /// A whole number that begins with the eight digits of `word`, such as a time in milliseconds.
    #[inline]
    fn read_long(window: &[u8; 32], word: u64) -> Option<(Self, usize)> {
        let second = word_at(window, 8);
        let digits = leading_digits(second);
        let end = 8 + digits;
        if digits == 8 || matches!(window[end], b'.' | b'e' | b'E') {
            return None;
        }
        let low = if digits == 0 { 0 } else { digits_value(second, digits) };
        let whole = value_of_eight(word ^ ZEROS) * POWERS_U64[digits] + low;
        Some((Self { whole, places: 0, negative: false }, end))
    }
}

impl Cursor<'_> {
    /// Reads a short number and the comma directly behind it. Without either `None`; the cursor
    /// then has not moved.
    #[inline(always)]
    pub(crate) fn short_number_and_comma<T: Numeric>(&mut self) -> Option<T> {
        let window = self.window()?;
        let (short, length) = Short::read(window)?;
        if window[length] != b',' {
            return None;
        }
        let value = T::from_short(short)?;
        self.advance(length + 1);
        Some(value)
    }

    /// Reads a short number. For any other `None`; the cursor then has not moved.
    #[inline(always)]
    pub(crate) fn short_number<T: Numeric>(&mut self) -> Option<T> {
        let (short, length) = Short::read(self.window()?)?;
        let value = T::from_short(short)?;
        self.advance(length);
        Some(value)
    }
}
