//! The exact value of any number: for those that do not fit 64 bits, or have an unusual exponent.

use super::{Integer, Number};

/// Whole numbers of more digits do not fit 64 bits.
const MAX_WHOLE_DIGITS: i64 = 19;

impl Number<'_> {
    /// The greatest whole number that is not above this one, clamped to 64 bits.
    pub(crate) fn floor(self) -> i64 {
        let decimal = self.to_decimal();
        let whole = match decimal.to_integer() {
            Integer::Value(value) => return value,
            Integer::Beyond(negative) => return if negative { i64::MIN } else { i64::MAX },
            Integer::Fraction => decimal.whole_part(),
        };
        if self.negative { -whole - 1 } else { whole }
    }

    /// The exact value, as digits and a power of ten.
    #[cold]
    pub(super) fn to_decimal(self) -> Decimal {
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
pub(super) struct Decimal {
    digits: String,
    power: i64,
    negative: bool,
}

impl Decimal {
    pub(super) fn to_integer(&self) -> Integer {
        if self.digits.is_empty() {
            return Integer::Value(0);
        }
        if self.power < 0 {
            return Integer::Fraction;
        }
        if self.power + self.digits.len() as i64 > MAX_WHOLE_DIGITS {
            return Integer::Beyond(self.negative);
        }
        // 19 digits in all fit 128 bits.
        let digits = self.digits.bytes().fold(0, |value, digit| 10 * value + i128::from(digit - b'0'));
        let magnitude = digits * 10_i128.pow(self.power as u32);
        let value = if self.negative { -magnitude } else { magnitude };
        i64::try_from(value).map_or(Integer::Beyond(self.negative), Integer::Value)
    }

    /// The digits before the decimal point of a fraction, without its sign, clamped to 64 bits.
    fn whole_part(&self) -> i64 {
        // A fraction has a negative power, so its whole part is shorter than its digits.
        let places = (self.digits.len() as i64 + self.power).max(0);
        match &self.digits[..places as usize] {
            "" => 0,
            whole => whole.parse().unwrap_or(i64::MAX - 1),
        }
    }
}

/// An exponent's value, clamped to more than any number has digits: beyond that it makes no
/// difference.
fn saturating_exponent(exponent: &str) -> i64 {
    const BEYOND: i64 = 1 << 40;
    let negative = exponent.starts_with('-');
    let value = exponent.trim_start_matches(['+', '-']).parse().unwrap_or(BEYOND).min(BEYOND);
    if negative { -value } else { value }
}
