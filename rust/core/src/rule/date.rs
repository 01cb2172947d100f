//! DATE: `yyyy-MM-dd HH:mm:ss`, or `yyyy-MM-dd`, a real date within bounds (contract 5).

use crate::collect::Collect;
use crate::fault::{Fault, Reason, Stop};
use crate::reader::Reader;

use super::Check;
use super::bounds::Bounds;
use super::text::DATE;
use super::timestamp::{Instant, MAX_TIME};

/// The first millisecond of the year 1, UTC.
const MIN_DATE: i64 = -62_135_596_800_000;
pub(super) const DAY: i64 = 86_400_000;

/// A date within the bounds of a model.
#[derive(Clone, Debug)]
pub(crate) struct DateRule {
    /// `None` if every date is within them.
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
    /// `None` if no date can be within the bounds.
    pub(crate) fn new(bounds: &Bounds<Instant<'_>>) -> Option<Self> {
        let (low, high) = bounds.whole(MIN_DATE, MAX_TIME)?;
        let is_bounded = (low, high) != (MIN_DATE, MAX_TIME);
        let has_number = [bounds.minimum, bounds.maximum].iter().flatten().any(|bound| !bound.is_date());
        let bounds = is_bounded.then(|| {
            // Bounds in milliseconds are shown as dates, the form in which values come.
            let expected = if has_number { within(low, high) } else { bounds.text("DATE") };
            Box::new(DateBounds { low, high, expected })
        });
        Some(Self { bounds })
    }
}

impl Check for DateRule {
    fn check<C: Collect>(&self, reader: &mut Reader<'_>, collect: &mut C) -> Result<(), Stop> {
        let start = reader.cursor.offset();
        let text = reader.text(&DATE)?;
        let Some(date) = Date::parse(text.bytes_in(reader.buffer)) else {
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

/// `DATE from 2000-01-01 00:00:00 to 9999-12-31 23:59:59`: the first and the last second within the
/// bounds.
fn within(low: i64, high: i64) -> Box<str> {
    format!("DATE from {} to {}", written(low.saturating_add(999)), written(high)).into()
}

/// Milliseconds as a date, rounded down to the second: the inverse of [`Date::milliseconds`].
///
/// ```text
/// 951_782_400_000 ms                 = day 11_016 since 1970-01-01, second 0
/// + 719_468                          = day 730_484 since 0000-03-01
/// / 146_097 days of a 400-year cycle = cycle 4, and day 146_096 of that cycle: its last one
/// year 399 of the cycle, day 365     = 2000-02-29, the last day of a year that begins in March
/// ```
fn written(milliseconds: i64) -> String {
    let (days, second) = (milliseconds.div_euclid(DAY) + 719_468, milliseconds.rem_euclid(DAY) / 1000);
    let (cycle, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    // Subtracts the leap days before `day`, so that every year has 365 days: one in 4 years (1460
    // days), not in the last of 100 (36,524), but in the last of 400 (146,096).
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02}", cycle * 400 + year, second % 60)
}

/// A date of the calendar, with the second of its day if it has a time of day.
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

    /// Since 1970-01-01 in UTC; the first of its day if the date has no time of day.
    pub(super) fn milliseconds(self) -> i64 {
        // Years that begin in March: a leap day is then the last day of its year.
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let month = (i64::from(self.month) + 9) % 12;
        let days_before_month = (153 * month + 2) / 5;
        let leap_days = year / 4 - year / 100 + year / 400;
        // 0000-03-01 is 719,468 days before 1970-01-01.
        let days = 365 * year + leap_days + days_before_month + i64::from(self.day) - 1 - 719_468;
        days * DAY + i64::from(self.seconds.unwrap_or(0)) * 1000
    }
}

fn two_digits(tens: u8, ones: u8) -> Option<u32> {
    (tens.is_ascii_digit() && ones.is_ascii_digit())
        .then(|| u32::from(tens - b'0') * 10 + u32::from(ones - b'0'))
}

#[cfg(test)]
mod tests {
    use super::{DAY, Date, MAX_TIME, MIN_DATE, within, written};

    #[test]
    fn milliseconds_are_written_as_the_date_that_they_are_read_from() {
        // A step of 97 days and an odd time of day: all dates would take too long.
        for milliseconds in (MIN_DATE..=MAX_TIME).step_by(97 * DAY as usize + 3_723_000) {
            let date = Date::parse(written(milliseconds).as_bytes());
            assert_eq!(date.map(Date::milliseconds), Some(milliseconds.div_euclid(1000) * 1000));
        }
        for day in ["0001-01-01", "1900-02-28", "1900-03-01", "2000-02-29", "2024-12-31", "9999-12-31"] {
            let milliseconds = Date::parse(day.as_bytes()).map_or(0, Date::milliseconds);
            assert_eq!(written(milliseconds), format!("{day} 00:00:00"));
        }
    }

    #[test]
    fn bounds_are_the_first_and_the_last_second_within() {
        assert_eq!(&*within(1, 1999), "DATE from 1970-01-01 00:00:01 to 1970-01-01 00:00:01");
        assert_eq!(&*within(MIN_DATE, MAX_TIME), "DATE from 0001-01-01 00:00:00 to 9999-12-31 23:59:59");
    }
}
