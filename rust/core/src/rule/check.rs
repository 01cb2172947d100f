//! The [`Check`] trait, and [`Rule`], which dispatches to the rule of a point's type.

use crate::collect::Collect;
use crate::fault::list::check_all;
use crate::fault::{Segment, Stop};
use crate::json::Cursor;
use crate::reader::Reader;

use super::array::ArrayRule;
use super::boolean::BoolRule;
use super::date::DateRule;
use super::enumeration::{IntEnum, TextEnum};
use super::number::{DoubleRule, FloatRule, IntRule};
use super::structure::StructRule;
use super::text::TextRule;
use super::timestamp::TimestampRule;

/// Checks one JSON value.
pub(crate) trait Check {
    /// Reads the value at the cursor and gives it to `collect`, if it is valid.
    ///
    /// On success the cursor stands behind the value, and nothing has been allocated. A fault has
    /// no path yet: the caller adds it.
    fn check<C: Collect>(&self, reader: &mut Reader<'_>, collect: &mut C) -> Result<(), Stop>;

    /// Reads valid elements of an array as long as each of them takes the fast path and has a comma
    /// directly behind it, but at most `most`; returns how many.
    ///
    /// It may stop anywhere: the caller checks the next element with [`Self::check`].
    #[inline(always)]
    fn check_run(&self, _: &mut Cursor<'_>, _most: usize) -> usize {
        0
    }
}

/// Checks a member of a STRUCT or an element of an ARRAY.
#[inline(always)]
pub(super) fn check_inside<C: Collect>(
    rule: &impl Check,
    segment: impl Into<Segment>,
    reader: &mut Reader<'_>,
    collect: &mut C,
) -> Result<(), Stop> {
    match collect.faults() {
        None => rule.check(reader, &mut ()).map_err(|stop| stop.inside(segment)),
        Some(faults) => {
            check_all(|reader, faults| rule.check(reader, faults), &segment.into(), reader, faults)
        }
    }
}

/// What follows a fault of a member whose value the cursor stands on: the end of the check, or, where
/// all faults are wanted, the next member.
#[inline(always)]
pub(super) fn go_on<C: Collect>(stop: Stop, reader: &mut Reader<'_>, collect: &mut C) -> Result<(), Stop> {
    let Some(faults) = collect.faults() else { return Err(stop) };
    faults.keep(stop, reader)?;
    Ok(reader.cursor.skip_value()?)
}

/// The rule of a point, of a STRUCT's member or of an ARRAY's elements.
#[derive(Clone, Debug)]
// The tag is a byte of its own: extracting one that is hidden in a field takes five instructions a
// point.
#[repr(u8)]
pub(crate) enum Rule {
    Int(IntRule),
    Float(FloatRule),
    Double(DoubleRule),
    Bool(BoolRule),
    Text(TextRule),
    IntEnum(IntEnum),
    TextEnum(TextEnum),
    Date(DateRule),
    Timestamp(TimestampRule),
    Array(ArrayRule),
    Struct(StructRule),
}

impl Check for Rule {
    #[inline(always)]
    fn check<C: Collect>(&self, reader: &mut Reader<'_>, collect: &mut C) -> Result<(), Stop> {
        match self {
            Self::Double(rule) => rule.check(reader, collect),
            Self::Float(rule) => rule.check(reader, collect),
            Self::Int(rule) => rule.check(reader, collect),
            Self::Bool(rule) => rule.check(reader, collect),
            Self::IntEnum(rule) => rule.check(reader, collect),
            Self::TextEnum(rule) => rule.check(reader, collect),
            Self::Text(rule) => rule.check(reader, collect),
            Self::Date(rule) => rule.check(reader, collect),
            Self::Timestamp(rule) => rule.check(reader, collect),
            Self::Array(rule) => rule.check(reader, collect),
            Self::Struct(rule) => rule.check(reader, collect),
        }
    }
}

impl Rule {
    /// What a fault calls a point of this type that has no quality; `None` if its value can be an
    /// object.
    pub(crate) fn name_without_quality(&self) -> Option<&'static str> {
        Some(match self {
            Self::Int(_) | Self::Float(_) | Self::Double(_) => "this point",
            Self::Bool(_) => "BOOL",
            Self::Text(rule) => rule.names.of_type,
            Self::IntEnum(_) | Self::TextEnum(_) => "ENUM",
            Self::Date(_) => "DATE",
            Self::Timestamp(_) => "TIMESTAMP",
            Self::Array(_) => "ARRAY",
            Self::Struct(_) => return None,
        })
    }

    /// Whether a number can be a value of this type.
    pub(super) fn accepts_numbers(&self) -> bool {
        matches!(
            self,
            Self::Int(_)
                | Self::Float(_)
                | Self::Double(_)
                | Self::Bool(_)
                | Self::IntEnum(_)
                | Self::Timestamp(_)
        )
    }
}
