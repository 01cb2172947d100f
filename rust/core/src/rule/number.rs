//! INT, FLOAT and DOUBLE (contract 5, 5.1).
//!
//! Bounds are made inclusive when the model is compiled: an exclusive one moves to its neighbour in
//! the point's own type, so two comparisons judge every number. The type's own range is the default
//! bound, so infinity falls outside without a test of its own.

use crate::collect::Collect;
use crate::display::shown;
use crate::json::{Cursor, Integer, Number};
use crate::verdict::{Fault, Reason, Stop};

use super::{Context, read_number, shown_number, type_fault};

/// The bounds of a number as a model states them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds<'m> {
    pub(crate) minimum: Option<Number<'m>>,
    pub(crate) maximum: Option<Number<'m>>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) exclusive_maximum: bool,
}

impl Bounds<'_> {
    /// `DOUBLE, at least 0 and below 100`: what a range fault says was expected.
    fn text(&self, type_name: &str, unbounded: &str) -> Box<str> {
        let side = |number: Option<Number<'_>>, exclusive, open, closed| {
            number
                .map(|number| format!("{} {}", if exclusive { open } else { closed }, shown(number.token())))
        };
        let low = side(self.minimum, self.exclusive_minimum, "above", "at least");
        let high = side(self.maximum, self.exclusive_maximum, "below", "at most");
        match (low, high) {
            (Some(low), Some(high)) => format!("{type_name}, {low} and {high}").into(),
            (Some(side), None) | (None, Some(side)) => format!("{type_name}, {side}").into(),
            (None, None) => unbounded.into(),
        }
    }
}

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
    pub(crate) fn new(bounds: &Bounds<'_>) -> Option<Self> {
        let mut low = i64::from(i32::MIN);
        let mut high = i64::from(i32::MAX);
        if let Some(minimum) = bounds.minimum {
            let floor = minimum.floor();
            let integral = minimum.to_integer() != Integer::Fraction;
            low = low.max(floor.saturating_add(i64::from(!integral || bounds.exclusive_minimum)));
        }
        if let Some(maximum) = bounds.maximum {
            let integral = maximum.to_integer() != Integer::Fraction;
            high = high.min(maximum.floor().saturating_sub(i64::from(integral && bounds.exclusive_maximum)));
        }
        (low <= high).then(|| Self {
            low,
            high,
            expected: bounds.text("INT", "INT from -2147483648 to 2147483647"),
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
            pub(crate) fn new(bounds: &Bounds<'_>) -> Option<Self> {
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
