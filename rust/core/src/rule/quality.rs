//! Points with quality: `{"value":v,"quality":q}`, `{"value":v}` or the bare value (contract 5.2).

use crate::collect::Collect;
use crate::json::{Cursor, Integer};
use crate::verdict::{Reason, Stop};

use super::structure::{missing_member, repeated, unknown_member};
use super::{Context, Rule, is_ignored_null, read_number, refused};

/// What has come of a member: one test at the end tells a value from none and from null.
const ABSENT: u8 = 0;
const PRESENT: u8 = 1;
const NULL: u8 = 2;

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
    let (mut value, mut quality, mut first) = (ABSENT, ABSENT, true);
    while let Some((start, member)) = cursor.next_of(&mut first, &["\"value\":", "\"quality\":"])? {
        let (is_value, name, seen) = match member {
            Some(0) => (true, "value", &mut value),
            Some(_) => (false, "quality", &mut quality),
            None => return Err(other_member(cursor, start)),
        };
        if std::mem::replace(seen, PRESENT) != ABSENT {
            return Err(repeated(start, name));
        }
        let judged = if is_value {
            rule.check(cursor, context, collect)
        } else {
            check_quality(cursor, context, collect)
        };
        if let Err(stop) = judged {
            if !is_value || !is_ignored_null(&stop, context) {
                return Err(stop.inside(name));
            }
            cursor.literal("null")?;
            value = NULL;
        }
    }
    match value {
        PRESENT => Ok(()),
        // Which point that is, its entry knows.
        NULL => Err(Stop::NullPoint { place: 0 }),
        _ => Err(missing_member(cursor, "value")),
    }
}

#[cold]
fn other_member(cursor: &Cursor<'_>, start: usize) -> Stop {
    let mut cursor = cursor.clone();
    cursor.back_to(start);
    match cursor.string() {
        Ok(name) => unknown_member(start, &name.decode(), ["value", "quality"].into_iter()),
        Err(syntax) => syntax.into(),
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
