//! Finds a point by the first bytes of its name, without looking for the name's end.
//!
//! A sender that keeps points in a hash map sends them in an order that nothing predicts. Reading
//! such a name as a string and looking it up costs as much as the rest of the point. Here sixteen
//! bytes of the payload, cut at the closing quote, select one candidate:
//!
//! ```text
//! payload                          "temp":21.5,"hum":40     the window begins at the quote
//! two words behind the quote       temp":21  .5,"hum"
//! cut at the first quote           temp"...  ........       its low bits stay, all else is 0
//! times two constants, added, and the upper bits taken: the slot of "temp"
//! ```
//!
//! The candidate's whole name is then compared with the payload, so an index is never wrong: a name
//! that shares its slot with another one, or has escapes, is found in the section's hash table.

use crate::json::{Cursor, MemberName, NextName};

/// Slots for each point. Few points share one, and a model of fifty points needs 1 KiB.
const SLOTS: usize = 8;

/// How many names are hashed in all to find constants that separate them.
const HASHED: usize = 10_000;

/// No point.
const NONE: u16 = u16::MAX;

/// A hash table of names with at most one in each slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct NameIndex {
    /// How many bytes all names begin with are skipped.
    skipped: usize,
    multipliers: [u64; 2],
    shift: u32,
    slots: Box<[u16]>,
}

impl NameIndex {
    /// The index of these names, which are numbered in their order.
    pub(super) fn new<'n>(names: &(impl Iterator<Item = &'n MemberName> + Clone)) -> Self {
        let count = names.clone().count();
        let skipped = common_prefix(names.clone()).min(MemberName::MAX_SKIPPED);
        let bits = (SLOTS * count.max(1)).next_power_of_two().trailing_zeros();
        let mut best = (usize::MAX, Self::default());
        // Odd numbers whose bits look random: multiples of 2^64 divided by the golden ratio.
        let mut state = 0_u64;
        let mut random = || {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            (state ^ state >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9) | 1
        };
        for _ in 0..(HASHED / count.max(1)).max(1) {
            let slots = vec![NONE; 1 << bits].into();
            let mut index = Self { skipped, multipliers: [random(), random()], shift: 64 - bits, slots };
            let lost =
                names.clone().enumerate().filter(|(number, name)| !index.insert(*number, name)).count();
            if lost < best.0 {
                best = (lost, index);
            }
            if lost == 0 {
                break;
            }
        }
        best.1
    }

    fn insert(&mut self, number: usize, name: &MemberName) -> bool {
        let slot = name.key(self.skipped).map(|key| self.slot(key));
        let slot = slot.and_then(|slot| self.slots.get_mut(slot));
        let (Some(slot), Ok(number)) = (slot, u16::try_from(number)) else { return false };
        let is_free = *slot == NONE;
        if is_free {
            *slot = number;
        }
        is_free
    }

    #[inline(always)]
    fn slot(&self, [first, second]: [u64; 2]) -> usize {
        let hash = first.wrapping_mul(self.multipliers[0]) ^ second.wrapping_mul(self.multipliers[1]);
        (hash >> (self.shift & 63)) as usize
    }
}

impl NameIndex {
    /// The next name, and the only point that can have it; the caller compares them. `first` is as in
    /// [`Cursor::next_name`].
    #[inline(always)]
    pub(crate) fn candidate<'a>(&self, cursor: &Cursor<'a>, first: bool) -> Option<(NextName<'a>, usize)> {
        let next = cursor.next_name(first, self.skipped)?;
        let number = *self.slots.get(self.slot(next.key))?;
        Some((next, usize::from(number)))
    }
}

/// The length of the prefix that all names have.
fn common_prefix<'n>(names: impl Iterator<Item = &'n MemberName>) -> usize {
    let mut names = names.map(MemberName::bare);
    let first = names.next().unwrap_or_default();
    let same = |name: &[u8]| first.iter().zip(name).take_while(|(one, other)| one == other).count();
    names.map(same).min().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that a payload finds, spelled as usual.
    fn found(names: &[String]) -> usize {
        let names: Vec<_> = names.iter().map(|name| MemberName::new(name)).collect();
        let index = NameIndex::new(&names.iter());
        let finds = |(number, name): &(usize, &MemberName)| {
            let payload = [b",\"", name.bare(), b"\":1", &[b' '; 48]].concat();
            let mut cursor = Cursor::new(&payload);
            let candidate = index.candidate(&cursor, false);
            candidate.is_some_and(|(next, found)| found == *number && cursor.take_found(&next, name))
                && cursor.peek() == b'1'
        };
        names.iter().enumerate().filter(finds).count()
    }

    #[test]
    fn names_are_found_by_their_first_bytes() {
        for prefix in ["", "INV.", "plant.inverter.string.current."] {
            let names: Vec<_> = (0..60).map(|number| format!("{prefix}{number}")).collect();
            let expected = if prefix.len() > 28 { 0 } else { 60 };
            assert_eq!(found(&names), expected, "{prefix}");
        }
        let one = |name: &str| found(&[name.to_owned()]);
        assert_eq!((one("temp"), one("\u{6e29}\u{5ea6}"), one("a\"b")), (1, 1, 0));
        assert_eq!((one(&"n".repeat(29)), one(&"n".repeat(30))), (1, 0), "at most 32 bytes are compared");
    }

    #[test]
    fn a_large_model_loses_few_names() {
        let names: Vec<_> = (0..5000).map(|number| format!("point{number}")).collect();
        assert!(found(&names) > 4500);
    }
}
