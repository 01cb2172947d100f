//! Predicts which point comes next: a device sends its points in the same order in every request.
//!
//! A prediction is compared with the payload before it is used. So one that was learned from
//! another model costs a comparison, and is never wrong.

/// For each point the one that followed it last time.
#[derive(Clone, Debug, Default)]
pub(crate) struct OrderPredictor {
    /// By place: 0 is the beginning of an entry, `index + 1` is behind the point `index`.
    next: Vec<u32>,
}

impl OrderPredictor {
    /// Makes room for the points of a model.
    #[inline]
    pub(crate) fn reserve(&mut self, points: usize) {
        if self.next.len() <= points {
            self.next.resize(points + 1, 0);
        }
    }

    /// The point that came behind `place` last time. It can be one that the current model does not
    /// have.
    #[inline]
    pub(crate) fn after(&self, place: usize) -> usize {
        self.next[place] as usize
    }

    /// Records that `point` came behind `place`.
    #[inline]
    pub(crate) fn learn(&mut self, place: usize, point: usize) {
        self.next[place] = point as u32;
    }
}
