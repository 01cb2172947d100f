//! A set of small numbers that is cleared in constant time.

/// A set over `0..len`: each element has the generation in which it was inserted last, and is in
/// the set if that is the current one. Clearing starts a new generation and writes no zeros.
///
/// ```text
///                    generation   generations of 0, 1, 2   set
/// insert 0, insert 2          5   5  3  5                  {0, 2}
/// clear                       6   5  3  5                  {}
/// insert 1                    6   5  6  5                  {1}
/// ```
#[derive(Clone, Debug, Default)]
pub(crate) struct GenerationSet {
    inserted: Vec<u32>,
    current: u32,
}

impl GenerationSet {
    /// Clears the set and makes room for `0..len`.
    #[inline]
    pub(crate) fn clear(&mut self, len: usize) {
        if self.inserted.len() < len {
            self.inserted.resize(len, 0);
        }
        self.current = self.current.wrapping_add(1);
        // Once in four billion times, old generations would be mistaken for new ones.
        if self.current == 0 {
            self.inserted.fill(0);
            self.current = 1;
        }
    }

    /// Inserts `index`, which must be below the `len` of the last [`Self::clear`]; false if it is
    /// in the set already.
    #[inline]
    pub(crate) fn insert(&mut self, index: usize) -> bool {
        let generation = &mut self.inserted[index];
        let is_new = *generation != self.current;
        if is_new {
            *generation = self.current;
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::GenerationSet;

    #[test]
    fn a_cleared_set_is_empty_also_when_generations_start_again() {
        let mut set = GenerationSet { current: u32::MAX - 1, ..GenerationSet::default() };
        for _ in 0..4 {
            set.clear(2);
            assert!(set.insert(1));
            assert!(!set.insert(1));
            assert!(set.insert(0));
        }
    }
}
