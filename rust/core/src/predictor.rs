//! Predicts which point comes next: a device sends its points in the same order in every request.
//!
//! A prediction is compared with the payload before it is used. So one that was learned from
//! another model costs a comparison, and is never wrong.
//!
//! Senders with hash maps have no order. After two entries of which a quarter was predicted wrongly,
//! the next ones are read without predictions, each point by its name's first bytes
//! (`model/name_index`); then one entry finds out whether that is still better.

/// For each point the one that followed it last time.
#[derive(Clone, Debug, Default)]
pub(crate) struct OrderPredictor {
    /// By place: 0 is the beginning of an entry, `index + 1` is behind the point `index`.
    next: Vec<u32>,
    /// Wrong predictions in this entry.
    wrong: u64,
    /// Whether the last entry with predictions was predicted badly.
    was_bad: bool,
    /// How many entries follow that are read without predictions.
    pause: u32,
}

/// [`OrderPredictor::pause`] after two entries that were predicted badly.
const PAUSE: u32 = 32;

impl OrderPredictor {
    /// Begins an entry of a model with so many points.
    #[inline]
    pub(crate) fn begin(&mut self, points: usize) {
        if self.next.len() <= points {
            self.next.resize(points + 1, 0);
        }
        self.wrong = 0;
    }

    /// Ends an entry with so many points.
    #[inline]
    pub(crate) fn end(&mut self, points: u64) {
        if self.pause > 0 {
            self.pause -= 1;
            return;
        }
        let is_bad = 4 * self.wrong > points;
        if is_bad && self.was_bad {
            self.pause = PAUSE;
        }
        self.was_bad = is_bad;
    }

    /// Whether to use predictions in this entry.
    #[inline]
    pub(crate) fn predicts(&self) -> bool {
        self.pause == 0
    }

    /// The point that came behind `place` last time. It can be one that the current model does not
    /// have.
    #[inline]
    pub(crate) fn after(&self, place: usize) -> usize {
        self.next[place] as usize
    }

    /// Records that `point` came behind `place`, which was not predicted.
    #[inline]
    pub(crate) fn learn(&mut self, place: usize, point: usize) {
        self.next[place] = point as u32;
        self.wrong += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads an entry of three points of which so many are predicted wrongly.
    fn entry(predictor: &mut OrderPredictor, wrong: usize) -> bool {
        predictor.begin(3);
        let predicts = predictor.predicts();
        for place in 0..if predicts { wrong } else { 0 } {
            predictor.learn(place, 0);
        }
        predictor.end(3);
        predicts
    }

    #[test]
    fn predictions_pause_while_they_are_wrong() {
        let mut predictor = OrderPredictor::default();
        assert!([1, 0, 1, 0, 1, 1].into_iter().all(|wrong| entry(&mut predictor, wrong)));
        assert!((0..PAUSE).all(|_| !entry(&mut predictor, 1)));
        assert!(entry(&mut predictor, 1) && !entry(&mut predictor, 1), "one entry is enough to go on");
        let mut waited = (1..PAUSE).map(|_| entry(&mut predictor, 0));
        assert!(waited.all(|predicts| !predicts));
        assert!((0..5).all(|_| entry(&mut predictor, 0)), "an order has come back");
    }
}
