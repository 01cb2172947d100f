//! Points with quality: `{"value":v,"quality":q}`, `{"value":v}` or the bare value (contract 5.2).

use crate::collect::Collect;
use crate::fault::at_value::refused;
use crate::fault::{Reason, Stop};
use crate::json::{Cursor, Integer};
use crate::reader::Reader;

use super::check::go_on;
use super::structure::{missing_member, repeated, unknown_member};
use super::{Check, Rule};

/// State of a member; small integers, so that one comparison at the end distinguishes all three.
const ABSENT: u8 = 0;
const PRESENT: u8 = 1;
const NULL: u8 = 2;

/// Checks a point with quality; `rule` is the one of its value.
pub(crate) fn check_with_quality<C: Collect>(
    rule: &Rule,
    reader: &mut Reader<'_>,
    collect: &mut C,
) -> Result<(), Stop> {
    if reader.cursor.peek() != b'{' {
        return rule.check(reader, collect);
    }
    reader.cursor.open()?;
    let (mut value, mut quality, mut first) = (ABSENT, ABSENT, true);
    while let Some((start, member)) =
        reader.cursor.next_known_member(&mut first, &["\"value\":", "\"quality\":"])?
    {
        let (is_value, name, state) = match member {
            Some(0) => (true, "value", &mut value),
            Some(_) => (false, "quality", &mut quality),
            None => {
                go_on(other_member(&reader.cursor, start), reader, collect)?;
                continue;
            }
        };
        if std::mem::replace(state, PRESENT) != ABSENT {
            go_on(repeated(start, name), reader, collect)?;
            continue;
        }
        let before = C::ALL.then(|| reader.cursor.clone());
        let checked = if is_value { rule.check(reader, collect) } else { check_quality(reader, collect) };
        if let Err(stop) = checked {
            if !is_value || !is_ignored_null(&stop, reader) {
                let stop = stop.inside(name);
                let (Some(faults), Some(before)) = (collect.faults(), before) else { return Err(stop) };
                faults.keep(stop, reader)?;
                reader.cursor = before;
                reader.cursor.skip_value()?;
                continue;
            }
            reader.cursor.literal("null")?;
            value = NULL;
        }
    }
    match value {
        PRESENT => Ok(()),
        NULL => Err(Stop::NullPoint),
        _ => Err(missing_member(&reader.cursor, "value")),
    }
}

/// Whether the value was refused because it is null, and the product ignores points that are null
/// (contract 5.3).
///
/// The cursor still stands on the value.
#[cold]
pub(crate) fn is_ignored_null(stop: &Stop, reader: &Reader<'_>) -> bool {
    reader.settings.ignore_null_points && matches!(stop, Stop::Fault(fault) if fault.is_null(&[]))
}

#[cold]
fn other_member(cursor: &Cursor<'_>, start: usize) -> Stop {
    let mut cursor = cursor.clone();
    cursor.rewind_to(start);
    match cursor.string() {
        Ok(name) => unknown_member(start, &name.decode(), ["value", "quality"].into_iter()),
        Err(syntax) => syntax.into(),
    }
}

fn check_quality<C: Collect>(reader: &mut Reader<'_>, collect: &mut C) -> Result<(), Stop> {
    // One digit, and then the next member or the end of the object.
    if let (digit @ b'0'..=b'9', b',' | b'}') = (reader.cursor.peek(), reader.cursor.peek_at(1)) {
        reader.cursor.advance(1);
        collect.quality(digit - b'0');
        return Ok(());
    }
    let start = reader.cursor.offset();
    if let Some(Integer::Value(quality @ 0..=9)) = reader.number()? {
        collect.quality(quality as u8);
        return Ok(());
    }
    reader.cursor.rewind_to(start);
    Err(refused(&reader.cursor, Reason::Quality, "a quality from 0 to 9"))
}
