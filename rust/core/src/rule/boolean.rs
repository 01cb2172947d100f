//! BOOL: `true`, `false`, or a number equal to 0 or 1; also in a string if the product accepts
//! those (contract 5, 5.4).

use crate::collect::Collect;
use crate::fault::Stop;
use crate::fault::at_value::{type_fault, value_fault};
use crate::json::{Integer, Number};
use crate::reader::Reader;

use super::Check;

const EXPECTED: &str = "BOOL: true, false, 0 or 1";

/// A truth value.
#[derive(Clone, Debug)]
pub(crate) struct BoolRule;

impl Check for BoolRule {
    fn check<C: Collect>(&self, reader: &mut Reader<'_>, collect: &mut C) -> Result<(), Stop> {
        let start = reader.cursor.offset();
        let value = match reader.cursor.peek() {
            b't' | b'f' => reader.cursor.boolean()?,
            b'-' | b'0'..=b'9' => {
                let Integer::Value(value @ (0 | 1)) = reader.cursor.number()?.to_integer() else {
                    reader.cursor.rewind_to(start);
                    return Err(value_fault(&reader.cursor, EXPECTED));
                };
                value == 1
            }
            b'"' if reader.settings.numbers_as_strings => in_string(reader)?,
            _ => return Err(type_fault(&reader.cursor, "BOOL")),
        };
        collect.boolean(value);
        Ok(())
    }
}

/// Reads a truth value from a string.
#[cold]
fn in_string(reader: &mut Reader<'_>) -> Result<bool, Stop> {
    let start = reader.cursor.offset();
    let text = reader.cursor.string()?.decode_in(reader.buffer);
    match (text, Number::parse(text).map(Number::to_integer)) {
        ("true", _) | (_, Some(Integer::Value(1))) => Ok(true),
        ("false", _) | (_, Some(Integer::Value(0))) => Ok(false),
        _ => {
            reader.cursor.rewind_to(start);
            Err(value_fault(&reader.cursor, EXPECTED))
        }
    }
}
