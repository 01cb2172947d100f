//! The rules that a thing model is compiled into (contract 5): one family a file.
//!
//! A rule reads its value straight from the payload and judges it in the same step. On success it
//! leaves the cursor behind the value and has allocated nothing; otherwise it returns the fault with what it
//! expected and what came, and the caller adds the place.

mod array;
mod boolean;
mod bounds;
mod date;
mod enumeration;
mod number;
mod quality;
mod stored;
mod structure;
mod text;
mod timestamp;

pub(crate) use array::{ArrayRule, DEFAULT_MAX_SIZE};
pub(crate) use bounds::{Bound, Bounds};
pub(crate) use date::DateRule;
pub(crate) use enumeration::{IntEnum, TextEnum};
pub(crate) use number::{DoubleRule, FloatRule, IntRule};
pub(crate) use structure::StructRule;
pub(crate) use text::{DEFAULT_MAX_LENGTH, FILE, STRING, TextRule};
pub(crate) use timestamp::{EARLY, Instant, MAX_TIME, TimestampRule, milliseconds, with_unit};

pub(crate) use quality::check_with_quality;

use crate::catalog::ProductSettings;
use crate::collect::Collect;
use crate::display::{quoted, shown};
use crate::json::{Cursor, Kind, Number, Numeric, Syntax, Text};
use crate::stamps::Stamps;
use crate::verdict::{Fault, Reason, Stop};

/// What a value must be.
#[derive(Clone, Debug)]
// The tag is a byte of its own: one hidden in a field takes five instructions to find, at every point.
#[repr(u8)]
pub(crate) enum Rule {
    Int(IntRule),
    Float(FloatRule),
    Double(DoubleRule),
    Bool,
    Text(TextRule),
    IntEnum(IntEnum),
    TextEnum(TextEnum),
    Date(DateRule),
    Timestamp(TimestampRule),
    Array(ArrayRule),
    Struct(StructRule),
}

/// What a rule needs besides the payload: the product's settings, and room to work in.
pub(crate) struct Context<'s> {
    pub(crate) settings: &'s ProductSettings,
    /// How many values of TIMESTAMP look like seconds.
    pub(crate) early_times: u64,
    /// Holds a decoded string while it is judged.
    pub(crate) buffer: &'s mut String,
    /// Which members of a struct have come.
    pub(crate) members: &'s mut Stamps,
}

impl Rule {
    /// Judges the value that begins here, passes over it and hands it on.
    #[inline(always)]
    pub(crate) fn check<C: Collect>(
        &self,
        cursor: &mut Cursor<'_>,
        context: &mut Context<'_>,
        collect: &mut C,
    ) -> Result<(), Stop> {
        match self {
            Self::Double(rule) => rule.check(cursor, context, collect),
            Self::Float(rule) => rule.check(cursor, context, collect),
            Self::Int(rule) => rule.check(cursor, context, collect),
            Self::Bool => boolean::check(cursor, context, collect),
            Self::IntEnum(rule) => rule.check(cursor, context, collect),
            Self::TextEnum(rule) => rule.check(cursor, context, collect),
            Self::Text(rule) => rule.check(cursor, context, collect),
            Self::Date(rule) => rule.check(cursor, context, collect),
            Self::Timestamp(rule) => rule.check(cursor, context, collect),
            Self::Array(rule) => rule.check(cursor, context, collect),
            Self::Struct(rule) => rule.check(cursor, context, collect),
        }
    }

    /// What a point of this type is called that has no quality; `None` where an object can be its value.
    pub(crate) fn without_quality(&self) -> Option<&'static str> {
        Some(match self {
            Self::Int(_) | Self::Float(_) | Self::Double(_) => "this point",
            Self::Bool => "BOOL",
            Self::Text(rule) => rule.names.of_type,
            Self::IntEnum(_) | Self::TextEnum(_) => "ENUM",
            Self::Date(_) => "DATE",
            Self::Timestamp(_) => "TIMESTAMP",
            Self::Array(_) => "ARRAY",
            Self::Struct(_) => return None,
        })
    }

    /// Whether a number can be its value, or stand for it.
    fn reads_numbers(&self) -> bool {
        matches!(
            self,
            Self::Int(_)
                | Self::Float(_)
                | Self::Double(_)
                | Self::Bool
                | Self::IntEnum(_)
                | Self::Timestamp(_)
        )
    }
}

/// Reads a number, also one in a string where the product takes those (contract 5.4).
///
/// `None` means another type; the cursor is then where it was.
#[inline(always)]
pub(crate) fn read_number<T: Numeric>(
    cursor: &mut Cursor<'_>,
    context: &mut Context<'_>,
) -> Result<Option<T>, Syntax> {
    match cursor.short_number() {
        Some(value) => Ok(Some(value)),
        None => read_any_number(cursor, context),
    }
}

