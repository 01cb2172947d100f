//! Numbers: grammar first, then the type that reads them decides (contract 4 and 5).
//!
//! ```text
//! scan: '-'? digits ('.' digits)? ([eE] [+-]? digits)?
//!       digits go eight at a time: one load finds how many there are and turns them into a value
//! keep: all digits as one whole number, the place of the point as a power of ten
//! f64:  whole * or / 10^n when the whole is at most 2^53 and n at most 22: both operands are exact,
//!       so one IEEE operation rounds once, correctly (Clinger 1990); else `lexical-parse-float`,
//!       which takes at most 14 ns a byte where the standard library can take a hundred (2026-11)
//! f32:  the same with 2^24 and 10, never by way of f64, which would round twice
//! ```
//!
//! A number with more than 19 digits does not fit the whole; its text is read again, exactly.
//!
//! Nearly all numbers of gateways are short, and those have a way of their own (see [`Short`]).

use lexical_parse_float::FromLexical;

use super::cursor::word_at;
use super::{Cursor, MAX_NUMBER, Syntax, SyntaxKind};

/// What a rule reads a number as.
pub(crate) trait Numeric: Sized {
    /// The number's value, or `None` when it takes the long way to find it.
    fn from_short(short: Short) -> Option<Self>;

    /// The value of any number.
    fn from_number(number: Number<'_>) -> Self;
}

/// A number as gateways print them: `-? digit{1,7} '.' digit{1,7}` of at most eight digits in all, or a
/// whole number of at most 15 digits (7 below zero).
///
/// ```text
/// load 8 bytes: the digits before the point; load 8 more behind it: those of the fraction
/// shift the one up to the other, so that one multiplication chain turns both into a value
/// ```
///
/// All loads lie in one window of 32 bytes, so one test of its place serves them. This halves the
/// instructions of a number against the general way; the value is off the path to the next byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Short {
    /// All digits as one number, below 10^15.
    whole: u64,
    /// How many of them are behind the point.
    places: usize,
    negative: bool,
}

impl Short {
    /// The number that a window begins with, and its length; `None` for any other form of number and
    /// for what is no number.
    #[inline(always)]
    #[allow(clippy::needless_bitwise_bool, reason = "a branch less, which is the point")]
    fn read(window: &[u8; 32]) -> Option<(Self, usize)> {
        let negative = window[0] == b'-';
        let start = usize::from(negative);
        let word = word_at(window, 0) >> (8 * start);
        let digits = leading_digits(word);
        // One branch that is hardly ever taken instead of one on each number's first digit.
        let leading_zero = (word as u8 == b'0') & (digits > 1);
        // Of a negative number the word holds seven bytes: the last of them must be seen to be no digit.
        if leading_zero | (digits.wrapping_sub(1) >= 7 - start) {
            return if digits == 8 && !leading_zero { Self::read_long(window, word) } else { None };
        }
        let mut end = start + digits;
        // The missing digits in front become zeros.
        let mut eight = (word ^ ZEROS) << (64 - 8 * digits);
        let mut places = 0;
        if window[end] == b'.' {
            let fraction = word_at(window, end + 1);
            places = leading_digits(fraction);
            if places.wrapping_sub(1) >= 7 || digits + places > 8 {
                return None;
            }
            eight = eight >> (8 * places) | (fraction ^ ZEROS) << (64 - 8 * places);
            end += 1 + places;
        }
        if window[end] | 0x20 == b'e' {
            return None;
        }
        Some((Self { whole: value_of_eight(eight), places, negative }, end))
    }

    /// A whole number that begins with these eight digits: times are such.
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

/// Read for its grammar alone.
impl Numeric for () {
    #[inline(always)]
    fn from_short(_: Short) -> Option<Self> {
        Some(())
    }

    fn from_number(_: Number<'_>) -> Self {}
}

impl Numeric for f64 {
    #[inline(always)]
    fn from_short(short: Short) -> Option<Self> {
        let value = short.whole as i64 as Self / POWERS_F64.get(short.places)?;
        Some(Self::from_bits(value.to_bits() | u64::from(short.negative) << 63))
    }

    #[inline]
    fn from_number(number: Number<'_>) -> Self {
        number.to_f64()
    }
}

impl Numeric for f32 {
    #[inline(always)]
    fn from_short(short: Short) -> Option<Self> {
        if short.whole > 1 << 24 {
            return None;
        }
        let value = short.whole as i32 as Self / POWERS_F32.get(short.places)?;
        Some(Self::from_bits(value.to_bits() | u32::from(short.negative) << 31))
    }

