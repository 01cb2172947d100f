//! The most frequent keys of a stream, in bounded memory: Space-Saving (Metwally, Agrawal,
//! El Abbadi, 2005).
//!
//! A fixed number of keys is counted. A key that is not among them replaces the one with the
//! smallest count, and inherits that count as its possible error:
//!
//! ```text
//! two keys are counted     a b a c      a: 2, error 0      c: 2, error 1 (it replaced b)
//! ```
//!
//! So no count is too low, none is too high by more than its error, and a key that has more than
//! 1/n of all additions is among the n that are counted.
//!
//! Counts decay: additions of a half-life ago count half, so that the list shows what is frequent
//! now. Instead of making all counts smaller, later additions weigh more: 1 at the beginning, 2
//! after a half-life, 4 after two. The order of counts never changes by decay, so the heap that
//! finds the smallest one stays valid.
//!
//! A key that comes back after two half-lives without an addition is counted anew, with its former
//! count as its possible error: `since` is the beginning of what happens now.
//!
//! It has no clock: the owner says what time it is.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// A key is counted anew after so many half-lives without an addition.
const PAUSE: f64 = 2.0;

/// When an addition weighs this much, all counts are divided by it, so that they stay finite.
const HEAVIEST: f64 = 1e100;

/// A key that is counted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Hitter<T> {
    /// The key.
    pub key: String,
    /// What the owner keeps with it; the default when the key is new.
    pub detail: T,
    /// Additions since it is counted.
    pub additions: u64,
    /// When it was first added since it is counted.
    pub since: f64,
    /// When it was last added.
    pub last: f64,
    count: f64,
    error: f64,
    hash: u64,
    /// Its place in the heap.
    place: usize,
}

impl<T> Hitter<T> {
    /// Counts from now on: no addition so far is certain.
    fn begin(&mut self, now: f64) {
        (self.error, self.additions, self.since, self.last) = (self.count, 0, now, now);
    }
}

/// Counts at most `capacity` keys.
#[derive(Clone, Debug)]
pub struct HeavyHitters<T> {
    capacity: usize,
    half_life: f64,
    hitters: Vec<Hitter<T>>,
    /// Numbers of hitters, as a heap: none has a smaller count than the one at half its place.
    heap: Vec<usize>,
    numbers: HashTable<usize>,
    hasher: RandomState,
    now: f64,
    /// When an addition had the weight 1.
    origin: f64,
    weight: f64,
}

impl<T: Default> HeavyHitters<T> {
    /// Counts so many keys, at least one; counts are halved after so many seconds.
    pub fn new(capacity: usize, half_life: f64) -> Self {
        Self {
            capacity: capacity.max(1),
            half_life,
            hitters: Vec::new(),
            heap: Vec::new(),
            numbers: HashTable::new(),
            hasher: RandomState::default(),
            now: 0.0,
            origin: 0.0,
            weight: 1.0,
        }
    }

    /// Sets the time, in seconds of a clock that does not go back; an earlier one is ignored.
    pub fn advance(&mut self, now: f64) {
        if now <= self.now {
            return;
        }
        self.now = now;
        self.weight = ((now - self.origin) / self.half_life).exp2();
        if self.weight > HEAVIEST {
            for hitter in &mut self.hitters {
                hitter.count /= self.weight;
                hitter.error /= self.weight;
            }
            (self.origin, self.weight) = (now, 1.0);
        }
    }

    /// Adds a key a number of times; one with as many `additions` is counted from now on.
    pub fn add(&mut self, key: &str, times: u64) -> &mut Hitter<T> {
        let hash = self.hasher.hash_one(key);
        let hitters = &self.hitters;
        let found = self.numbers.find(hash, |&number| hitters[number].key == key).copied();
        let number = found.unwrap_or_else(|| self.begin(key, hash));
        let hitter = &mut self.hitters[number];
        if self.now > hitter.last + PAUSE * self.half_life {
            hitter.begin(self.now);
        }
        hitter.count += self.weight * times as f64;
        hitter.additions += times;
        hitter.last = self.now;
        let place = hitter.place;
        self.sink(place);
        &mut self.hitters[number]
    }

    /// Begins to count a key, in place of the least frequent one if there is no room.
    fn begin(&mut self, key: &str, hash: u64) -> usize {
        let number = if self.hitters.len() < self.capacity {
            let number = self.hitters.len();
            self.hitters.push(Hitter {
                key: key.to_owned(),
                detail: T::default(),
                additions: 0,
                since: self.now,
                last: self.now,
                count: 0.0,
                error: 0.0,
                hash,
                place: self.heap.len(),
            });
            self.heap.push(number);
            // A count of 0 is the smallest one.
            self.rise(self.heap.len() - 1);
            number
        } else {
            let number = self.heap[0];
            let hitter = &mut self.hitters[number];
            if let Ok(former) = self.numbers.find_entry(hitter.hash, |&other| other == number) {
                former.remove();
            }
            hitter.key.clear();
            hitter.key.push_str(key);
            (hitter.hash, hitter.detail) = (hash, T::default());
            hitter.begin(self.now);
            number
        };
        let hitters = &self.hitters;
        self.numbers.insert_unique(hash, number, |&number| hitters[number].hash);
        number
    }

    fn rise(&mut self, mut place: usize) {
        while place > 0 && self.count_at(place) < self.count_at((place - 1) / 2) {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let children = 2 * place + 1..(2 * place + 3).min(self.heap.len());
            let least = children.min_by(|&one, &other| self.count_at(one).total_cmp(&self.count_at(other)));
            let Some(least) = least.filter(|&least| self.count_at(least) < self.count_at(place)) else {
                return;
            };
            self.swap(place, least);
            place = least;
        }
    }

