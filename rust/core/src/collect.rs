//! What becomes of the values that a pass has judged: nothing, or columns ([`crate::Points`]).
//!
//! The pass is compiled once for each: judging alone pays nothing for the other.

use std::borrow::Cow;

use crate::json::Text;

/// Takes the values of a request while they are judged.
///
/// A value is given as soon as it alone is right; a fault behind it makes the whole request void, which is told by
/// [`crate::Points`]' own means.
pub(crate) trait Collect {
    fn double(&mut self, value: f64);
    fn long(&mut self, value: i64);
    fn boolean(&mut self, value: bool);
    fn text(&mut self, value: Text<'_>);
    /// The text of an ARRAY or a STRUCT.
    fn json<'t>(&mut self, text: impl FnOnce() -> Cow<'t, [u8]>);
    fn quality(&mut self, value: u8);
    /// What was given since the last point is of none.
    fn discard(&mut self);
    /// The value and quality given last are of this point of the model.
    fn point<'m>(&mut self, index: usize, identifier: impl FnOnce() -> &'m str);
    /// The points given since the last entry are this device's, at this time in milliseconds; `None` is the time of arrival.
    fn entry<'m>(&mut self, device_key: impl FnOnce() -> Cow<'m, str>, time: Option<i64>);
}

/// Judging alone.
impl Collect for () {
    #[inline(always)]
    fn double(&mut self, _: f64) {}
    #[inline(always)]
    fn long(&mut self, _: i64) {}
    #[inline(always)]
    fn boolean(&mut self, _: bool) {}
    #[inline(always)]
    fn text(&mut self, _: Text<'_>) {}
    #[inline(always)]
    fn json<'t>(&mut self, _: impl FnOnce() -> Cow<'t, [u8]>) {}
    #[inline(always)]
    fn quality(&mut self, _: u8) {}
    #[inline(always)]
    fn discard(&mut self) {}
    #[inline(always)]
    fn point<'m>(&mut self, _: usize, _: impl FnOnce() -> &'m str) {}
    #[inline(always)]
    fn entry<'m>(&mut self, _: impl FnOnce() -> Cow<'m, str>, _: Option<i64>) {}
}
