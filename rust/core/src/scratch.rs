//! Room to work in, kept from one request to the next so that judging allocates nothing.

use crate::stamps::Stamps;

/// Passed into every call of [`crate::judge`]; holds nothing that outlives a call but guesses.
///
/// ```
/// let mut scratch = pointgate_core::Scratch::default();
/// # let _ = &mut scratch;
/// ```
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// Which points of the entry have come.
    pub(crate) points: Stamps,
    /// Which members of the struct have come.
    pub(crate) members: Stamps,
    /// A decoded string.
    pub(crate) buffer: String,
    pub(crate) guesses: Guesses,
}

/// Which point follows which: a device sends its points in the same order every time.
///
/// A guess is compared with the payload before it is believed, so guesses learned from another model do no harm.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guesses {
    /// For each point the one that came after it last; the first one of an entry stands at the front.
    next: Vec<u32>,
}

impl Guesses {
    #[inline]
    pub(crate) fn begin(&mut self, points: usize) {
        if self.next.len() <= points {
            self.next.resize(points + 1, 0);
        }
    }

    /// The point that may follow `place`: 0 for an entry's beginning, else a point's index + 1.
    #[inline]
    pub(crate) fn after(&self, place: usize) -> usize {
        self.next.get(place).copied().unwrap_or(0) as usize
    }

    #[inline]
    pub(crate) fn learn(&mut self, place: usize, point: usize) {
        if let Some(next) = self.next.get_mut(place) {
            *next = point as u32;
        }
    }
}
