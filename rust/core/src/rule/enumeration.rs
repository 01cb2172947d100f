//! ENUM: one of the model's keys, whole numbers or strings (contract 5).

use crate::collect::Collect;
use crate::display::quoted;
use crate::json::{Cursor, Integer};
use crate::verdict::{Fault, Reason, Stop};

use super::text::{TEXT_ENUM, read_text};
use super::{Context, read_number, shown_number, type_fault, value_fault};

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

/// Adds the keys to what was expected instead of another type, but for null, which many products ignore.
#[cold]
fn with_keys(stop: Stop, keys: impl Fn() -> String) -> Stop {
    match stop {
        Stop::Fault(mut fault) if !fault.is_null(&[]) => {
            let expected = fault.expected.take().unwrap_or_default();
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

    pub(crate) fn check<C: Collect>(
        &self,
        cursor: &mut Cursor<'_>,
        context: &mut Context<'_>,
        collect: &mut C,
    ) -> Result<(), Stop> {
        let start = cursor.offset();
        match read_number(cursor, context)? {
            Some(Integer::Value(value)) if self.keys.binary_search(&value).is_ok() => {
                collect.long(value);
                Ok(())
            }
            other => Err(self.refuse(cursor, start, other)),
        }
    }

    #[cold]
    fn refuse(&self, cursor: &mut Cursor<'_>, start: usize, read: Option<Integer>) -> Stop {
        match read {
            None => self.keys_named(type_fault(cursor, "ENUM of INT")),
            Some(Integer::Fraction) => {
                cursor.back_to(start);
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

impl TextEnum {
    pub(crate) fn new(mut keys: Vec<Box<str>>) -> Self {
        keys.sort_unstable();
        Self { keys: keys.into() }
    }

    pub(crate) fn check<C: Collect>(
        &self,
        cursor: &mut Cursor<'_>,
        context: &mut Context<'_>,
        collect: &mut C,
    ) -> Result<(), Stop> {
        let start = cursor.offset();
        let text = read_text(cursor, &TEXT_ENUM).map_err(|stop| with_keys(stop, || self.one_of()))?;
        let bytes = text.bytes_in(context.buffer);
        if self.keys.binary_search_by(|key| key.as_bytes().cmp(bytes)).is_ok() {
            collect.text(text);
            return Ok(());
        }
        Err(Fault::here(Reason::Enum, start).expected(self.one_of()).got_text(&text.decode()).into())
    }

    fn one_of(&self) -> String {
        one_of(self.keys.iter().map(|key| quoted(key)))
    }
}
