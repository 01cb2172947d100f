//! Accepted points as columns, filled in the pass that judges them.
//!
//! ```text
//! point            value, and one word of flags, quality and identifier: 12 bytes in two columns
//! entry            device, time, product, arrival: once for all its rows
//! request          if it is rejected, the columns are truncated to where it began
//! into_columns()   entries are expanded to rows and flags to bitmaps, once for all requests
//! ```
//!
//! In total, with the columns and a reader's table, that takes at most 56 bytes for each point, 48
//! for each entry, and twice the texts and device keys. Names are stored once (dictionary
//! encoding): rows have numbers of products, devices and identifiers.

mod columns;
mod join;

use std::borrow::Cow;

use crate::collect::Collect;
use crate::interner::Interner;
use crate::json::Text;

pub use self::columns::{Columns, Dictionary};

/// A batch with more bytes of text is complete: Arrow's offsets have 31 bits, and one more request
/// always fits.
const BATCH_BYTES: usize = 1 << 30;

/// Marks an identifier without a number.
const UNNUMBERED: u32 = u32::MAX;

/// The bits of a row's word: which values it has, its quality, the number of its identifier.
mod word {
    pub(super) const DOUBLE: u32 = 1;
    pub(super) const LONG: u32 = 1 << 1;
    pub(super) const BOOLEAN: u32 = 1 << 2;
    pub(super) const TEXT: u32 = 1 << 3;
    pub(super) const JSON: u32 = 1 << 4;
    pub(super) const TRUE: u32 = 1 << 5;
    pub(super) const QUALITY: u32 = 1 << 6;
    pub(super) const QUALITY_AT: u32 = 8;
    pub(super) const IDENTIFIER_AT: u32 = 12;
}

/// Maximum number of identifiers of a batch: what the bits above [`word::IDENTIFIER_AT`] can
/// number.
const MAX_IDENTIFIERS: usize = 1 << (32 - word::IDENTIFIER_AT);

/// What the rows of an entry have in common; they end before the row `end`.
#[derive(Clone, Copy, Debug)]
struct Entry {
    end: usize,
    product: u32,
    device: u32,
    time: i64,
    received: i64,
}

/// The points of accepted requests, in the order of arrival.
#[derive(Debug, Default)]
pub struct Points {
    full: Vec<Batch>,
    batch: Batch,
    /// Value and word of the point that is being read.
    value: u64,
    word: u32,
    product: u32,
    received: i64,
    /// The time of entries without one.
    observed: i64,
    before: Mark,
}

/// The lengths of a batch's columns at one moment, such as when the current request began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mark {
    rows: usize,
    entries: usize,
    text: usize,
    json: usize,
    devices: usize,
}

#[derive(Debug, Default)]
struct Batch {
    /// The bits of a double, an integer, or the end of a text in `text` or `json`.
    values: Vec<u64>,
    words: Vec<u32>,
    entries: Vec<Entry>,
    text: Vec<u8>,
    json: Vec<u8>,
    products: Interner,
    devices: Interner,
    identifiers: Interner,
    /// By product and by the point's number in its model: the number of its identifier.
    numbers: Vec<Vec<u32>>,
}

impl Points {
    /// With capacity for the points of typical payloads of this total size in bytes.
    pub fn for_payloads(bytes: usize) -> Self {
        const BYTES_A_POINT: usize = 32;
        const BYTES_AN_ENTRY: usize = 192;
        let (rows, entries) = (bytes / BYTES_A_POINT, bytes / BYTES_AN_ENTRY);
        let batch = Batch {
            values: Vec::with_capacity(rows),
            words: Vec::with_capacity(rows),
            entries: Vec::with_capacity(entries),
            devices: Interner::with_capacity(entries, 16 * entries),
            ..Batch::default()
        };
        Self { batch, ..Self::default() }
    }

    /// Number of points.
    pub fn len(&self) -> usize {
        self.full.iter().chain([&self.batch]).map(|batch| batch.words.len()).sum()
    }

    /// Whether there are no points.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size as columns in bytes, without names, which rows share.
    pub fn size(&self) -> usize {
        /// Three dictionary numbers, two instants, a value in two columns, two text offsets, a
        /// quality, and bitmaps.
        const ROW_BYTES: usize = 3 * 4 + 2 * 8 + 2 * 8 + 2 * 4 + 1 + 1;
        let batches = self.full.iter().chain([&self.batch]);
        batches.map(|batch| ROW_BYTES * batch.words.len() + batch.text.len() + batch.json.len()).sum()
    }

    /// The age of the points at the arrival of their requests: for each entry its `time` subtracted
    /// from the arrival, in microseconds, and its number of points. A time in the future is negative.
    pub fn ages(&self) -> impl Iterator<Item = (i64, usize)> {
        self.full.iter().chain([&self.batch]).flat_map(|batch| {
            let mut begin = 0;
            batch.entries.iter().map(move |entry| {
                let points = entry.end - begin;
                begin = entry.end;
                (entry.received.saturating_sub(entry.time), points)
            })
        })
    }

