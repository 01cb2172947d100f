//! TIMESTAMP, and the range that an entry's `time` shares with it (contract 3.5 and 5).

use std::borrow::Cow;

use crate::collect::Collect;
use crate::display::quoted;
use crate::json::{Cursor, Integer, Number};
use crate::verdict::{Fault, Reason, Stop};

use super::bounds::{Bound, Bounds};
use super::date::{DAY, Date};
use super::text::{TextNames, read_text};
use super::{Context, read_number, shown_number, value_fault};

/// The first millisecond of 1971, UTC. What lies before it is most likely no time that was measured.
pub(crate) const EARLY: i64 = 31_536_000_000;

/// The last millisecond of the year 9999, UTC.
pub(crate) const MAX_TIME: i64 = 253_402_300_799_999;

const EXPECTED: &str = "TIMESTAMP, whole UTC milliseconds as a number or as digits in a string";

static DIGITS: TextNames = TextNames { of_type: "TIMESTAMP", of_value: EXPECTED };

/// Milliseconds within the range, or `None`.
pub(crate) fn milliseconds(integer: Integer) -> Option<i64> {
    match integer {
        Integer::Value(value) if (0..=MAX_TIME).contains(&value) => Some(value),
        _ => None,
    }
}

/// Whether milliseconds are rather seconds: those of 1973 and later are a day and more into 1970.
fn looks_like_seconds(milliseconds: i64) -> bool {
    (100_000_000..EARLY).contains(&milliseconds)
}

/// Names the unit of a refused time that is most likely no milliseconds (contract 3.5).
#[cold]
pub(crate) fn with_unit(stop: Stop) -> Stop {
    match stop {
        Stop::Fault(fault) => match fault.got.as_deref().and_then(said_of_time) {
            None => fault.into(),
            said => fault.said(said).into(),
        },
        other => other,
    }
}

/// `got` is a number, one in quotes, or `string` and one in quotes.
fn said_of_time(got: &str) -> Option<String> {
    let unit = match got.trim_start_matches("string ").trim_matches('"').parse::<f64>().ok()? {
        1e8..3.1536e10 => "seconds",
        1e15..3.1536e16 => "microseconds",
        1e18..3.1536e19 => "nanoseconds",
        _ => return None,
    };
    Some(format!("{got}, which looks like {unit}"))
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

impl Instant<'_> {
    pub(super) fn is_date(&self) -> bool {
        matches!(self, Self::Date { .. })
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
    /// From here to `high` a value needs no further look.
    usual_low: i64,
    high: i64,
    rest: Box<Rest>,
}

/// What only unusual values are asked for.
#[derive(Clone, Debug)]
struct Rest {
    low: i64,
    expected: Box<str>,
}

impl TimestampRule {
    /// `None` when no value could ever be within the bounds.
    pub(crate) fn new(bounds: &Bounds<Instant<'_>>) -> Option<Self> {
        let (low, high) = bounds.whole(0, MAX_TIME)?;
        // Dates become milliseconds, which is what they are compared with.
        let has_date = [bounds.minimum, bounds.maximum].iter().flatten().any(Instant::is_date);
        let expected = if has_date {
            format!("UTC milliseconds from {low} to {high}").into()
        } else {
            bounds.text_of_whole("UTC milliseconds", (0, MAX_TIME))
        };
        Some(Self { usual_low: low.max(EARLY), high, rest: Box::new(Rest { low, expected }) })
    }

    pub(crate) fn check<C: Collect>(
        &self,
        cursor: &mut Cursor<'_>,
        context: &mut Context<'_>,
        collect: &mut C,
    ) -> Result<(), Stop> {
        let start = cursor.offset();
        if let Some(integer) = read_number(cursor, context)? {
            let time = match integer {
                Integer::Value(time) if self.usual_low <= time && time <= self.high => time,
                Integer::Fraction => {
                    cursor.back_to(start);
                    return Err(with_unit(value_fault(cursor, EXPECTED)));
                }
                _ => self
                    .unusual(integer, context)
                    .map_err(|fault| fault.at(start, shown_number(cursor, start)))?,
            };
            collect.long(time);
            return Ok(());
        }
        let text = read_text(cursor, &DIGITS)?.decode_in(context.buffer);
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            cursor.back_to(start);
            return Err(with_unit(value_fault(cursor, EXPECTED)));
        }
        // A string of digits may have leading zeros; one that does not fit is out of range all the same.
        let digits = text.trim_start_matches('0');
        let value = if digits.is_empty() { Some(0) } else { digits.parse().ok() };
        let text = quoted(text);
        let value = value.map_or(Integer::Value(i64::MAX), Integer::Value);
        let time = self.unusual(value, context).map_err(|fault| fault.at(start, text))?;
        collect.long(time);
        Ok(())
    }

    /// Judges a time that is out of bounds, or early.
    #[cold]
    fn unusual(&self, integer: Integer, context: &mut Context<'_>) -> Result<i64, OutOfRange<'_>> {
        let Integer::Value(time) = integer else { return Err(OutOfRange::Bounds(&self.rest.expected)) };
        if !(self.rest.low..=self.high).contains(&time) {
            return Err(OutOfRange::Bounds(&self.rest.expected));
        }
        if looks_like_seconds(time) {
            // Old dates are the model's business; seconds are never meant where a product says when its times begin.
            if context.settings.time_min.is_some_and(|min| time < min) {
                return Err(OutOfRange::Seconds);
            }
            context.early_times += 1;
        }
        Ok(time)
    }
}

/// Why a time is refused.
enum OutOfRange<'r> {
    Bounds(&'r str),
    Seconds,
}

impl OutOfRange<'_> {
    #[cold]
    fn at(self, offset: usize, got: String) -> Stop {
        let expected = match self {
            Self::Bounds(expected) => expected.to_owned().into(),
            Self::Seconds => Cow::Borrowed("UTC milliseconds"),
        };
        with_unit(Fault::here(Reason::Range, offset).expected(expected).got(got).into())
    }
}
