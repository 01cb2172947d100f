//! The fourth compilation of the judge: what is faulty is skipped, the rest is collected (contract 11).
//!
//! ```text
//! collect       the verdict; the points of an accepted request
//! rejected, and the product is not enforced:
//!     tolerate  judge again, from the first byte, with [`Tolerant`]
//! ```
//!
//! An enforced product, and a valid request of any product, never come here.

use std::borrow::Cow;

use crate::catalog::Mode;
use crate::collect::Collect;
use crate::json::Text;
use crate::points::{Mark, Points};

/// Collects the points that are valid, and counts the others.
pub(crate) struct Tolerant<'p> {
    points: &'p mut Points,
    skips_entries: bool,
    /// Where the present entry began.
    entry: Mark,
    /// Skipped points of the present entry.
    in_entry: u64,
    /// Points that were not collected: faulty ones, and all of a skipped entry.
    pub(crate) skipped: u64,
}

impl<'p> Tolerant<'p> {
    /// For a request that [`Points::begin`] has begun.
    pub(crate) fn new(points: &'p mut Points, mode: Mode) -> Self {
        let entry = points.mark();
        Self { points, skips_entries: mode == Mode::Shadow, entry, in_entry: 0, skipped: 0 }
    }

    fn end_entry(&mut self, dropped: u64) {
        self.skipped += std::mem::take(&mut self.in_entry) + dropped;
        self.entry = self.points.mark();
    }
}

impl Collect for &mut Tolerant<'_> {
    const SKIPS: bool = true;

    fn skip_point(&mut self) {
        self.in_entry += 1;
    }
    fn skip_entry(&mut self, points: u64) -> bool {
        if self.skips_entries {
            self.points.rewind(self.entry);
            self.end_entry(points);
        }
        self.skips_entries
    }
    fn double(&mut self, value: f64) {
        (&mut *self.points).double(value);
    }
    fn long(&mut self, value: i64) {
        (&mut *self.points).long(value);
    }
    fn boolean(&mut self, value: bool) {
        (&mut *self.points).boolean(value);
    }
    fn text(&mut self, value: Text<'_>) {
        (&mut *self.points).text(value);
    }
    fn json<'t>(&mut self, text: impl FnOnce() -> Cow<'t, [u8]>) {
        (&mut *self.points).json(text);
    }
    fn quality(&mut self, value: u8) {
        (&mut *self.points).quality(value);
    }
    fn discard(&mut self) {
        (&mut *self.points).discard();
    }
    fn point<'m>(&mut self, index: usize, identifier: impl FnOnce() -> &'m str) {
        (&mut *self.points).point(index, identifier);
    }
    fn entry<'m>(&mut self, device_key: impl FnOnce() -> Cow<'m, str>, time: Option<i64>) {
        (&mut *self.points).entry(device_key, time);
        self.end_entry(0);
    }
}