    fn count_at(&self, place: usize) -> f64 {
        self.hitters[self.heap[place]].count
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.heap.swap(one, other);
        self.hitters[self.heap[one]].place = one;
        self.hitters[self.heap[other]].place = other;
    }

    /// The most frequent keys, by additions that are certain: without the possible error.
    pub fn top(&self, most: usize) -> Vec<&Hitter<T>> {
        let mut hitters: Vec<_> = self.hitters.iter().collect();
        hitters.sort_by(|one, other| (other.count - other.error).total_cmp(&(one.count - one.error)));
        hitters.truncate(most);
        hitters
    }

    /// How often a key was lately added, in a second.
    pub fn rate(&self, hitter: &Hitter<T>) -> f64 {
        let decayed = (hitter.count - hitter.error) / self.weight;
        // A steady rate adds up to this many seconds of it, after so long a time.
        let mean = self.half_life / std::f64::consts::LN_2;
        let age = (self.now - hitter.since).max(1.0);
        decayed / (mean * -(-age / mean).exp_m1())
    }

    /// Number of keys that are counted.
    pub fn len(&self) -> usize {
        self.hitters.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.hitters.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::HeavyHitters;

    fn counted(hitters: &HeavyHitters<()>) -> Vec<(&str, u64)> {
        hitters.top(9).into_iter().map(|hitter| (hitter.key.as_str(), hitter.additions)).collect()
    }

    #[test]
    fn a_new_key_replaces_the_least_frequent_one() {
        let mut hitters = HeavyHitters::new(2, 60.0);
        for key in ["a", "b", "a", "c"] {
            hitters.add(key, 1);
        }
        assert_eq!(counted(&hitters), [("a", 2), ("c", 1)]);
        assert_eq!(hitters.add("b", 3).additions, 3);
    }

    #[test]
    fn what_was_frequent_once_gives_way() {
        let mut hitters = HeavyHitters::new(2, 60.0);
        hitters.add("once", 1000);
        hitters.add("now", 1);
        assert_eq!(counted(&hitters), [("once", 1000), ("now", 1)]);
        // Twelve half-lives make less than one of a thousand.
        hitters.advance(720.0);
        hitters.add("now", 1);
        assert_eq!(counted(&hitters), [("now", 1), ("once", 1000)]);
        // Counts that are divided keep their order; time that goes back changes nothing.
        hitters.advance(60.0 * 400.0);
        hitters.advance(0.0);
        hitters.add("new", 1);
        assert_eq!(counted(&hitters), [("new", 1), ("now", 1)]);
    }

    #[test]
    fn a_key_that_comes_back_after_a_pause_is_counted_anew() {
        let mut hitters = HeavyHitters::<()>::new(2, 60.0);
        hitters.advance(10.0);
        hitters.add("a", 5);
        hitters.advance(130.0);
        let hitter = hitters.add("a", 1);
        assert_eq!((hitter.additions, hitter.since, hitter.last), (6, 10.0, 130.0));
        hitters.advance(251.0);
        let hitter = hitters.add("a", 1);
        assert_eq!((hitter.additions, hitter.since, hitter.last), (1, 251.0, 251.0));
        let rate = hitters.rate(hitters.top(1)[0]);
        assert!((0.9..1.1).contains(&rate), "{rate}");
        // Its former count is its possible error, so a new key does not replace it at once.
        hitters.add("b", 1);
        hitters.add("c", 1);
        assert_eq!(counted(&hitters), [("a", 1), ("c", 1)]);
    }

    #[test]
    fn a_steady_rate_is_shown_from_the_beginning() {
        let mut hitters = HeavyHitters::<()>::new(4, 300.0);
        for second in 1..=1000 {
            hitters.advance(f64::from(second));
            hitters.add("a", 20);
            if second % 250 == 0 {
                let rate = hitters.rate(hitters.top(1)[0]);
                assert!((19.0..21.5).contains(&rate), "{rate}");
            }
        }
    }

    proptest! {
        #[test]
        fn counts_are_those_of_space_saving(keys in prop::collection::vec(0_u8..40, 0..400), capacity in 1_usize..12) {
            let mut hitters = HeavyHitters::<()>::new(capacity, 1.0);
            let mut exact = HashMap::<String, f64>::new();
            for key in &keys {
                let key = key.to_string();
                hitters.add(&key, 1);
                *exact.entry(key).or_default() += 1.0;
            }
            prop_assert!(hitters.len() <= capacity);
            for hitter in hitters.top(usize::MAX) {
                let exact = exact[&hitter.key];
                prop_assert!(hitter.count >= exact);
                prop_assert!(hitter.count - hitter.error <= exact);
                prop_assert_eq!((hitter.count - hitter.error) as u64, hitter.additions);
            }
            let share = keys.len() as f64 / capacity as f64;
            for (key, exact) in exact.iter().filter(|(_, exact)| **exact > share) {
                prop_assert!(hitters.top(usize::MAX).iter().any(|hitter| hitter.key == *key), "{key} {exact}");
            }
            for place in 1..hitters.heap.len() {
                prop_assert!(hitters.count_at((place - 1) / 2) <= hitters.count_at(place));
                prop_assert_eq!(hitters.hitters[hitters.heap[place]].place, place);
            }
        }
    }
}
