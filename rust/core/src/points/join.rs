//! The points of several bursts as those of one: columns that are exported once.

use super::{BATCH_BYTES, Batch, Entry, MAX_IDENTIFIERS, Points, word};
use crate::interner::Interner;

impl Points {
    /// Appends the points of `other`, which stay as they are; names are stored once.
    pub fn extend(&mut self, other: &Self) {
        for batch in other.full.iter().chain([&other.batch]) {
            if !self.batch.has_room_for(batch) {
                self.full.push(std::mem::take(&mut self.batch));
            }
            self.batch.extend(batch);
        }
    }
}

impl Batch {
    fn has_room_for(&self, other: &Self) -> bool {
        self.text.len() + other.text.len() <= BATCH_BYTES
            && self.json.len() + other.json.len() <= BATCH_BYTES
            && self.identifiers.len() + other.identifiers.len() <= MAX_IDENTIFIERS
            || self.words.is_empty()
    }

    fn extend(&mut self, other: &Self) {
        let products = numbers(&mut self.products, &other.products);
        let devices = numbers(&mut self.devices, &other.devices);
        let identifiers = numbers(&mut self.identifiers, &other.identifiers);
        self.numbers.resize_with(self.products.len(), Vec::new);
        let (rows, text, json) = (self.words.len(), self.text.len() as u64, self.json.len() as u64);
        // Values of texts are the places where they end.
        let moved = other.values.iter().zip(&other.words).map(|(&value, word)| {
            value.wrapping_add(match word & (word::TEXT | word::JSON) {
                word::TEXT => text,
                word::JSON => json,
                _ => 0,
            })
        });
        self.values.extend(moved);
        self.words.extend(other.words.iter().map(|&word| {
            let flags = word & ((1 << word::IDENTIFIER_AT) - 1);
            flags | identifiers[(word >> word::IDENTIFIER_AT) as usize] << word::IDENTIFIER_AT
        }));
        self.entries.extend(other.entries.iter().map(|entry| Entry {
            end: rows + entry.end,
            product: products[entry.product as usize],
            device: devices[entry.device as usize],
            ..*entry
        }));
        self.text.extend_from_slice(&other.text);
        self.json.extend_from_slice(&other.json);
    }
}

/// The numbers that the names of `others` have in `names`, where they are inserted.
fn numbers(names: &mut Interner, others: &Interner) -> Vec<u32> {
    others.iter().map(|name| names.intern(name)).collect()
}