    #[inline]
    fn from_number(number: Number<'_>) -> Self {
        number.to_f32()
    }
}

impl Numeric for Integer {
    #[inline(always)]
    fn from_short(short: Short) -> Option<Self> {
        if short.places > 0 {
            return None;
        }
        let value = short.whole as i64;
        Some(Self::Value(if short.negative { -value } else { value }))
    }

    #[inline]
    fn from_number(number: Number<'_>) -> Self {
        number.to_integer()
    }
}

/// A number as it stands in the payload.
#[derive(Clone, Copy, Debug)]
pub struct Number<'a> {
    /// What the number stands in; its token is cut out only for those who ask.
    bytes: &'a [u8],
    start: usize,
    end: usize,
    /// Every digit before the exponent as one number; meaningless unless `exact`.
    whole: u64,
    /// The value is `whole` times ten to this power.
    power: i32,
    negative: bool,
    /// Whether `whole` and `power` hold the number exactly.
    exact: bool,
}

/// A number, as a whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integer {
    /// Integral, and this.
    Value(i64),
    /// Integral, but beyond 64 bits; true below zero.
    Beyond(bool),
    /// Not integral.
    Fraction,
}

const MAX_WHOLE_DIGITS: usize = 19;
const MAX_EXPONENT_DIGITS: usize = 9;

const POWERS_F64: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];
const POWERS_F32: [f32; 11] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10];
const POWERS_U64: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// Eight times the digit zero.
const ZEROS: u64 = 0x3030_3030_3030_3030;

/// How many of the leading (little-endian: low) bytes of `word` are ASCII digits.
#[inline(always)]
const fn leading_digits(word: u64) -> usize {
    // A digit is 0..=9 after the xor. Adding 0x76 lifts 10 and above into the high bit; bytes that
    // had it before keep it by the or. Only bytes behind the first such one may see a carry.
    let value = word ^ ZEROS;
    let beyond = value.wrapping_add(0x7676_7676_7676_7676) | value;
    ((beyond & 0x8080_8080_8080_8080).trailing_zeros() / 8) as usize
}

/// The value of the first `count` digits of `word`, 1 to 8.
const fn digits_value(word: u64, count: usize) -> u64 {
    // Shifted up, so that the missing ones become leading zeros.
    value_of_eight((word ^ ZEROS) << (64 - 8 * count))
}

/// The value of eight digits, 0 to 9 each, the first one in the lowest byte.
#[inline(always)]
const fn value_of_eight(digits: u64) -> u64 {
    let pairs = (digits * 10).wrapping_add(digits >> 8) & 0x00FF_00FF_00FF_00FF;
    let fours = (pairs * 100).wrapping_add(pairs >> 16) & 0x0000_FFFF_0000_FFFF;
    (fours * 10_000).wrapping_add(fours >> 32) & 0xFFFF_FFFF
}

impl<'a> Cursor<'a> {
    /// Passes over a number that is short and gives its value; `None`, and nothing passed, for any other.
    #[inline(always)]
    pub(crate) fn short_number<T: Numeric>(&mut self) -> Option<T> {
        let (short, length) = Short::read(self.window()?)?;
        let value = T::from_short(short)?;
        self.advance(length);
        Some(value)
    }

    /// Reads a number; the cursor stands on its sign or first digit.
    #[inline(always)]
    pub fn number(&mut self) -> Result<Number<'a>, Syntax> {
        let start = self.offset();
        let negative = self.peek() == b'-';
        self.advance(usize::from(negative));

        let mut whole = 0;
        let first = self.peek();
        let mut digits = self.digits(&mut whole)?;
        if first == b'0' && digits > 1 {
            return Err(Syntax::new(self.offset() - digits + 1, SyntaxKind::LeadingZero));
        }

