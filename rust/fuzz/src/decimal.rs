//! The exact value of a number by moving its decimal point: slow, and independent of the judge's
//! algorithm.

use pointgate_core::json::Integer;

/// A number as the digits on both sides of its decimal point.
pub struct Decimal {
    negative: bool,
    /// Without leading zeros.
    before: String,
    fraction: bool,
}

impl Decimal {
    /// Takes a token apart; it must be a JSON number.
    pub fn new(token: &str) -> Self {
        // Moving the point further than all digits and 64 bits makes no difference.
        let most = token.len() as i64 + 20;
        let (mantissa, exponent) = token.split_once(['e', 'E']).unwrap_or((token, "0"));
        let far = if exponent.starts_with('-') { -most } else { most };
        let exponent = exponent.parse().unwrap_or(far).clamp(-most, most);
        let (negative, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));

        let zeros = "0".repeat(most as usize);
        let digits = format!("{zeros}{whole}{fraction}{zeros}");
        let (before, after) = digits.split_at((most + whole.len() as i64 + exponent) as usize);
        Self {
            negative,
            before: before.trim_start_matches('0').to_owned(),
            fraction: after.bytes().any(|digit| digit != b'0'),
        }
    }

    /// The number as the judge must read it for a type of whole numbers.
    pub fn to_integer(&self) -> Integer {
        if self.fraction {
            return Integer::Fraction;
        }
        let sign = if self.negative { "-" } else { "" };
        format!("{sign}0{}", self.before).parse().map_or(Integer::Beyond(self.negative), Integer::Value)
    }

    /// The least whole number that is not below this one, or `None` when it is no i32.
    pub fn ceil(&self) -> Option<i32> {
        let magnitude: i64 = format!("0{}", self.before).parse().ok()?;
        let whole = if self.negative { -magnitude } else { magnitude };
        i32::try_from(whole + i64::from(self.fraction && !self.negative)).ok()
    }
}
