//! Bounds as a model states them, before a rule makes them inclusive (contract 5.1, 6.1).

use crate::display::shown;
use crate::json::{Integer, Number};

/// What can stand as a bound.
pub(crate) trait Bound: Copy {
    /// As the model writes it.
    fn token(&self) -> &str;

    /// The first and the last whole number that it stands for. Of a fraction these are the neighbours, the upper one first:
    /// so neither of them lies on the wrong side of it, whether it is exclusive or not.
    fn span(&self) -> (i64, i64);
}

impl Bound for Number<'_> {
    fn token(&self) -> &str {
        Number::token(*self)
    }

    fn span(&self) -> (i64, i64) {
        let floor = self.floor();
        let is_fraction = self.to_integer() == Integer::Fraction;
        (floor.saturating_add(i64::from(is_fraction)), floor)
    }
}

/// The bounds of a type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds<B> {
    pub(crate) minimum: Option<B>,
    pub(crate) maximum: Option<B>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) exclusive_maximum: bool,
}

impl<B: Bound> Bounds<B> {
    /// The whole numbers within the bounds and within `low..=high`; `None` when there are none.
    pub(crate) fn whole(&self, low: i64, high: i64) -> Option<(i64, i64)> {
        let at_least = self.minimum.map_or(low, |minimum| match minimum.span() {
            (_, last) if self.exclusive_minimum => last.saturating_add(1),
            (first, _) => first,
        });
        let at_most = self.maximum.map_or(high, |maximum| match maximum.span() {
            (first, _) if self.exclusive_maximum => first.saturating_sub(1),
            (_, last) => last,
        });
        let (low, high) = (low.max(at_least), high.min(at_most));
        (low <= high).then_some((low, high))
    }

    /// `DOUBLE, at least 0 and below 100`: what a range fault says was expected.
    pub(crate) fn text(&self, type_name: &str, unbounded: &str) -> Box<str> {
        let side = |bound: Option<B>, exclusive, open, closed| {
            bound.map(|bound| format!("{} {}", if exclusive { open } else { closed }, shown(bound.token())))
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
