//! TIMESTAMP, and the range that an entry's `time` shares with it (contract 3.5 and 5).

use crate::collect::Collect;
use crate::display::quoted;
use crate::json::{Cursor, Integer, Number};
use crate::verdict::{Fault, Reason, Stop};

use super::bounds::{Bound, Bounds};
use super::date::{DAY, Date};
use super::text::read_text;
use super::{Context, read_number, shown_number, value_fault};

/// The last millisecond of the year 9999, UTC.
pub(crate) const MAX_TIME: i64 = 253_402_300_799_999;

const EXPECTED: &str = "TIMESTAMP, whole UTC milliseconds as a number or as digits in a string";

/// Milliseconds within the range, or `None`.
pub(crate) fn milliseconds(integer: Integer) -> Option<i64> {
    match integer {
        Integer::Value(value) if (0..=MAX_TIME).contains(&value) => Some(value),
        _ => None,
    }
}

/// A bound of DATE or TIMESTAMP (contract 6.1).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Instant<'m> {
    Milliseconds(Number<'m>),
    /// A date as it is written, and the milliseconds of its day or its second.
    Date {
        text: &'m str,
        first: i64,
        last: i64,
    },
}

impl<'m> Instant<'m> {
    /// What a string says that stands as a bound.
    pub(crate) fn parse(text: &'m str) -> Option<Self> {
        let number = Number::parse(text).map(Self::Milliseconds);
        number.or_else(|| {
            let date = Date::parse(text.as_bytes())?;
            let first = date.milliseconds();
            let length = if date.seconds.is_none() { DAY } else { 1000 };
            Some(Self::Date { text, first, last: first + length - 1 })
        })
    }
}

impl Bound for Instant<'_> {
    fn token(&self) -> &str {
        match self {
            Self::Milliseconds(number) => number.token(),
            Self::Date { text, .. } => text,
        }
    }

    fn span(&self) -> (i64, i64) {
        match self {
            Self::Milliseconds(number) => number.span(),
            &Self::Date { first, last, .. } => (first, last),
        }
    }
}

/// Milliseconds within bounds.
#[derive(Clone, Debug)]
pub(crate) struct TimestampRule {
    low: i64,
    high: i64,
    expected: Box<str>,
}

impl TimestampRule {
    /// `None` when no value could ever be within the bounds.
    pub(crate) fn new(bounds: &Bounds<Instant<'_>>) -> Option<Self> {
        let (low, high) = bounds.whole(0, MAX_TIME)?;
        Some(Self { low, high, expected: bounds.text_of_whole("UTC milliseconds", (0, MAX_TIME)) })
    }

    pub(crate) fn check<C: Collect>(
        &self,
        cursor: &mut Cursor<'_>,
        context: &mut Context<'_>,
        collect: &mut C,
    ) -> Result<(), Stop> {
        let start = cursor.offset();
        if let Some(integer) = read_number(cursor, context)? {
            if let Some(time) = self.within(integer) {
                collect.long(time);
                return Ok(());
            }
            if integer != Integer::Fraction {
                return Err(self.range_fault(start).got(shown_number(cursor, start)).into());
            }
            cursor.back_to(start);
            return Err(value_fault(cursor, EXPECTED));
        }
        let text = read_text(cursor, "TIMESTAMP", EXPECTED)?.decode_in(context.buffer);
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            cursor.back_to(start);
            return Err(value_fault(cursor, EXPECTED));
        }
        // A string of digits may have leading zeros; one that does not fit is out of range all the same.
        let digits = text.trim_start_matches('0');
        let value = if digits.is_empty() { Some(0) } else { digits.parse().ok() };
        match value.map(Integer::Value).and_then(|integer| self.within(integer)) {
            Some(time) => {
                collect.long(time);
                Ok(())
            }
            None => Err(self.range_fault(start).got(quoted(text)).into()),
        }
    }

    fn within(&self, integer: Integer) -> Option<i64> {
        match integer {
            Integer::Value(value) if self.low <= value && value <= self.high => Some(value),
            _ => None,
        }
    }

    #[cold]
    fn range_fault(&self, offset: usize) -> Box<Fault> {
        Fault::here(Reason::Range, offset).expected(self.expected.clone().into_string())
    }
}
