//! TIMESTAMP, and the range that an entry's `time` shares with it (contract 3.5 and 5).

use std::borrow::Cow;

use crate::collect::Collect;
use crate::display::quoted;
use crate::fault::at_value::{shown_number, value_fault};
use crate::fault::{Fault, Reason, Stop};
use crate::json::{Integer, Number};
use crate::reader::Reader;

use super::Check;
use super::bounds::{Bound, Bounds};
use super::date::{DAY, Date};
use super::text::TextNames;

/// The first millisecond of 1971, UTC. Earlier times are probably not in milliseconds.
pub(crate) const EARLY: i64 = 31_536_000_000;

/// The last millisecond of the year 9999, UTC.
pub(crate) const MAX_TIME: i64 = 253_402_300_799_999;

const EXPECTED: &str = "TIMESTAMP, whole UTC milliseconds as a number or as digits in a string";

static DIGITS: TextNames = TextNames { of_type: "TIMESTAMP", of_value: EXPECTED };

/// The number as milliseconds; `None` if it is out of range or no whole number.
pub(crate) fn milliseconds(integer: Integer) -> Option<i64> {
    match integer {
        Integer::Value(value) if (0..=MAX_TIME).contains(&value) => Some(value),
        _ => None,
    }
}

/// Whether milliseconds are probably seconds: those of 1973 and later, read as milliseconds, are in
/// 1970.
fn looks_like_seconds(milliseconds: i64) -> bool {
    (100_000_000..EARLY).contains(&milliseconds)
}

/// Adds the unit that a refused time probably has, if it is not milliseconds (contract 3.5).
#[cold]
pub(crate) fn with_likely_unit(stop: Stop) -> Stop {
    match stop {
        Stop::Fault(fault) => match fault.got.as_deref().and_then(likely_unit) {
            None => fault.into(),
            got => fault.got_in_message(got).into(),
        },
        other => other,
    }
}

/// `got` and its probable unit. `got` is a number, a number in quotes, or that behind the word
/// `string`.
fn likely_unit(got: &str) -> Option<String> {
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
    /// A date as it is written, and the first and the last millisecond of its day or second.
    Date {
        text: &'m str,
        first: i64,
        last: i64,
    },
}

impl<'m> Instant<'m> {
    /// Reads a bound that is a string.
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
    /// Values from here to `high` need no further check.
    usual_low: i64,
    high: i64,
    rest: Box<Rest>,
}

/// What is needed only for unusual values.
#[derive(Clone, Debug)]
struct Rest {
    low: i64,
    expected: Box<str>,
}

impl TimestampRule {
    /// `None` if no value can be within the bounds.
    pub(crate) fn new(bounds: &Bounds<Instant<'_>>) -> Option<Self> {
        let (low, high) = bounds.whole(0, MAX_TIME)?;
        // Bounds that are dates are shown as milliseconds, the form in which values come.
        let has_date = [bounds.minimum, bounds.maximum].iter().flatten().any(Instant::is_date);
        let expected = if has_date {
            format!("UTC milliseconds from {low} to {high}").into()
        } else {
            bounds.text_of_whole("UTC milliseconds", (0, MAX_TIME))
        };
        Some(Self { usual_low: low.max(EARLY), high, rest: Box::new(Rest { low, expected }) })
    }

    /// Checks a time that is out of bounds, or before 1971.
    #[cold]
    fn unusual(&self, integer: Integer, reader: &mut Reader<'_>) -> Result<i64, OutOfRange<'_>> {
        let Integer::Value(time) = integer else { return Err(OutOfRange::Bounds(&self.rest.expected)) };
        if !(self.rest.low..=self.high).contains(&time) {
            return Err(OutOfRange::Bounds(&self.rest.expected));
        }
        if looks_like_seconds(time) {
            // Old dates are valid if the model allows them. But a product that sets `time.min`
            // never means seconds.
            if reader.settings.time_min.is_some_and(|min| time < min) {
                return Err(OutOfRange::Seconds);
            }
            reader.early_times += 1;
        }
        Ok(time)
    }
}

impl Check for TimestampRule {
    fn check<C: Collect>(&self, reader: &mut Reader<'_>, collect: &mut C) -> Result<(), Stop> {
        let start = reader.cursor.offset();
        if let Some(integer) = reader.number()? {
            let time = match integer {
                Integer::Value(time) if self.usual_low <= time && time <= self.high => time,
                Integer::Fraction => {
                    reader.cursor.rewind_to(start);
                    return Err(with_likely_unit(value_fault(&reader.cursor, EXPECTED)));
                }
                _ => self
                    .unusual(integer, reader)
                    .map_err(|fault| fault.at(start, shown_number(&reader.cursor, start)))?,
            };
            collect.long(time);
            return Ok(());
        }
        let text = reader.text(&DIGITS)?.decode_in(reader.buffer);
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            reader.cursor.rewind_to(start);
            return Err(with_likely_unit(value_fault(&reader.cursor, EXPECTED)));
        }
        // Leading zeros are allowed here; a number beyond 64 bits is out of range in any case.
        let digits = text.trim_start_matches('0');
        let value = if digits.is_empty() { Some(0) } else { digits.parse().ok() };
        let text = quoted(text);
        let value = value.map_or(Integer::Value(i64::MAX), Integer::Value);
        let time = self.unusual(value, reader).map_err(|fault| fault.at(start, text))?;
        collect.long(time);
        Ok(())
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
        with_likely_unit(Fault::here(Reason::Range, offset).expected(expected).got(got).into())
    }
}
