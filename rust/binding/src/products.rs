//! Counts by product, for a bounded number of products.
//!
//! ```text
//! slot 0   `unknown`: products that no catalog has had, and topics that are not served
//! slot 1   `other`: products beyond the limit
//! slot 2…  a product of a catalog, from its first catalog to the end of the process
//! ```
//!
//! So the number of labels depends on catalogs and the limit, never on what senders post; and no
//! counter goes down when a product leaves the catalog. A product whose key is `unknown` or `other`
//! shares that slot.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use pointgate_core as core;

use crate::offenders::Logged;

const UNKNOWN: usize = 0;
const OTHER: usize = 1;
const RESERVED: [&str; 2] = ["unknown", "other"];

/// What is counted for each product.
#[derive(Clone, Default)]
pub(crate) struct ProductCounts {
    pub(crate) label: String,
    pub(crate) points: u64,
    pub(crate) codes: [u64; core::Code::ALL.len()],
    pub(crate) reasons: [u64; core::Reason::ALL.len()],
    /// Requests that were answered 200 in spite of a fault, by its reason.
    pub(crate) shadowed: [u64; core::Reason::ALL.len()],
    /// Points of these requests that were not stored.
    pub(crate) skipped: u64,
    logged: [Logged; core::Reason::ALL.len()],
    logged_shadowed: [Logged; core::Reason::ALL.len()],
}

impl ProductCounts {
    fn new(label: &str) -> Self {
        Self { label: label.to_owned(), ..Self::default() }
    }

    /// A topic that is not served has no code to count.
    pub(crate) fn count(&mut self, verdict: &core::Verdict) {
        let code = verdict.code();
        if code != core::Code::BadTopic {
            self.codes[place(&core::Code::ALL, &code)] += 1;
        }
        self.points += verdict.points;
        if let Some(fault) = &verdict.fault {
            self.reasons[place(&core::Reason::ALL, &fault.reason)] += 1;
        }
    }

    /// A request that was answered 200, and counted so, would have been rejected; returns how many
    /// such requests a log line is about, if one is due.
    pub(crate) fn shadow(&mut self, shadowed: &core::Shadowed, now: f64) -> Option<u64> {
        let place = place(&core::Reason::ALL, &shadowed.fault.reason);
        self.shadowed[place] += 1;
        self.skipped += shadowed.skipped;
        self.logged_shadowed[place].due(now, self.shadowed[place])
    }

    /// How many requests with a reason a log line is about, if one is due for the one counted last.
    pub(crate) fn due(&mut self, reason: core::Reason, now: f64) -> Option<u64> {
        let place = place(&core::Reason::ALL, &reason);
        self.logged[place].due(now, self.reasons[place])
    }
}

fn place<T: PartialEq>(labels: &[T], label: &T) -> usize {
    let place = labels.iter().position(|known| known == label);
    place.unwrap_or_else(|| unreachable!("`ALL` has every code and every reason"))
}

/// The slots, and which product has which.
pub(crate) struct Products {
    slots: Vec<ProductCounts>,
    places: HashMap<String, usize, RandomState>,
    most: usize,
    /// Consecutive requests often have the same topic.
    last_topic: String,
    last_place: usize,
}

impl Products {
    /// Slots for at most this many products.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            slots: RESERVED.map(ProductCounts::new).into(),
            places: HashMap::default(),
            most,
            last_topic: String::new(),
            last_place: UNKNOWN,
        }
    }

    /// Gives each product of a catalog that becomes active a slot.
    pub(crate) fn serve(&mut self, products: impl Iterator<Item = String>) {
        self.places.retain(|_, place| *place != OTHER);
        self.last_topic.clear();
        for product in products {
            if self.places.contains_key(&product) {
                continue;
            }
            let reserved = RESERVED.iter().position(|label| *label == product);
            let place = reserved.unwrap_or_else(|| {
                if self.slots.len() >= self.most + RESERVED.len() {
                    return OTHER;
                }
                self.slots.push(ProductCounts::new(&product));
                self.slots.len() - 1
            });
            self.places.insert(product, place);
        }
    }

    /// The slot of the product that a topic names.
    #[inline]
    pub(crate) fn of_topic(&mut self, topic: &str) -> &mut ProductCounts {
        if self.last_topic != topic || topic.is_empty() {
            let place = core::Topic::parse(topic).and_then(|topic| self.places.get(topic.product_key));
            self.last_place = place.copied().unwrap_or(UNKNOWN);
            self.last_topic.clear();
            self.last_topic.push_str(topic);
        }
        &mut self.slots[self.last_place]
    }

    /// Every slot.
    pub(crate) fn slots(&self) -> &[ProductCounts] {
        &self.slots
    }

    /// How many requests were answered.
    pub(crate) fn answered(&self) -> u64 {
        self.slots.iter().flat_map(|slot| slot.codes).sum()
    }
}
