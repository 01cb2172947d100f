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

    /// `INT, at least 0 and below 100`: what a range fault of whole numbers says was expected. A bound that the type's own
    /// range, `low..=high`, exceeds is not named, but that range is: no value outside it may seem to be within.
    pub(crate) fn text_of_whole(&self, name: &str, (low, high): (i64, i64)) -> Box<str> {
        let within = self.whole(low, high);
        let minimum = self.minimum.filter(|_| within.is_some_and(|(least, _)| least > low));
        let maximum = self.maximum.filter(|_| within.is_some_and(|(_, most)| most < high));
        if minimum.is_none() && maximum.is_none() {
            return format!("{name} from {low} to {high}").into();
        }
        let minimum = minimum.map_or(format!("at least {low}"), |bound| self.at_least(bound));
        let maximum = maximum.map_or(format!("at most {high}"), |bound| self.at_most(bound));
        format!("{name}, {minimum} and {maximum}").into()
    }

    /// The same of types whose own range need not be named.
    pub(crate) fn text(&self, name: &str) -> Box<str> {
        let minimum = self.minimum.map(|bound| self.at_least(bound));
        let maximum = self.maximum.map(|bound| self.at_most(bound));
        match (minimum, maximum) {
            (Some(minimum), Some(maximum)) => format!("{name}, {minimum} and {maximum}").into(),
            (Some(side), None) | (None, Some(side)) => format!("{name}, {side}").into(),
            (None, None) => name.into(),
        }
    }

    fn at_least(&self, bound: B) -> String {
        format!("{} {}", if self.exclusive_minimum { "above" } else { "at least" }, shown(bound.token()))
    }

    fn at_most(&self, bound: B) -> String {
        format!("{} {}", if self.exclusive_maximum { "below" } else { "at most" }, shown(bound.token()))
    }
}