        let mut power = 0;
        if self.peek() == b'.' {
            self.advance(1);
            let fraction = self.digits(&mut whole)?;
            digits += fraction;
            // Never cut: the token is at most MAX_NUMBER long wherever the power is used.
            power = -(fraction as i32);
        }
        let mut exact = digits <= MAX_WHOLE_DIGITS;
        if matches!(self.peek(), b'e' | b'E') {
            let exponent = self.exponent()?;
            exact &= exponent.is_some();
            power += exponent.unwrap_or(0);
        }
        let end = self.offset();
        if end - start > MAX_NUMBER {
            return Err(Syntax::new(start, SyntaxKind::NumberTooLong));
        }
        Ok(Number { bytes: self.bytes(), start, end, whole, power, negative, exact })
    }

    /// Reads at least one digit onto `whole` and returns how many there were.
    #[inline(always)]
    fn digits(&mut self, whole: &mut u64) -> Result<usize, Syntax> {
        let start = self.offset();
        loop {
            let Some(word) = self.word() else {
                self.last_digits(whole);
                break;
            };
            let count = leading_digits(word);
            if count > 0 {
                // Wraps beyond 19 digits, where nobody uses it.
                *whole = whole.wrapping_mul(POWERS_U64[count]).wrapping_add(digits_value(word, count));
                self.advance(count);
            }
            if count < 8 {
                break;
            }
        }
        let count = self.offset() - start;
        if count == 0 {
            return Err(self.fail(SyntaxKind::ExpectedDigit));
        }
        Ok(count)
    }

    /// The digits among the payload's last seven bytes.
    #[cold]
    fn last_digits(&mut self, whole: &mut u64) {
        while let digit @ b'0'..=b'9' = self.peek() {
            *whole = whole.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.advance(1);
        }
    }

    /// Reads the exponent; `None` when it is too long to be held.
    #[inline]
    fn exponent(&mut self) -> Result<Option<i32>, Syntax> {
        self.advance(1);
        let negative = self.peek() == b'-';
        self.advance(usize::from(matches!(self.peek(), b'+' | b'-')));
        let mut value = 0;
        let digits = self.digits(&mut value)?;
        if digits > MAX_EXPONENT_DIGITS {
            return Ok(None);
        }
        let value = value as i32;
        Ok(Some(if negative { -value } else { value }))
    }
}

impl<'a> Number<'a> {
    /// Reads a text that is exactly one JSON number and nothing else (contract 5.4).
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut cursor = Cursor::new(text.as_bytes());
        let number = cursor.number().ok()?;
        cursor.at_end().then_some(number)
    }

    /// The number as it came.
    pub fn token(self) -> &'a str {
        str::from_utf8(self.token_bytes()).unwrap_or_default()
    }

    fn token_bytes(self) -> &'a [u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// The nearest f64; infinite when there is none.
    #[inline]
    pub fn to_f64(self) -> f64 {
        let power = self.power.unsigned_abs() as usize;
        if self.exact
            && self.whole <= 1 << 53
            && let Some(&ten) = POWERS_F64.get(power)
        {
            let whole = self.whole as f64;
            let value = if self.power < 0 { whole / ten } else { whole * ten };
            return if self.negative { -value } else { value };
        }
        f64::from_lexical(self.token_bytes()).unwrap_or(f64::NAN)
    }

    /// The nearest f32, rounded once; infinite when there is none.
    #[inline]
    pub fn to_f32(self) -> f32 {
        let power = self.power.unsigned_abs() as usize;
        if self.exact
            && self.whole <= 1 << 24
            && let Some(&ten) = POWERS_F32.get(power)
        {
            let whole = self.whole as f32;
            let value = if self.power < 0 { whole / ten } else { whole * ten };
            return if self.negative { -value } else { value };
        }
        f32::from_lexical(self.token_bytes()).unwrap_or(f32::NAN)
    }

    /// The number as a whole number, exactly.
    #[inline]
    pub fn to_integer(self) -> Integer {
        if !self.exact || self.whole > i64::MAX as u64 {
            return self.to_decimal().to_integer();
        }
        let signed = |whole: u64| Integer::Value(if self.negative { -(whole as i64) } else { whole as i64 });
        if self.power == 0 {
            return signed(self.whole);
        }
        // `7.0` is what a client writes that knows only floating point.
        match POWERS_U64.get(self.power.unsigned_abs() as usize) {
            Some(&ten) if self.power < 0 && self.whole.is_multiple_of(ten) => signed(self.whole / ten),
            Some(_) if self.power < 0 => Integer::Fraction,
            _ => self.to_decimal().to_integer(),
        }
    }

    /// The greatest whole number that is not above this one; cut to 64 bits.
    pub(crate) fn floor(self) -> i64 {
        let decimal = self.to_decimal();
        let whole = match decimal.to_integer() {
            Integer::Value(value) => return value,
            Integer::Beyond(negative) => return if negative { i64::MIN } else { i64::MAX },
            Integer::Fraction => decimal.whole_part(),
        };
        if self.negative { -whole - 1 } else { whole }
    }

    /// Any form of number, as digits and a power.
    #[cold]
    fn to_decimal(self) -> Decimal {
        let token = self.token();
        let (mantissa, exponent) = match token.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, saturating_exponent(exponent)),
            None => (token, 0),
        };
        let fraction = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
        let digits = digits.trim_start_matches('0');
        let significant = digits.trim_end_matches('0');
        Decimal {
            power: exponent - fraction as i64 + (digits.len() - significant.len()) as i64,
            digits: significant.to_owned(),
            negative: self.negative,
        }
    }
}

