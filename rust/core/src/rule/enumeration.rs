//! ENUM: one of the model's keys, whole numbers or strings (contract 5).

use crate::display::{quoted, shown};
use crate::json::{Cursor, Integer};
use crate::verdict::{Fault, Reason, Stop};

use super::text::read_text;
use super::{Context, read_number, type_fault};

/// How many keys a fault lists.
const LISTED: usize = 8;

/// Keys that are whole numbers.
#[derive(Clone, Debug)]
pub(crate) struct IntEnum {
    /// Sorted.
    keys: Box<[i64]>,
}

/// Keys that are strings.
#[derive(Clone, Debug)]
pub(crate) struct TextEnum {
    /// Sorted.
    keys: Box<[Box<str>]>,
}

fn one_of(keys: impl ExactSizeIterator<Item = String>) -> String {
    let more = if keys.len() > LISTED { ", …" } else { "" };
    format!("one of {}{more}", keys.take(LISTED).collect::<Vec<_>>().join(", "))
}

impl IntEnum {
    pub(crate) fn new(mut keys: Vec<i64>) -> Self {
        keys.sort_unstable();
        Self { keys: keys.into() }
    }

    pub(crate) fn check(&self, cursor: &mut Cursor<'_>, context: &mut Context<'_>) -> Result<(), Stop> {
        let start = cursor.offset();
        let Some(number) = read_number(cursor, context.numbers_as_strings, context.buffer)? else {
            return Err(type_fault(cursor, "ENUM of INT"));
        };
        match number.to_integer() {
            Integer::Value(value) if self.keys.binary_search(&value).is_ok() => Ok(()),
            Integer::Fraction => {
                cursor.back_to(start);
                Err(type_fault(cursor, "ENUM of INT"))
            }
            _ => Err(Fault::here(Reason::Enum, start)
                .expected(one_of(self.keys.iter().map(i64::to_string)))
                .got(shown(number.token()))
                .into()),
        }
    }
}

impl TextEnum {
    pub(crate) fn new(mut keys: Vec<Box<str>>) -> Self {
        keys.sort_unstable();
        Self { keys: keys.into() }
    }

    pub(crate) fn check(&self, cursor: &mut Cursor<'_>, context: &mut Context<'_>) -> Result<(), Stop> {
        let start = cursor.offset();
        let text = read_text(cursor, "ENUM of STRING")?.decode_in(context.buffer);
        if self.keys.binary_search_by(|key| (**key).cmp(text)).is_ok() {
            return Ok(());
        }
        Err(Fault::here(Reason::Enum, start)
            .expected(one_of(self.keys.iter().map(|key| quoted(key))))
            .got_text(text)
            .into())
    }
}
