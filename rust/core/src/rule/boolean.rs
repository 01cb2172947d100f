//! BOOL: `true`, `false`, or a number equal to 0 or 1 (contract 5).

use crate::collect::Collect;
use crate::json::{Cursor, Integer};
use crate::verdict::Stop;

use super::{type_fault, value_fault};

pub(crate) fn check<C: Collect>(cursor: &mut Cursor<'_>, collect: &mut C) -> Result<(), Stop> {
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
        _ => {}
    }
    Err(type_fault(cursor, "BOOL"))
}