#[inline(never)]
fn read_any_number<T: Numeric>(
    cursor: &mut Cursor<'_>,
    context: &mut Context<'_>,
) -> Result<Option<T>, Syntax> {
    match cursor.peek() {
        b'-' | b'0'..=b'9' => Ok(Some(T::from_number(cursor.number()?))),
        b'"' if context.settings.numbers_as_strings => {
            let start = cursor.offset();
            let number = Number::parse(cursor.string()?.decode_in(context.buffer)).map(T::from_number);
            if number.is_none() {
                cursor.back_to(start);
            }
            Ok(number)
        }
        _ => Ok(None),
    }
}

/// The number that was read at `start`, as it is shown: one in a string keeps its quotes.
#[cold]
pub(crate) fn shown_number(cursor: &Cursor<'_>, start: usize) -> String {
    let mut cursor = cursor.clone();
    cursor.back_to(start);
    let text = match cursor.peek() {
        b'"' => cursor.string().map(|text| quoted(&text.decode())),
        _ => cursor.number().map(|number| shown(number.token())),
    };
    text.unwrap_or_default()
}

/// Whether the value itself was refused for being null, and its point is to be passed over (contract 5.3); the cursor
/// stands on it.
#[cold]
pub(crate) fn is_ignored_null(stop: &Stop, context: &Context<'_>) -> bool {
    context.settings.ignore_null_points && matches!(stop, Stop::Fault(fault) if fault.is_null(&[]))
}

/// A value of another JSON type than `expected` can have stands here.
#[cold]
pub(crate) fn type_fault(cursor: &Cursor<'_>, expected: &'static str) -> Stop {
    mismatch(cursor, Reason::Type, expected)
}

/// A value stands here whose JSON type `expected` can have: the value itself is wrong, and is shown.
#[cold]
pub(crate) fn value_fault(cursor: &Cursor<'_>, expected: &'static str) -> Stop {
    refused(cursor, Reason::Type, expected)
}

/// Something of the wrong JSON type stands here: names the type and, of a scalar, the value.
#[cold]
pub(crate) fn mismatch(cursor: &Cursor<'_>, reason: Reason, expected: &'static str) -> Stop {
    match describe(cursor) {
        Ok((kind, _)) if kind == Kind::String && holds_json(cursor) => {
            let got = "string that holds JSON: it was encoded twice";
            Fault::here(reason, cursor.offset()).expected(expected).got(got).into()
        }
        Ok((kind, value)) => {
            let said = value.map(|value| format!("{} {value}", kind.name()));
            Fault::here(reason, cursor.offset()).expected(expected).got(kind.name()).said(said).into()
        }
        Err(syntax) => syntax.into(),
    }
}

/// Whether an object with the member `value` stands here, as points with quality have it.
#[cold]
pub(crate) fn has_value(cursor: &Cursor<'_>) -> bool {
    let mut cursor = cursor.clone();
    let mut find = || -> Result<bool, Syntax> {
        if cursor.kind()? != Kind::Object {
            return Ok(false);
        }
        cursor.open()?;
        let mut first = true;
        while let Some((_, member)) = cursor.next_of(&mut first, &["\"value\":"])? {
            if member.is_some() {
                return Ok(true);
            }
            cursor.skip_value()?;
        }
        Ok(false)
    };
    find().unwrap_or(false)
}

/// Whether the string that stands here is an object or an array, encoded once more.
#[cold]
fn holds_json(cursor: &Cursor<'_>) -> bool {
    let text = cursor.clone().string().map(Text::decode).unwrap_or_default();
    text.trim_start().starts_with(['{', '[']) && crate::json::check(text.as_bytes()).is_ok()
}

/// Another value than `expected` stands here, where a number could: shows a number alone, of anything else its type, too.
#[cold]
pub(crate) fn refused(cursor: &Cursor<'_>, reason: Reason, expected: &'static str) -> Stop {
    match describe(cursor) {
        Ok((kind, value)) => {
            let got = match value {
                Some(number) if kind == Kind::Number => number,
                Some(value) => format!("{} {value}", kind.name()),
                None => kind.name().to_owned(),
            };
            Fault::here(reason, cursor.offset()).expected(expected).got(got).into()
        }
        Err(syntax) => syntax.into(),
    }
}

/// The type of the value that stands here and, of a scalar, the value as it is shown.
#[cold]
pub(crate) fn describe(cursor: &Cursor<'_>) -> Result<(Kind, Option<String>), Syntax> {
    let mut cursor = cursor.clone();
    let kind = cursor.kind()?;
    let value = match kind {
        Kind::String => Some(quoted(&cursor.string()?.decode())),
        Kind::Number => Some(shown(cursor.number()?.token())),
        Kind::Boolean => Some(cursor.boolean()?.to_string()),
        Kind::Null | Kind::Object | Kind::Array => None,
    };
    Ok((kind, value))
}
