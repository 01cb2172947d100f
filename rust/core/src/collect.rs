//! What is done with the values that were checked: nothing, or columns ([`crate::Points`]).
//!
//! The judge is compiled once for each, so judging alone pays nothing for collecting. A third
//! compilation collects faults: `fault/list.rs`; a fourth one skips what is faulty: `tolerant.rs`.

use std::borrow::Cow;

use crate::fault::list::FaultList;
use crate::json::Text;

/// Receives the values of a request while they are checked.
///
/// A value is passed on as soon as it is valid by itself. If a fault follows, the request is
/// rejected as a whole, and the caller withdraws its values ([`crate::Points`]'s `abandon`).
pub(crate) trait Collect {
    /// Whether checks go on behind a fault, which [`Collect::faults`] keeps.
    const ALL: bool = false;

    /// Whether a faulty point is skipped, and [`Collect::skip_entry`] asked about a faulty entry.
    const SKIPS: bool = false;

    /// Where all faults are kept.
    #[inline(always)]
    fn faults(&mut self) -> Option<&mut FaultList> {
        None
    }

    /// A faulty point was skipped, where [`Collect::SKIPS`].
    #[inline(always)]
    fn skip_point(&mut self) {}

    /// An entry is faulty: drops its `points` and returns true, or returns false if that rejects the
    /// request.
    #[inline(always)]
    fn skip_entry(&mut self, points: u64) -> bool {
        let _ = points;
        false
    }

    fn double(&mut self, value: f64);
    fn long(&mut self, value: i64);
    fn boolean(&mut self, value: bool);
    fn text(&mut self, value: Text<'_>);
    /// The text of an ARRAY or a STRUCT.
    fn json<'t>(&mut self, text: impl FnOnce() -> Cow<'t, [u8]>);
    fn quality(&mut self, value: u8);
    /// Drops the value and the quality that came since the last point.
    fn discard(&mut self);
    /// The value and the quality that came last belong to this point of the model.
    fn point<'m>(&mut self, index: usize, identifier: impl FnOnce() -> &'m str);
    /// The points since the last entry belong to this device, at this time in UTC milliseconds;
    /// `None` is the time of arrival.
    fn entry<'m>(&mut self, device_key: impl FnOnce() -> Cow<'m, str>, time: Option<i64>);
}

/// For judging alone.
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
