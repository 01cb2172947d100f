//! DATE: `yyyy-MM-dd HH:mm:ss`, or `yyyy-MM-dd`, a real date within bounds (contract 5).

use crate::collect::Collect;
use crate::json::Cursor;
use crate::verdict::{Fault, Reason, Stop};

use super::Context;
use super::bounds::Bounds;
use super::text::{DATE, read_text};
use super::timestamp::{Instant, MAX_TIME};

/// The first millisecond of the year 1, UTC.
const MIN_DATE: i64 = -62_135_596_800_000;
pub(super) const DAY: i64 = 86_400_000;

/// A date, of bounds that a model states.
#[derive(Clone, Debug)]
pub(crate) struct DateRule {
    /// `None` where every date is within them.
    bounds: Option<Box<DateBounds>>,
}

/// UTC milliseconds, both inclusive.
#[derive(Clone, Debug)]
struct DateBounds {
    low: i64,
    high: i64,
    expected: Box<str>,
}

impl DateRule {
    /// `None` when no date could ever be within the bounds.
    pub(crate) fn new(bounds: &Bounds<Instant<'_>>) -> Option<Self> {
        let (low, high) = bounds.whole(MIN_DATE, MAX_TIME)?;
        let is_bounded = (low, high) != (MIN_DATE, MAX_TIME);
        let bounds = is_bounded.then(|| DateBounds { low, high, expected: bounds.text("DATE") });
        Some(Self { bounds: bounds.map(Box::new) })
    }

    pub(crate) fn check<C: Collect>(
        &self,
        cursor: &mut Cursor<'_>,
        context: &mut Context<'_>,
        collect: &mut C,
    ) -> Result<(), Stop> {
        let start = cursor.offset();
        let text = read_text(cursor, &DATE)?;
        let Some(date) = Date::parse(text.bytes_in(context.buffer)) else {
            return Err(Fault::here(Reason::Date, start)
                .expected("a real date as yyyy-MM-dd HH:mm:ss or yyyy-MM-dd")
                .got_text(&text.decode())
                .into());
        };
        if let Some(bounds) = &self.bounds
            && !(bounds.low..=bounds.high).contains(&date.milliseconds())
        {
            let fault = Fault::here(Reason::Range, start).expected(bounds.expected.clone().into_string());
            return Err(fault.got_text(&text.decode()).into());
        }
        collect.text(text);
        Ok(())
    }
}

/// A real date, with the seconds of its day where it says them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Date {
    year: u32,
    month: u32,
    day: u32,
    pub(super) seconds: Option<u32>,
}

impl Date {
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        match *text {
            [ref date @ .., b' ', h1, h0, b':', m1, m0, b':', s1, s0] => {
                let hour = two_digits(h1, h0).filter(|&hour| hour < 24)?;
                let minute = two_digits(m1, m0).filter(|&minute| minute < 60)?;
                let second = two_digits(s1, s0).filter(|&second| second < 60)?;
                Self::of_day(date, Some(hour * 3600 + minute * 60 + second))
            }
            ref date => Self::of_day(date, None),
        }
    }

    fn of_day(text: &[u8], seconds: Option<u32>) -> Option<Self> {
        let &[y3, y2, y1, y0, b'-', m1, m0, b'-', d1, d0] = text else {
            return None;
        };
        let year = two_digits(y3, y2)? * 100 + two_digits(y1, y0)?;
        let (month, day) = (two_digits(m1, m0)?, two_digits(d1, d0)?);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 => 28 + u32::from(leap),
            _ => 0,
        };
        (year >= 1 && (1..=days).contains(&day)).then_some(Self { year, month, day, seconds })
    }

    /// Since 1970, as UTC; of a date without time of day its first one.
    pub(super) fn milliseconds(self) -> i64 {
        // Years begin in March here: then a leap day is the last day of its year.
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let month = (i64::from(self.month) + 9) % 12;
        let days_before_month = (153 * month + 2) / 5;
        let leap_days = year / 4 - year / 100 + year / 400;
        // The first of March of the year 0 is 719,468 days before 1970.
        let days = 365 * year + leap_days + days_before_month + i64::from(self.day) - 1 - 719_468;
        days * DAY + i64::from(self.seconds.unwrap_or(0)) * 1000
    }
}

fn two_digits(tens: u8, ones: u8) -> Option<u32> {
    (tens.is_ascii_digit() && ones.is_ascii_digit())
        .then(|| u32::from(tens - b'0') * 10 + u32::from(ones - b'0'))
}
