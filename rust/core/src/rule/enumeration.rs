//! ENUM: one of the model's keys, whole numbers or strings (contract 5).

use crate::collect::Collect;
use crate::display::quoted;
use crate::fault::at_value::{shown_number, type_fault, value_fault};
use crate::fault::{Fault, Reason, Stop};
use crate::json::{Cursor, Integer};
use crate::reader::Reader;

use super::Check;
use super::text::TEXT_ENUM;

/// Maximum number of keys that a fault lists.
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

/// Adds the keys to what a type fault expected; not if the value is null, because many products
/// ignore those.
#[cold]
fn with_keys(stop: Stop, keys: impl Fn() -> String) -> Stop {
    match stop {
        Stop::Fault(mut fault) if !fault.is_null(&[]) => {
            let Some(expected) = fault.expected.take() else { unreachable!("a type fault has it") };
            fault.expected(format!("{expected}, {}", keys())).into()
        }
        other => other,
    }
}

impl IntEnum {
    pub(crate) fn new(mut keys: Vec<i64>) -> Self {
        keys.sort_unstable();
        Self { keys: keys.into() }
    }

    #[cold]
    fn refuse(&self, cursor: &mut Cursor<'_>, start: usize, read: Option<Integer>) -> Stop {
        match read {
            None => self.keys_named(type_fault(cursor, "ENUM of INT")),
            Some(Integer::Fraction) => {
                cursor.rewind_to(start);
                self.keys_named(value_fault(cursor, "ENUM of INT, a whole number"))
            }
            Some(_) => Fault::here(Reason::Enum, start)
                .expected(self.one_of())
                .got(shown_number(cursor, start))
                .into(),
        }
    }

    fn one_of(&self) -> String {
        one_of(self.keys.iter().map(i64::to_string))
    }

    #[cold]
    fn keys_named(&self, stop: Stop) -> Stop {
        with_keys(stop, || self.one_of())
    }
}

impl Check for IntEnum {
    fn check<C: Collect>(&self, reader: &mut Reader<'_>, collect: &mut C) -> Result<(), Stop> {
        let start = reader.cursor.offset();
        match reader.number()? {
            Some(Integer::Value(value)) if self.keys.binary_search(&value).is_ok() => {
                collect.long(value);
                Ok(())
            }
            other => Err(self.refuse(&mut reader.cursor, start, other)),
        }
    }
}

impl TextEnum {
    pub(crate) fn new(mut keys: Vec<Box<str>>) -> Self {
        keys.sort_unstable();
        Self { keys: keys.into() }
    }

    fn one_of(&self) -> String {
        one_of(self.keys.iter().map(|key| quoted(key)))
    }
}

impl Check for TextEnum {
    fn check<C: Collect>(&self, reader: &mut Reader<'_>, collect: &mut C) -> Result<(), Stop> {
        let start = reader.cursor.offset();
        let text = reader.text(&TEXT_ENUM).map_err(|stop| with_keys(stop, || self.one_of()))?;
        let bytes = text.bytes_in(reader.buffer);
        if self.keys.binary_search_by(|key| key.as_bytes().cmp(bytes)).is_ok() {
            collect.text(text);
            return Ok(());
        }
        Err(Fault::here(Reason::Enum, start).expected(self.one_of()).got_text(&text.decode()).into())
    }
}