    /// The points as columns; usually one batch, more if there is more than a gibibyte of text.
    pub fn into_columns(self) -> impl Iterator<Item = Columns> {
        let batches = self.full.into_iter().chain([self.batch]);
        batches.filter(|batch| !batch.words.is_empty()).map(Batch::into_columns)
    }

    /// Begins a request of a product whose model has `points` points.
    pub(crate) fn begin(
        &mut self,
        product_key: &str,
        points: usize,
        arrived_us: i64,
        observed_us: Option<i64>,
    ) {
        let Batch { text, json, identifiers, .. } = &self.batch;
        if text.len().max(json.len()) > BATCH_BYTES || identifiers.len() + points > MAX_IDENTIFIERS {
            self.full.push(std::mem::take(&mut self.batch));
        }
        self.before = self.mark();
        let Batch { products, numbers, .. } = &mut self.batch;
        self.received = arrived_us;
        self.observed = observed_us.unwrap_or(arrived_us);
        // In most cases the product is that of the last request.
        if products.get(self.product as usize) != Some(product_key) {
            self.product = products.intern(product_key);
            numbers.resize_with(products.len(), Vec::new);
        }
    }

    /// What there is now, for [`Self::rewind`].
    #[inline]
    pub(crate) fn mark(&self) -> Mark {
        let Batch { words, entries, text, json, devices, .. } = &self.batch;
        Mark {
            rows: words.len(),
            entries: entries.len(),
            text: text.len(),
            json: json.len(),
            devices: devices.len(),
        }
    }

    /// Removes the points of the current request, which is not accepted.
    #[cold]
    pub(crate) fn abandon(&mut self) {
        self.rewind(self.before);
    }

    /// Removes what was added to the current request since a mark.
    #[cold]
    pub(crate) fn rewind(&mut self, mark: Mark) {
        let Batch { values, words, entries, text, json, devices, .. } = &mut self.batch;
        values.truncate(mark.rows);
        words.truncate(mark.rows);
        entries.truncate(mark.entries);
        text.truncate(mark.text);
        json.truncate(mark.json);
        // Among them may be keys that no device has.
        devices.truncate(mark.devices);
        self.word = 0;
    }
}

impl Collect for &mut Points {
    #[inline(always)]
    fn double(&mut self, value: f64) {
        self.value = value.to_bits();
        self.word |= word::DOUBLE;
    }

    #[inline(always)]
    fn long(&mut self, value: i64) {
        self.value = value as u64;
        self.word |= word::LONG;
    }

    #[inline(always)]
    fn boolean(&mut self, value: bool) {
        self.word |= if value { word::BOOLEAN | word::TRUE } else { word::BOOLEAN };
    }

    fn text(&mut self, value: Text<'_>) {
        match value.plain() {
            Some(bytes) => self.batch.text.extend_from_slice(bytes),
            None => self.batch.text.extend_from_slice(value.decode().as_bytes()),
        }
        self.value = self.batch.text.len() as u64;
        self.word |= word::TEXT;
    }

    fn json<'t>(&mut self, text: impl FnOnce() -> Cow<'t, [u8]>) {
        self.batch.json.extend_from_slice(&text());
        self.value = self.batch.json.len() as u64;
        self.word |= word::JSON;
    }

    #[inline(always)]
    fn quality(&mut self, value: u8) {
        self.word |= word::QUALITY | u32::from(value) << word::QUALITY_AT;
    }

    fn discard(&mut self) {
        self.word = 0;
    }

    #[inline(always)]
    fn point<'m>(&mut self, index: usize, identifier: impl FnOnce() -> &'m str) {
        let numbers = &self.batch.numbers[self.product as usize];
        let number = numbers.get(index).copied().unwrap_or(UNNUMBERED);
        let number = if number == UNNUMBERED { self.number(index, identifier()) } else { number };
        self.batch.values.push(self.value);
        self.batch.words.push(std::mem::take(&mut self.word) | number << word::IDENTIFIER_AT);
    }

    fn entry<'m>(&mut self, device_key: impl FnOnce() -> Cow<'m, str>, time: Option<i64>) {
        let Batch { words, entries, devices, .. } = &mut self.batch;
        let device = devices.intern(&device_key());
        let (product, received) = (self.product, self.received);
        // Does not overflow: a valid time has at most 48 bits.
        let time = time.map_or(self.observed, |milliseconds| milliseconds * 1000);
        entries.push(Entry { end: words.len(), product, device, time, received });
    }
}

impl Points {
    /// The number of the identifier of a point of the current product, which has none yet.
    #[cold]
    fn number(&mut self, index: usize, identifier: &str) -> u32 {
        let number = self.batch.identifiers.intern(identifier);
        let numbers = &mut self.batch.numbers[self.product as usize];
        if numbers.len() <= index {
            numbers.resize(index + 1, UNNUMBERED);
        }
        numbers[index] = number;
        number
    }
}
