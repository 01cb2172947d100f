//! The general path: any number of the grammar `'-'? digits ('.' digits)? ([eE] [+-]? digits)?`.

use crate::json::{Cursor, MAX_NUMBER, Syntax, SyntaxKind};

use super::Number;
use super::digits::{POWERS_U64, digits_value, leading_digits};

/// Any number of this many digits fits 64 bits.
const MAX_WHOLE_DIGITS: usize = 19;

/// Any exponent of this many digits fits 32 bits.
const MAX_EXPONENT_DIGITS: usize = 9;

impl<'a> Cursor<'a> {
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
            // Fits: a token longer than MAX_NUMBER is refused below.
            power = -(fraction as i32);
        }
        let mut exact = digits <= MAX_WHOLE_DIGITS;
        if matches!(self.peek(), b'e' | b'E') {
            match self.exponent()? {
                Some(exponent) => power += exponent,
                None => exact = false,
            }
        }
        let end = self.offset();
        if end - start > MAX_NUMBER {
            return Err(Syntax::new(start, SyntaxKind::NumberTooLong));
        }
        Ok(Number { bytes: self.bytes(), start, end, whole, power, negative, exact })
    }

    /// Reads at least one digit, appends all of them to `whole`, and returns their number.
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
                // Overflows with more than 19 digits; `Number::exact` is then false.
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

    /// Reads the digits among the payload's last seven bytes, which no whole word covers.
    #[cold]
    fn last_digits(&mut self, whole: &mut u64) {
        while let digit @ b'0'..=b'9' = self.peek() {
            *whole = whole.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.advance(1);
        }
    }

    /// Reads the exponent; `None` if it has more digits than `MAX_EXPONENT_DIGITS`.
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
