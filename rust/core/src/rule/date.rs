//! DATE: `yyyy-MM-dd HH:mm:ss`, or `yyyy-MM-dd`, and a real date (contract 5).

use crate::collect::Collect;
use crate::json::Cursor;
use crate::verdict::{Fault, Reason, Stop};

use super::Context;
use super::text::read_text;

pub(crate) fn check<C: Collect>(
    cursor: &mut Cursor<'_>,
    context: &mut Context<'_>,
    collect: &mut C,
) -> Result<(), Stop> {
    let start = cursor.offset();
    let text = read_text(cursor, "DATE")?;
    if is_date(text.bytes_in(context.buffer)) {
        collect.text(text);
        return Ok(());
    }
    Err(Fault::here(Reason::Date, start)
        .expected("a real date as yyyy-MM-dd HH:mm:ss or yyyy-MM-dd")
        .got_text(&text.decode())
        .into())
}

fn is_date(text: &[u8]) -> bool {
    match *text {
        [ref date @ .., b' ', h1, h0, b':', m1, m0, b':', s1, s0] => {
            is_day(date)
                && two_digits(h1, h0).is_some_and(|hour| hour < 24)
                && two_digits(m1, m0).is_some_and(|minute| minute < 60)
                && two_digits(s1, s0).is_some_and(|second| second < 60)
        }
        ref date => is_day(date),
    }
}

fn is_day(text: &[u8]) -> bool {
    let &[y3, y2, y1, y0, b'-', m1, m0, b'-', d1, d0] = text else {
        return false;
    };
    let (Some(century), Some(year), Some(month), Some(day)) =
        (two_digits(y3, y2), two_digits(y1, y0), two_digits(m1, m0), two_digits(d1, d0))
    else {
        return false;
    };
    let year = century * 100 + year;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        _ => 0,
    };
    year >= 1 && (1..=days).contains(&day)
}

fn two_digits(tens: u8, ones: u8) -> Option<u32> {
    (tens.is_ascii_digit() && ones.is_ascii_digit())
        .then(|| u32::from(tens - b'0') * 10 + u32::from(ones - b'0'))
}
