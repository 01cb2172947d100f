//! INT, FLOAT and DOUBLE (contract 5, 5.1).
//!
//! Bounds are made inclusive when the model is compiled: an exclusive one moves to its neighbour in
//! the point's own type, so two comparisons judge every number. The type's own range is the default
//! bound, so infinity falls outside without a test of its own.

use crate::collect::Collect;
use crate::json::{Cursor, Integer, Number};
use crate::verdict::{Fault, Reason, Stop};

use super::bounds::Bounds;
use super::{Context, read_number, shown_number, type_fault};

#[cold]
fn range_fault(cursor: &Cursor<'_>, start: usize, expected: &str) -> Stop {
    let got = shown_number(cursor, start);
    Fault::here(Reason::Range, start).expected(expected.to_owned()).got(got).into()
}

/// A 32-bit integer within bounds.
#[derive(Clone, Debug)]
pub(crate) struct IntRule {
    low: i64,
    high: i64,
    expected: Box<str>,
}

impl IntRule {
    /// `None` when no value could ever be within the bounds.
    pub(crate) fn new(bounds: &Bounds<Number<'_>>) -> Option<Self> {
        let (low, high) = bounds.whole(i32::MIN.into(), i32::MAX.into())?;
        Some(Self { low, high, expected: bounds.text("INT", "INT from -2147483648 to 2147483647") })
    }

    #[inline(always)]
    pub(crate) fn check<C: Collect>(
        &self,
        cursor: &mut Cursor<'_>,
        context: &mut Context<'_>,
        collect: &mut C,
    ) -> Result<(), Stop> {
        let start = cursor.offset();
        match read_number(cursor, context)? {
            Some(Integer::Value(value)) if self.low <= value && value <= self.high => {
                collect.long(value);
                Ok(())
            }
            None | Some(Integer::Fraction) => {
                cursor.back_to(start);
                Err(type_fault(cursor, "INT"))
            }
            Some(_) => Err(range_fault(cursor, start, &self.expected)),
        }
    }
}

macro_rules! floating_rule {
    ($rule:ident, $float:ty, $convert:ident, $name:literal) => {
        impl $rule {
            /// `None` when no value could ever be within the bounds.
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
                (low <= high).then(|| Self {
                    low,
                    high,
                    expected: bounds.text($name, concat!("a finite ", $name)),
                })
            }

            #[inline(always)]
            pub(crate) fn check<C: Collect>(
                &self,
                cursor: &mut Cursor<'_>,
                context: &mut Context<'_>,
                collect: &mut C,
            ) -> Result<(), Stop> {
                let start = cursor.offset();
                let Some(value) = read_number::<$float>(cursor, context)? else {
                    return Err(type_fault(cursor, $name));
                };
                if self.low <= value && value <= self.high {
                    collect.double(f64::from(value));
                    return Ok(());
                }
                Err(range_fault(cursor, start, &self.expected))
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

floating_rule!(FloatRule, f32, to_f32, "FLOAT");
floating_rule!(DoubleRule, f64, to_f64, "DOUBLE");
