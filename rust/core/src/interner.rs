//! A string interner: names to consecutive numbers and back.
//!
//! The bytes of all names are in one arena, and a hash table has their numbers: about 10 bytes for
//! each name besides its own. Names compare by bytes. Each table has its own hash seed, so that
//! payloads cannot provoke collisions.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// An ordered set of names, numbered in the order of insertion.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interner {
    arena: String,
    /// The end of each name in the arena.
    ends: Vec<u32>,
    table: HashTable<u32>,
    hasher: RandomState,
}

impl Interner {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, index: usize) -> Option<&str> {
        name_at(&self.arena, &self.ends, index)
    }

    /// The name of a number that this interner has returned.
    pub(crate) fn name(&self, index: usize) -> &str {
        own_name(&self.arena, &self.ends, index as u32)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// The number of `name`.
    #[inline]
    pub(crate) fn find(&self, name: &[u8]) -> Option<usize> {
        let hash = self.hasher.hash_one(name);
        let same = |&index: &u32| self.get(index as usize).is_some_and(|one| one.as_bytes() == name);
        self.table.find(hash, same).map(|&index| index as usize)
    }

    /// Inserts `name`; false if it is there already, or if the arena's 4 GiB are full.
    pub(crate) fn insert(&mut self, name: &str) -> bool {
        if self.find(name.as_bytes()).is_some() {
            return false;
        }
        let (Ok(index), Ok(end)) = (u32::try_from(self.len()), u32::try_from(self.arena.len() + name.len()))
        else {
            return false;
        };
        self.arena.push_str(name);
        self.ends.push(end);
        let Self { arena, ends, table, hasher } = self;
        let hash = |name: &str| hasher.hash_one(name.as_bytes());
        table.insert_unique(hash(name), index, |&index| hash(own_name(arena, ends, index)));
        true
    }

    /// With capacity for this number of names and of bytes in all names.
    pub(crate) fn with_capacity(names: usize, bytes: usize) -> Self {
        Self {
            arena: String::with_capacity(bytes),
            ends: Vec::with_capacity(names),
            table: HashTable::with_capacity(names),
            hasher: RandomState::default(),
        }
    }

    /// The number of `name`, which is inserted if it is new. Does not check that the arena stays
    /// below 4 GiB.
    pub(crate) fn intern(&mut self, name: &str) -> u32 {
        let Self { arena, ends, table, hasher } = self;
        let hash = |name: &str| hasher.hash_one(name.as_bytes());
        let same = |&index: &u32| name_at(arena, ends, index as usize) == Some(name);
        let other = |&index: &u32| hash(own_name(arena, ends, index));
        match table.entry(hash(name), same, other) {
            Entry::Occupied(found) => *found.get(),
            Entry::Vacant(vacant) => {
                let index = ends.len() as u32;
                vacant.insert(index);
                arena.push_str(name);
                ends.push(arena.len() as u32);
                index
            }
        }
    }

    /// The arena, and the end of each name in it.
    pub(crate) fn into_parts(self) -> (String, Vec<u32>) {
        (self.arena, self.ends)
    }

    /// Drops the names from number `len` on.
    pub(crate) fn truncate(&mut self, len: usize) {
        for index in len..self.len() {
            let index = index as u32;
            let hash = self.hasher.hash_one(self.name(index as usize).as_bytes());
            if let Ok(entry) = self.table.find_entry(hash, |&one| one == index) {
                entry.remove();
            }
        }
        let end = len.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(0);
        if len < self.len() {
            self.arena.truncate(end as usize);
            self.ends.truncate(len);
        }
    }
}

/// The name of a number that was returned by the interner.
fn own_name<'a>(arena: &'a str, ends: &[u32], index: u32) -> &'a str {
    let name = name_at(arena, ends, index as usize);
    name.unwrap_or_else(|| unreachable!("every number of an interner has a name"))
}

fn name_at<'a>(arena: &'a str, ends: &[u32], index: usize) -> Option<&'a str> {
    let end = *ends.get(index)?;
    let start = index.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
    arena.get(start as usize..end as usize)
}
