//! An exact set of device keys, laid out for millions of them.
//!
//! ```text
//! arena   4inv-17inv-1005inv-22      each key behind its length less one, as they came
//! slots   [_, 0, _, 16, 7, _]        where a key begins, and 24 bits of its hash; _ is free
//! ```
//!
//! A look-up in a table that no cache holds waits for memory twice: for the slot, and for the key
//! if those bits are the same. So it can be made in steps, [`KeySet::begin`], [`KeySet::locate`] and
//! [`KeySet::finish`], of which the first two only ask for the memory that the next one reads; with
//! steps of several keys in turn the waits overlap.
//!
//! Each set has its own hash seed, so that payloads cannot provoke collisions.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use prefetch_index::prefetch_index;

/// An ordered set of keys of 1 to 128 bytes. A key has a number, which is not its place in the order.
#[derive(Clone, Debug, Default)]
pub(super) struct KeySet {
    /// Every key behind a character of one byte, its length less one.
    arena: String,
    /// At most four of five are taken. A key is in the first free slot behind that of its hash.
    slots: Vec<Slot>,
    len: usize,
    hasher: RandomState,
}

/// Where a key begins in the arena, plus one, and bits of its hash behind that; or zero.
type Slot = u64;

const NUMBER_BITS: u32 = 40;

/// Number of slots of a set that fits a processor's own cache, about a megabyte with its keys.
const SMALL: usize = 1 << 16;

/// A look-up that is not finished.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lookup {
    hash: u64,
    /// The next slot to look at.
    slot: usize,
    /// The slot's key may be the one.
    is_likely: bool,
}

/// Keys on their way into a set.
#[derive(Default)]
pub(super) struct Batch {
    keys: String,
    /// Hash, and end in `keys`.
    hashes: Vec<(u64, usize)>,
}

/// Number of keys of a batch. Each has one cache line on its way.
const BATCH: usize = 32;

impl KeySet {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// A number larger than that of every key.
    pub(super) fn end(&self) -> usize {
        self.arena.len()
    }

    /// Whether the set is so large that look-ups wait for memory.
    #[inline]
    pub(super) fn is_large(&self) -> bool {
        self.slots.len() > SMALL + 1
    }

    /// Makes room for so many keys of so many bytes altogether.
    pub(super) fn reserve(&mut self, keys: usize, bytes: usize) {
        self.arena.reserve(keys + bytes);
        self.rebuild(slots_for(self.len + keys));
    }

    /// The key of a number.
    pub(super) fn key(&self, number: usize) -> Option<&str> {
        let length = usize::from(*self.arena.as_bytes().get(number)?) + 1;
        self.arena.get(number + 1..number + 1 + length)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut number = 0;
        std::iter::from_fn(move || {
            let key = self.key(number)?;
            let this = number;
            number += 1 + key.len();
            Some((this, key))
        })
    }

