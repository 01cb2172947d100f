//! What becomes of the values that a pass has judged: nothing, or columns ([`crate::Points`]).
//!
//! The pass is compiled once for each: judging alone pays nothing for the other.

use crate::json::Text;

/// Takes the values of a request while they are judged.
///
/// A value is given as soon as it alone is right; a fault behind it makes the whole request void, which is told by
/// [`crate::Points`]' own means.
pub(crate) trait Collect {
    /// Whether anything is kept: what is only needed for that is left out otherwise.
    const KEEPS: bool;

    fn double(&mut self, value: f64);
    fn long(&mut self, value: i64);
    fn boolean(&mut self, value: bool);
    fn text(&mut self, value: Text<'_>);
    /// An ARRAY or a STRUCT, as it stands in the payload.
    fn json(&mut self, token: &[u8]);
    fn quality(&mut self, value: u8);
    /// The value and quality given last are of this point of the model.
    fn point(&mut self, index: usize, identifier: &str);
    /// The points given since the last entry are this device's, at this time; `None` is the time of arrival.
    fn entry(&mut self, device_index: usize, device_key: &str, time: Option<i64>);
}

/// Judging alone.
impl Collect for () {
    const KEEPS: bool = false;

    #[inline(always)]
    fn double(&mut self, _: f64) {}
    #[inline(always)]
    fn long(&mut self, _: i64) {}
    #[inline(always)]
    fn boolean(&mut self, _: bool) {}
    #[inline(always)]
    fn text(&mut self, _: Text<'_>) {}
    #[inline(always)]
    fn json(&mut self, _: &[u8]) {}
    #[inline(always)]
    fn quality(&mut self, _: u8) {}
    #[inline(always)]
    fn point(&mut self, _: usize, _: &str) {}
    #[inline(always)]
    fn entry(&mut self, _: usize, _: &str, _: Option<i64>) {}
}
