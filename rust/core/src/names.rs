//! Finding things by their exact name: bytes in one arena, a hash table of numbers beside it.
//!
//! Names compare by bytes. The hash is seeded for each table, so that nobody outside can aim for
//! collisions. About 10 bytes a name besides its own bytes.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// An ordered set of names; each is known by the number of names that came before it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    arena: String,
    /// Where each name ends.
    ends: Vec<u32>,
    table: HashTable<u32>,
    hasher: RandomState,
}

impl Names {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, index: usize) -> Option<&str> {
        name_at(&self.arena, &self.ends, index)
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

    /// Adds `name`; false when it is there already, or when the arena's 4 GiB are full.
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
        table.insert_unique(hash(name), index, |&index| name_at(arena, ends, index as usize).map_or(0, hash));
        true
    }

    /// With room for so many names of so many bytes in all.
    pub(crate) fn with_capacity(names: usize, bytes: usize) -> Self {
        Self {
            arena: String::with_capacity(bytes),
            ends: Vec::with_capacity(names),
            table: HashTable::with_capacity(names),
            hasher: RandomState::default(),
        }
    }

    /// The number of `name`, which is added when it is new. For names that are few: not for 4 GiB of them.
    pub(crate) fn intern(&mut self, name: &str) -> u32 {
        let Self { arena, ends, table, hasher } = self;
        let hash = |name: &str| hasher.hash_one(name.as_bytes());
        let same = |&index: &u32| name_at(arena, ends, index as usize) == Some(name);
        let other = |&index: &u32| name_at(arena, ends, index as usize).map_or(0, hash);
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

    /// All names behind each other, and where each of them ends.
    pub(crate) fn into_parts(self) -> (String, Vec<u32>) {
        (self.arena, self.ends)
    }

    pub(crate) fn shrink(&mut self) {
        self.arena.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}

fn name_at<'a>(arena: &'a str, ends: &[u32], index: usize) -> Option<&'a str> {
    let end = *ends.get(index)?;
    let start = index.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
    arena.get(start as usize..end as usize)
}