    /// The number of `key`.
    #[inline]
    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        let hash = self.hasher.hash_one(key);
        let mut at = self.first(hash).slot;
        loop {
            let Some(&slot) = self.slots.get(at) else {
                // The first slot follows the last one; only an empty set has none.
                if at == 0 {
                    return None;
                }
                at = 0;
                continue;
            };
            if slot >> NUMBER_BITS == bits(hash) && slot != 0 && self.is(number(slot), key) {
                return Some(number(slot));
            }
            if slot == 0 {
                return None;
            }
            at += 1;
        }
    }

    /// Begins a look-up.
    #[inline]
    pub(super) fn begin(&self, key: &[u8]) -> Lookup {
        let lookup = self.first(self.hasher.hash_one(key));
        prefetch_index(&self.slots, lookup.slot);
        lookup
    }

    /// The second step of a look-up.
    #[inline]
    pub(super) fn locate(&self, lookup: &mut Lookup) {
        self.probe(lookup);
        if let Some(number) = self.number(*lookup) {
            prefetch_index(self.arena.as_bytes(), number);
            // Most keys end within this line or the next.
            prefetch_index(self.arena.as_bytes(), number + 32);
        }
    }

    /// The last step of a look-up: the key's number.
    #[inline]
    pub(super) fn finish(&self, mut lookup: Lookup, key: &[u8]) -> Option<usize> {
        loop {
            let number = self.number(lookup)?;
            if self.is(number, key) {
                return Some(number);
            }
            lookup.slot += 1;
            self.probe(&mut lookup);
        }
    }

    /// Inserts `key`; false if it is there already.
    pub(super) fn insert(&mut self, key: &str) -> bool {
        self.insert_hashed(self.hasher.hash_one(key.as_bytes()), key)
    }

    /// Inserts `key` when the batch is full.
    pub(super) fn insert_later(&mut self, batch: &mut Batch, key: &str) {
        let hash = self.hasher.hash_one(key.as_bytes());
        prefetch_index(&self.slots, self.first(hash).slot);
        batch.keys.push_str(key);
        batch.hashes.push((hash, batch.keys.len()));
        if batch.hashes.len() >= BATCH {
            self.insert_all(batch);
        }
    }

    /// Inserts the keys of a batch.
    pub(super) fn insert_all(&mut self, batch: &mut Batch) {
        let mut start = 0;
        for &(hash, end) in &batch.hashes {
            self.insert_hashed(hash, &batch.keys[start..end]);
            start = end;
        }
        batch.keys.clear();
        batch.hashes.clear();
    }

    /// Gives back memory that is not needed for the present keys.
    pub(super) fn shrink(&mut self) {
        self.arena.shrink_to_fit();
        if self.slots.len() > slots_for(self.len) + self.len / 4 {
            self.rebuild(slots_for(self.len));
        }
    }

    fn insert_hashed(&mut self, hash: u64, key: &str) -> bool {
        if 5 * (self.len + 1) > 4 * self.slots.len() {
            self.rebuild(slots_for(2 * self.len + 8));
        }
        let mut lookup = self.first(hash);
        self.probe(&mut lookup);
        if self.finish(lookup, key.as_bytes()).is_some() {
            return false;
        }
        let Ok(length) = u8::try_from(key.len() - 1) else { unreachable!("a key has 1 to 128 bytes") };
        let number = self.arena.len();
        self.arena.push(char::from(length));
        self.arena.push_str(key);
        self.place(hash, number);
        self.len += 1;
        true
    }

    /// The state of a look-up that has seen nothing.
    #[inline(always)]
    fn first(&self, hash: u64) -> Lookup {
        let slot = (u128::from(hash) * self.slots.len() as u128) >> 64;
        Lookup { hash, slot: slot as usize, is_likely: false }
    }

    /// Goes on to the next slot with these bits of the hash, or to a free one.
    #[inline(always)]
    fn probe(&self, lookup: &mut Lookup) {
        loop {
            let Some(&slot) = self.slots.get(lookup.slot) else {
                // The first slot follows the last one; only an empty set has none.
                lookup.is_likely = false;
                if self.slots.is_empty() {
                    return;
                }
                lookup.slot = 0;
                continue;
            };
            lookup.is_likely = slot != 0 && slot >> NUMBER_BITS == bits(lookup.hash);
            if slot == 0 || lookup.is_likely {
                return;
            }
            lookup.slot += 1;
        }
    }

    #[inline(always)]
    fn number(&self, lookup: Lookup) -> Option<usize> {
        let slot = self.slots.get(lookup.slot).filter(|_| lookup.is_likely)?;
        Some(number(*slot))
    }

    /// Whether the key of a number is this one.
    #[inline(always)]
    fn is(&self, number: usize, key: &[u8]) -> bool {
        match self.arena.as_bytes().get(number..number + 1 + key.len()) {
            Some([length, one @ ..]) => usize::from(*length) + 1 == key.len() && one == key,
            _ => false,
        }
    }

    /// Enters a key, which is not there, into the first free slot.
    fn place(&mut self, hash: u64, number: usize) {
        let mut slot = self.first(hash).slot;
        loop {
            match self.slots.get_mut(slot) {
                Some(free) if *free == 0 => {
                    *free = (number as u64 + 1) | bits(hash) << NUMBER_BITS;
                    return;
                }
                Some(_) => slot += 1,
                None => slot = 0,
            }
        }
    }

    /// Enters all keys into so many new slots.
    fn rebuild(&mut self, slots: usize) {
        // Not filled but allocated with zeros: memory that is not used is not taken.
        self.slots = vec![0; slots];
        let mut hashes = Vec::with_capacity(BATCH);
        let mut number = 0;
        while number < self.arena.len() {
            while let Some(key) = self.key(number).filter(|_| hashes.len() < BATCH) {
                let hash = self.hasher.hash_one(key.as_bytes());
                prefetch_index(&self.slots, self.first(hash).slot);
                hashes.push((hash, number));
                number += 1 + key.len();
            }
            for (hash, number) in hashes.drain(..) {
                self.place(hash, number);
            }
        }
    }
}

/// The number of a slot that is taken.
#[inline(always)]
const fn number(slot: Slot) -> usize {
    (slot & ((1 << NUMBER_BITS) - 1)) as usize - 1
}

/// The bits of a hash that a slot has; those that choose the slot are others.
#[inline(always)]
const fn bits(hash: u64) -> u64 {
    hash & ((1 << (u64::BITS - NUMBER_BITS)) - 1)
}

/// Half of the slots of a small set are free, so that most keys are in the first one that is looked
/// at; of a large set a fifth: it looks at several of a cache line.
fn slots_for(keys: usize) -> usize {
    (keys + keys / 4).max((2 * keys).min(SMALL)) + 1
}
