//! A scanned number, and its value.
//!
//! ```text
//! f64: whole * or / 10^n, if whole is at most 2^53 and n at most 22: both operands are then exact,
//!      so the one IEEE operation rounds once, correctly (Clinger 1990); else
//!      `lexical-parse-float`, which takes the same time for every number (decision 0007)
//! f32: the same with 2^24 and 10, never by way of f64, which would round twice
//! ```

use lexical_parse_float::FromLexical;

use crate::json::Cursor;

use super::digits::POWERS_U64;

pub(super) const POWERS_F64: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];
pub(super) const POWERS_F32: [f32; 11] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10];

/// A number of a payload, not converted yet.
#[derive(Clone, Copy, Debug)]
pub struct Number<'a> {
    /// The payload; the token is `start..end` of it.
    pub(super) bytes: &'a [u8],
    pub(super) start: usize,
    pub(super) end: usize,
    /// All digits before the exponent as one number; meaningless unless `exact`.
    pub(super) whole: u64,
    /// The value is `whole` times ten to this power.
    pub(super) power: i32,
    pub(super) negative: bool,
    /// Whether `whole` and `power` represent the number exactly.
    pub(super) exact: bool,
}

/// A number as a whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no fourth case")]
pub enum Integer {
    /// Integral, within 64 bits.
    Value(i64),
    /// Integral, beyond 64 bits; true if negative.
    Beyond(bool),
    /// Not integral.
    Fraction,
}

impl<'a> Number<'a> {
    /// Reads a text that is exactly one JSON number and nothing else (contract 5.4).
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut cursor = Cursor::new(text.as_bytes());
        let number = cursor.number().ok()?;
        cursor.at_end().then_some(number)
    }

    /// The number as it is written.
    pub fn token(self) -> &'a str {
        str::from_utf8(self.token_bytes()).unwrap_or_else(|_| unreachable!("the grammar has only ASCII"))
    }

    fn token_bytes(self) -> &'a [u8] {
        &self.bytes[self.start..self.end]
    }

    /// The nearest f64; infinite if it is out of range.
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
        parsed(self.token_bytes())
    }

    /// The nearest f32, rounded once; infinite if it is out of range.
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
        parsed(self.token_bytes())
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
        // Clients that have only floating-point numbers write `7.0`.
        match POWERS_U64.get(self.power.unsigned_abs() as usize) {
            Some(&ten) if self.power < 0 && self.whole.is_multiple_of(ten) => signed(self.whole / ten),
            Some(_) if self.power < 0 => Integer::Fraction,
            _ => self.to_decimal().to_integer(),
        }
    }
}

#[cold]
fn parsed<T: FromLexical>(token: &[u8]) -> T {
    T::from_lexical(token).unwrap_or_else(|error| unreachable!("lexical's grammar contains JSON's: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_exponent_have_a_value() {
        for (text, value) in [
            ("1e400", f64::INFINITY),
            ("-1e99999999999999999999", f64::NEG_INFINITY),
            ("0e99999999999999999999", 0.0),
            ("1e-99999999999999999999", 0.0),
            (&format!("1e-{}", "9".repeat(1000)), 0.0),
            (&format!("1{}", "0".repeat(1000)), f64::INFINITY),
        ] {
            let number = Number::parse(text).map(|number| (number.to_f64(), f64::from(number.to_f32())));
            assert_eq!(number, Some((value, value)), "{text}");
        }
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
