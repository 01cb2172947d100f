//! Points with quality: `{"value":v,"quality":q}`, `{"value":v}` or the bare value (contract 5.2).

use crate::collect::Collect;
use crate::json::{Cursor, Integer};
use crate::verdict::{Reason, Stop};

use super::structure::{missing_member, repeated, unknown_member};
use super::{Context, Rule, read_number, refused};

/// Judges a point with quality; `rule` is the value's own.
pub(crate) fn check_with_quality<C: Collect>(
    rule: &Rule,
    cursor: &mut Cursor<'_>,
    context: &mut Context<'_>,
    collect: &mut C,
) -> Result<(), Stop> {
    if cursor.peek() != b'{' {
        return rule.check(cursor, context, collect);
    }
    cursor.open()?;
    let (mut value, mut quality, mut first) = (false, false, true);
    while cursor.next_member(&mut first)? {
        let start = cursor.offset();
        let is_value = next_member_is_value(cursor)?;
        let (name, seen) = if is_value { ("value", &mut value) } else { ("quality", &mut quality) };
        if std::mem::replace(seen, true) {
            return Err(repeated(start, name));
        }
        let judged = if is_value {
            rule.check(cursor, context, collect)
        } else {
            check_quality(cursor, context, collect)
        };
        judged.map_err(|stop| stop.inside(name))?;
    }
    if value { Ok(()) } else { Err(missing_member(cursor, "value")) }
}

/// Reads a member's name: true for `value`, false for `quality`, a fault for any other.
#[inline]
fn next_member_is_value(cursor: &mut Cursor<'_>) -> Result<bool, Stop> {
    // As nearly every payload spells them, without reading them.
    if cursor.take(b"\"value\":") {
        return Ok(true);
    }
    if cursor.take(b"\"quality\":") {
        return Ok(false);
    }
    let start = cursor.offset();
    let name = cursor.string()?;
    cursor.colon()?;
    match &*name.decode() {
        "value" => Ok(true),
        "quality" => Ok(false),
        other => Err(unknown_member(start, other, ["value", "quality"].into_iter())),
    }
}

fn check_quality<C: Collect>(
    cursor: &mut Cursor<'_>,
    context: &mut Context<'_>,
    collect: &mut C,
) -> Result<(), Stop> {
    let start = cursor.offset();
    if let Some(Integer::Value(quality @ 0..=9)) = read_number(cursor, context)? {
        collect.quality(quality as u8);
        return Ok(());
    }
    cursor.back_to(start);
    Err(refused(cursor, Reason::Quality, "a quality from 0 to 9"))
}
