//! BOOL: `true`, `false`, or a number equal to 0 or 1, also in a string where the product takes those (contract 5, 5.4).

use crate::collect::Collect;
use crate::json::{Cursor, Integer, Number};
use crate::verdict::Stop;

use super::{Context, type_fault, value_fault};

pub(crate) fn check<C: Collect>(
    cursor: &mut Cursor<'_>,
    context: &mut Context<'_>,
    collect: &mut C,
) -> Result<(), Stop> {
    let start = cursor.offset();
    match cursor.peek() {
        b't' | b'f' => {
            collect.boolean(cursor.boolean()?);
            return Ok(());
        }
        b'-' | b'0'..=b'9' => {
            if let Integer::Value(value @ (0 | 1)) = cursor.number()?.to_integer() {
                collect.boolean(value == 1);
                return Ok(());
            }
            cursor.back_to(start);
            return Err(value_fault(cursor, "BOOL: true, false, 0 or 1"));
        }
        b'"' if context.settings.numbers_as_strings => {
            collect.boolean(in_string(cursor, context)?);
            return Ok(());
        }
        _ => {}
    }
    Err(type_fault(cursor, "BOOL"))
}

/// What a string says where numbers may stand in strings.
#[cold]
fn in_string(cursor: &mut Cursor<'_>, context: &mut Context<'_>) -> Result<bool, Stop> {
    let start = cursor.offset();
    let text = cursor.string()?.decode_in(context.buffer);
    match (text, Number::parse(text).map(Number::to_integer)) {
        ("true", _) | (_, Some(Integer::Value(1))) => Ok(true),
        ("false", _) | (_, Some(Integer::Value(0))) => Ok(false),
        _ => {
            cursor.back_to(start);
            Err(value_fault(cursor, "BOOL: true, false, 0 or 1"))
        }
    }
}
