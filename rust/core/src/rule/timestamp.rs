//! TIMESTAMP, and the range that an entry's `time` shares with it (contract 3.5 and 5).

use crate::collect::Collect;
use crate::json::{Cursor, Integer};
use crate::verdict::{Fault, Reason, Stop};

use super::text::read_text;
use super::{Context, read_number, shown_number, type_fault};

/// The last millisecond of the year 9999, UTC.
pub(crate) const MAX_TIME: i64 = 253_402_300_799_999;

/// Milliseconds within the range, or `None`.
pub(crate) fn milliseconds(integer: Integer) -> Option<i64> {
    match integer {
        Integer::Value(value) if (0..=MAX_TIME).contains(&value) => Some(value),
        _ => None,
    }
}

pub(crate) fn check<C: Collect>(
    cursor: &mut Cursor<'_>,
    context: &mut Context<'_>,
    collect: &mut C,
) -> Result<(), Stop> {
    let start = cursor.offset();
    if let Some(integer) = read_number(cursor, context)? {
        if let Some(time) = milliseconds(integer) {
            collect.long(time);
            return Ok(());
        }
        if integer != Integer::Fraction {
            return Err(range_fault(start).got(shown_number(cursor, start)).into());
        }
        cursor.back_to(start);
        return Err(type_fault(cursor, "TIMESTAMP"));
    }
    let text = read_text(cursor, "TIMESTAMP")?.decode_in(context.buffer);
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        cursor.back_to(start);
        return Err(type_fault(cursor, "TIMESTAMP"));
    }
    // A string of digits may have leading zeros; one that does not fit is out of range all the same.
    let digits = text.trim_start_matches('0');
    let value = if digits.is_empty() { Some(0) } else { digits.parse().ok() };
    match value.map(Integer::Value).and_then(milliseconds) {
        Some(time) => {
            collect.long(time);
            Ok(())
        }
        None => Err(range_fault(start).got_text(text).into()),
    }
}

#[cold]
fn range_fault(offset: usize) -> Box<Fault> {
    Fault::here(Reason::Range, offset).expected("UTC milliseconds from 0 to 253402300799999")
}
