//! INT, FLOAT and DOUBLE (contract 5, 5.1).
//!
//! Bounds are made inclusive when the model is compiled: an exclusive bound becomes the adjacent
//! value of the point's type, so two comparisons check every number. Without a bound of the model
//! the limit of the type applies, so infinity is out of range and needs no test of its own.

use crate::collect::Collect;
use crate::fault::at_value::{shown_number, type_fault, value_fault};
use crate::fault::{Fault, Reason, Stop};
use crate::json::{Cursor, Float, Integer, Number};
use crate::reader::Reader;

use super::Check;
use super::bounds::Bounds;

#[cold]
fn range_fault(cursor: &Cursor<'_>, start: usize, expected: &str) -> Box<Fault> {
    let got = shown_number(cursor, start);
    Fault::here(Reason::Range, start).expected(expected.to_owned()).got(got)
}

/// A 32-bit integer within bounds.
#[derive(Clone, Debug)]
pub(crate) struct IntRule {
    low: i64,
    high: i64,
    expected: Box<str>,
}

impl IntRule {
    /// `None` if no value can be within the bounds.
    pub(crate) fn new(bounds: &Bounds<Number<'_>>) -> Option<Self> {
        let own = (i32::MIN.into(), i32::MAX.into());
        let (low, high) = bounds.whole(own.0, own.1)?;
        Some(Self { low, high, expected: bounds.text_of_whole("INT", own) })
    }

    #[cold]
    fn refuse(&self, cursor: &mut Cursor<'_>, start: usize, read: Option<Integer>) -> Stop {
        match read {
            None => type_fault(cursor, "INT"),
            Some(Integer::Fraction) => {
                cursor.rewind_to(start);
                value_fault(cursor, "INT, a whole number")
            }
            Some(_) => range_fault(cursor, start, &self.expected).into(),
        }
    }
}

impl Check for IntRule {
    #[inline(always)]
    fn check<C: Collect>(&self, reader: &mut Reader<'_>, collect: &mut C) -> Result<(), Stop> {
        let start = reader.cursor.offset();
        match reader.number()? {
            Some(Integer::Value(value)) if self.low <= value && value <= self.high => {
                collect.long(value);
                Ok(())
            }
            other => Err(self.refuse(&mut reader.cursor, start, other)),
        }
    }
}

macro_rules! floating_rule {
    ($rule:ident, $float:ty, $convert:ident, $name:literal, $read:ty, $judged:expr, $sent:expr) => {
        impl $rule {
            /// `None` if no value can be within the bounds.
            pub(crate) fn new(bounds: &Bounds<Number<'_>>) -> Option<Self> {
                // Rounded to the point's type first, like the value (contract 5.1).
                let bound = |number: Option<Number<'_>>| number.map(Number::$convert);
                let low = match bound(bounds.minimum) {
                    Some(low) if bounds.exclusive_minimum => low.next_up(),
                    Some(low) => low,
                    None => <$float>::MIN,
                };
                let high = match bound(bounds.maximum) {
                    Some(high) if bounds.exclusive_maximum => high.next_down(),
                    Some(high) => high,
                    None => <$float>::MAX,
                };
                let (low, high) = (low.max(<$float>::MIN), high.min(<$float>::MAX));
                // A bound beyond the type's range is not named: it would seem to allow values that
                // the type lacks.
                let named = Bounds {
                    minimum: bounds.minimum.filter(|_| low > <$float>::MIN),
                    maximum: bounds.maximum.filter(|_| high < <$float>::MAX),
                    ..*bounds
                };
                let is_bounded = named.minimum.is_some() && named.maximum.is_some();
                let name = if is_bounded { $name } else { concat!("a finite ", $name) };
                (low <= high).then(|| Self { low, high, expected: named.text(name) })
            }

            #[cold]
            fn range_fault(&self, cursor: &Cursor<'_>, start: usize) -> Stop {
                let mut fault = range_fault(cursor, start, &self.expected);
                // A value that was rounded to an exclusive bound looks valid as it is written: show
                // the rounded one, too.
                let got = shown_number(cursor, start);
                let token = got.trim_matches('"');
                let value = Number::parse(token).map_or(<$float>::INFINITY, Number::$convert);
                let rounded = format!("{value:?}");
                let is_on_bound = value.next_up() >= self.low && value.next_down() <= self.high;
                if is_on_bound && value.is_finite() && got != rounded.trim_end_matches(".0") && got != rounded
                {
                    fault.got_in_message = Some(format!("{got}, which is {rounded} as {}", $name));
                }
                fault.into()
            }
        }

        impl Check for $rule {
            #[inline(always)]
            fn check<C: Collect>(&self, reader: &mut Reader<'_>, collect: &mut C) -> Result<(), Stop> {
                let start = reader.cursor.offset();
                let Some(number) = reader.number::<$read>()? else {
                    return Err(type_fault(&reader.cursor, $name));
                };
                let value: $float = $judged(number);
                if self.low <= value && value <= self.high {
                    collect.double($sent(number));
                    return Ok(());
                }
                Err(self.range_fault(&reader.cursor, start))
            }

            #[inline(always)]
            fn check_run(&self, cursor: &mut Cursor<'_>, most: usize) -> usize {
                let mut behind = cursor.clone();
                let mut read = 0;
                while read < most {
                    let mut next = behind.clone();
                    let Some(number) = next.short_number_and_comma::<$read>() else { break };
                    let value: $float = $judged(number);
                    if !(self.low <= value && value <= self.high) {
                        break;
                    }
                    behind = next;
                    read += 1;
                }
                *cursor = behind;
                read
            }
        }
    };
}

/// An f32 within bounds.
#[derive(Clone, Debug)]
pub(crate) struct FloatRule {
    low: f32,
    high: f32,
    expected: Box<str>,
}

/// An f64 within bounds.
#[derive(Clone, Debug)]
pub(crate) struct DoubleRule {
    low: f64,
    high: f64,
    expected: Box<str>,
}

floating_rule!(FloatRule, f32, to_f32, "FLOAT", Float, |float: Float| float.judged, |float: Float| float
    .sent);
floating_rule!(DoubleRule, f64, to_f64, "DOUBLE", f64, |double| double, |double| double);
