//! Which of a set of numbered things have come, without clearing anything between rounds.

/// A set over `0..len` that is emptied by counting on, not by writing zeros.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stamps {
    stamps: Vec<u32>,
    round: u32,
}

impl Stamps {
    /// Empties the set and makes room for `0..len`.
    #[inline]
    pub(crate) fn begin(&mut self, len: usize) {
        if self.stamps.len() < len {
            self.stamps.resize(len, 0);
        }
        self.round = self.round.wrapping_add(1);
        if self.round == 0 {
            self.stamps.fill(0);
            self.round = 1;
        }
    }

    /// Adds `index`; false when it was there already.
    #[inline]
    pub(crate) fn mark(&mut self, index: usize) -> bool {
        match self.stamps.get_mut(index) {
            Some(stamp) if *stamp != self.round => {
                *stamp = self.round;
                true
            }
            _ => false,
        }
    }
}
