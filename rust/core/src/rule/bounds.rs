//! Bounds as a model has them: inclusive or exclusive, in the form in which they are written
//! (contract 5.1, 6.1).

use crate::display::shown;
use crate::json::{Integer, Number};

/// A value that can be a bound.
pub(crate) trait Bound: Copy {
    /// The bound as it is written.
    fn token(&self) -> &str;

    /// The first and the last whole number that the bound includes: of a date those of its day or
    /// second.
    ///
    /// A fraction includes none, so it has the whole numbers on both sides, the upper one first:
    /// 1.5 has (2, 1). As a minimum the first one counts and as a maximum the last one, so this is
    /// right for inclusive and exclusive bounds.
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
    /// The whole numbers within the bounds and within `low..=high`; `None` if there are none.
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

    /// What a range fault of whole numbers expects: `INT, at least 0 and below 100`.
    ///
    /// A bound outside the type's range `low..=high` is replaced by that range, so that the text
    /// never includes a value that the type cannot have.
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

    /// What a range fault of other types expects: without the range of the type.
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
