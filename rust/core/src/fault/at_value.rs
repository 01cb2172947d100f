//! Constructors of faults that describe the JSON value at a cursor: its type, and the value where
//! that helps.
//!
//! All of them are cold and work on a copy of the cursor, so the caller's cursor stays on the
//! value.

use crate::display::{quoted, shown};
use crate::json::{Cursor, JsonType, Syntax, Text};

use super::{Fault, Reason, Stop};

/// The fault of a value whose JSON type is wrong for `expected`.
#[cold]
pub(crate) fn type_fault(cursor: &Cursor<'_>, expected: &'static str) -> Stop {
    mismatch(cursor, Reason::Type, expected)
}

/// The fault of a value whose JSON type is right for `expected`, but not the value itself: shows
/// the value.
#[cold]
pub(crate) fn value_fault(cursor: &Cursor<'_>, expected: &'static str) -> Stop {
    refused(cursor, Reason::Type, expected)
}

/// The fault of a wrong JSON type: names the type and, in the message, the value of a scalar.
#[cold]
pub(crate) fn mismatch(cursor: &Cursor<'_>, reason: Reason, expected: &'static str) -> Stop {
    match describe(cursor) {
        Ok((kind, _)) if kind == JsonType::String && holds_json(cursor) => {
            let got = "string that holds JSON: it was encoded twice";
            Fault::here(reason, cursor.offset()).expected(expected).got(got).into()
        }
        Ok((kind, value)) => {
            let with_type = value.map(|value| format!("{} {value}", kind.name()));
            Fault::here(reason, cursor.offset())
                .expected(expected)
                .got(kind.name())
                .got_in_message(with_type)
                .into()
        }
        Err(syntax) => syntax.into(),
    }
}

/// Whether the value is an object with a member `value`, the form of points with quality.
#[cold]
pub(crate) fn has_value(cursor: &Cursor<'_>) -> bool {
    let mut cursor = cursor.clone();
    let mut find = || -> Result<bool, Syntax> {
        if cursor.json_type()? != JsonType::Object {
            return Ok(false);
        }
        cursor.open()?;
        let mut first = true;
        while let Some((_, member)) = cursor.next_known_member(&mut first, &["\"value\":"])? {
            if member.is_some() {
                return Ok(true);
            }
            cursor.skip_value()?;
        }
        Ok(false)
    };
    // The rest of the object may be no JSON; that is reported when it is read.
    find().unwrap_or(false)
}

/// Whether the value is a string that contains an object or array as JSON: encoded twice.
#[cold]
fn holds_json(cursor: &Cursor<'_>) -> bool {
    let text = cursor.clone().string().map(Text::decode);
    let text = text.unwrap_or_else(|syntax| unreachable!("`describe` has read the string: {syntax}"));
    text.trim_start().starts_with(['{', '[']) && crate::json::check(text.as_bytes()).is_ok()
}

/// The fault of a wrong value where a number is accepted: shows a number alone, anything else with
/// its type.
#[cold]
pub(crate) fn refused(cursor: &Cursor<'_>, reason: Reason, expected: &'static str) -> Stop {
    match describe(cursor) {
        Ok((kind, value)) => {
            let got = match value {
                Some(number) if kind == JsonType::Number => number,
                Some(value) => format!("{} {value}", kind.name()),
                None => kind.name().to_owned(),
            };
            Fault::here(reason, cursor.offset()).expected(expected).got(got).into()
        }
        Err(syntax) => syntax.into(),
    }
}

/// The type of the value and, for a scalar, the value as messages show it.
#[cold]
pub(crate) fn describe(cursor: &Cursor<'_>) -> Result<(JsonType, Option<String>), Syntax> {
    let mut cursor = cursor.clone();
    let kind = cursor.json_type()?;
    let value = match kind {
        JsonType::String => Some(quoted(&cursor.string()?.decode())),
        JsonType::Number => Some(shown(cursor.number()?.token())),
        JsonType::Boolean => Some(cursor.boolean()?.to_string()),
        JsonType::Null | JsonType::Object | JsonType::Array => None,
    };
    Ok((kind, value))
}

/// The number that was read at `start`, as messages show it: with its quotes if it is in a string.
#[cold]
pub(crate) fn shown_number(cursor: &Cursor<'_>, start: usize) -> String {
    let mut cursor = cursor.clone();
    cursor.rewind_to(start);
    let text = match cursor.peek() {
        b'"' => cursor.string().map(|text| quoted(&text.decode())),
        _ => cursor.number().map(|number| shown(number.token())),
    };
    text.unwrap_or_else(|syntax| unreachable!("the value was read before: {syntax}"))
}