/// Digits without leading and trailing zeros, times ten to a power: exact for every legal number.
struct Decimal {
    digits: String,
    power: i64,
    negative: bool,
}

impl Decimal {
    fn to_integer(&self) -> Integer {
        if self.digits.is_empty() {
            return Integer::Value(0);
        }
        if self.power < 0 {
            return Integer::Fraction;
        }
        if self.power + self.digits.len() as i64 > MAX_WHOLE_DIGITS as i64 {
            return Integer::Beyond(self.negative);
        }
        // At most 19 digits: fits 128 bits with room to spare.
        let magnitude = self.digits.parse::<i128>().unwrap_or(i128::MAX) * 10_i128.pow(self.power as u32);
        let value = if self.negative { -magnitude } else { magnitude };
        i64::try_from(value).map_or(Integer::Beyond(self.negative), Integer::Value)
    }

    /// What stands before the point of a fraction, without its sign; cut to 64 bits.
    fn whole_part(&self) -> i64 {
        let places = self.digits.len() as i64 + self.power;
        let whole = usize::try_from(places).ok().and_then(|places| self.digits.get(..places));
        whole.map_or(0, |whole| if whole.is_empty() { 0 } else { whole.parse().unwrap_or(i64::MAX - 1) })
    }
}

/// An exponent's value; beyond any number's digits the exact value does not matter.
fn saturating_exponent(exponent: &str) -> i64 {
    const BEYOND: i64 = 1 << 40;
    let negative = exponent.starts_with('-');
    let value = exponent.trim_start_matches(['+', '-']).parse().unwrap_or(BEYOND).min(BEYOND);
    if negative { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_found_and_valued_at_every_length() {
        for (text, count, value) in [
            (b"12345678", 8, 12_345_678),
            (b"1234567,", 7, 1_234_567),
            (b"00000042", 8, 42),
            (b"9.999999", 1, 9),
            (b"99:99999", 2, 99),
            (b"1/234567", 1, 1),
        ] {
            let word = u64::from_le_bytes(*text);
            assert_eq!(leading_digits(word), count);
            assert_eq!(digits_value(word, count), value);
        }
        assert_eq!(leading_digits(u64::from_le_bytes(*b"x1234567")), 0);
        assert_eq!(leading_digits(u64::from_le_bytes([b'1', 0xB1, b'1', 0, 0, 0, 0, 0])), 1);
    }

    #[test]
    fn whole_numbers_are_recognised_in_every_spelling() {
        let integer = |text| Number::parse(text).map(Number::to_integer);
        for text in ["7", "7.0", "7e0", "70e-1", "0.7e1", "700.00e-2", "7000000000000000000000e-21"] {
            assert_eq!(integer(text), Some(Integer::Value(7)), "{text}");
        }
        for text in ["0", "-0", "0.000", "0e999999999999999999999", "0e-2147483648", "-0.0E-99999"] {
            assert_eq!(integer(text), Some(Integer::Value(0)), "{text}");
        }
        assert_eq!(integer("-9223372036854775808"), Some(Integer::Value(i64::MIN)));
        assert_eq!(integer("9223372036854775808"), Some(Integer::Beyond(false)));
        assert_eq!(integer("-1e400"), Some(Integer::Beyond(true)));
        assert_eq!(integer("1e-400"), Some(Integer::Fraction));
        assert_eq!(integer("7.5"), Some(Integer::Fraction));
        let floor = |text| Number::parse(text).map(Number::floor);
        assert_eq!(floor("0.5"), Some(0));
        assert_eq!(floor("-0.5"), Some(-1));
        assert_eq!(floor("1.00000000000000000000001"), Some(1));
        assert_eq!(floor("-125e-1"), Some(-13));
        assert_eq!(floor("-1e400"), Some(i64::MIN));
        assert_eq!(integer("7e99999999999999999999"), Some(Integer::Beyond(false)));
        for text in ["", "-", "+1", "01", "1.", ".5", "1e", "0x1", "1 ", " 1", "NaN"] {
            assert_eq!(integer(text), None, "{text}");
        }
    }
}
