//! The rules that a thing model is compiled into (contract 5): one family of types in each file.
//!
//! A rule reads its value from the payload and checks it in the same step; see [`Check`].

mod array;
mod boolean;
mod bounds;
mod check;
mod date;
mod enumeration;
mod number;
mod quality;
mod stored;
mod structure;
mod text;
mod timestamp;

pub(crate) use array::{ArrayRule, DEFAULT_MAX_SIZE};
pub(crate) use boolean::BoolRule;
pub(crate) use bounds::{Bound, Bounds};
pub(crate) use check::{Check, Rule};
pub(crate) use date::DateRule;
pub(crate) use enumeration::{IntEnum, TextEnum};
pub(crate) use number::{DoubleRule, FloatRule, IntRule};
pub(crate) use quality::{check_with_quality, is_ignored_null};
pub(crate) use structure::StructRule;
pub(crate) use text::{DEFAULT_MAX_LENGTH, FILE, STRING, TextNames, TextRule};
pub(crate) use timestamp::{EARLY, Instant, MAX_TIME, TimestampRule, milliseconds, with_likely_unit};
