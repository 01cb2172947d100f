//! BOOL: `true`, `false`, or a number equal to 0 or 1 (contract 5).

use crate::json::{Cursor, Integer};
use crate::verdict::Stop;

use super::type_fault;

pub(crate) fn check(cursor: &mut Cursor<'_>) -> Result<(), Stop> {
    let start = cursor.offset();
    match cursor.peek() {
        b't' | b'f' => {
            cursor.boolean()?;
            return Ok(());
        }
        b'-' | b'0'..=b'9' => {
            if matches!(cursor.number()?.to_integer(), Integer::Value(0 | 1)) {
                return Ok(());
            }
            cursor.back_to(start);
        }
        _ => {}
    }
    Err(type_fault(cursor, "BOOL"))
}
