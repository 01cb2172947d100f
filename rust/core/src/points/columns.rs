//! The rows of a batch as columns.

use super::{Batch, word};
use crate::interner::Interner;

/// A batch of points: one vector for each column, all with the same number of rows.
///
/// A bitmap has one bit for each row, the lowest bit of a byte first. `scalars` is the buffer of
/// two columns, doubles and integers; their bitmaps say which rows belong to which.
#[derive(Debug)]
#[non_exhaustive]
pub struct Columns {
    /// Numbers into `products`.
    pub product: Vec<i32>,
    /// Product keys.
    pub products: Dictionary,
    /// Numbers into `devices`.
    pub device: Vec<i32>,
    /// Device keys.
    pub devices: Dictionary,
    /// Numbers into `identifiers`.
    pub identifier: Vec<i32>,
    /// Identifiers of points.
    pub identifiers: Dictionary,
    /// The entry's time, or that of arrival if it has none: UTC microseconds.
    pub time: Vec<i64>,
    /// The values of FLOAT and DOUBLE (bits of an f64), INT, ENUM and TIMESTAMP (i64).
    pub scalars: Vec<u64>,
    /// Which rows have a double.
    pub is_double: Vec<u8>,
    /// Which rows have an integer.
    pub is_long: Vec<u8>,
    /// The values of BOOL.
    pub booleans: Vec<u8>,
    /// Which rows have a boolean.
    pub is_boolean: Vec<u8>,
    /// The values of STRING, FILE, DATE and ENUM.
    pub texts: Dictionary,
    /// Which rows have a text.
    pub is_text: Vec<u8>,
    /// The values of ARRAY and STRUCT, as JSON.
    pub jsons: Dictionary,
    /// Which rows have one.
    pub is_json: Vec<u8>,
    /// Qualities; any number in rows without one.
    pub quality: Vec<i8>,
    /// Which rows have one.
    pub has_quality: Vec<u8>,
    /// The instants of arrival, UTC microseconds.
    pub received: Vec<i64>,
}

/// Texts without separators, and their offsets.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Dictionary {
    /// The begin of each text, and the end of the last one.
    pub offsets: Vec<i32>,
    /// UTF-8.
    pub bytes: Vec<u8>,
}

impl Batch {
    pub(super) fn into_columns(self) -> Columns {
        let Self { values, words, entries, text, json, .. } = self;
        let rows = words.len();
        let flags: Vec<u8> = words.iter().map(|&word| word as u8).collect();
        let quality = |word: &u32| (word >> word::QUALITY_AT & 0xF) as i8;
        let mut columns = Columns {
            product: Vec::with_capacity(rows),
            products: self.products.into(),
            device: Vec::with_capacity(rows),
            devices: self.devices.into(),
            identifier: words.iter().map(|word| (word >> word::IDENTIFIER_AT) as i32).collect(),
            identifiers: self.identifiers.into(),
            time: Vec::with_capacity(rows),
            is_double: bits(&flags, word::DOUBLE),
            is_long: bits(&flags, word::LONG),
            booleans: bits(&flags, word::TRUE),
            is_boolean: bits(&flags, word::BOOLEAN),
            texts: Dictionary { offsets: offsets(&values, &words, word::TEXT), bytes: text },
            is_text: bits(&flags, word::TEXT),
            jsons: Dictionary { offsets: offsets(&values, &words, word::JSON), bytes: json },
            is_json: bits(&flags, word::JSON),
            scalars: values,
            quality: words.iter().map(quality).collect(),
            has_quality: bits(&flags, word::QUALITY),
            received: Vec::with_capacity(rows),
        };
        for entry in entries {
            columns.product.resize(entry.end, entry.product as i32);
            columns.device.resize(entry.end, entry.device as i32);
            columns.time.resize(entry.end, entry.time);
            columns.received.resize(entry.end, entry.received);
        }
        columns
    }
}

/// The bitmap of one flag.
///
/// ```text
/// flags of eight rows, bit 0   0x0001_0000_0101_0001   rows 0, 2, 3, 6; row 0 in the lowest byte
/// * 0x0102_0408_1020_4080      0x4D…                   bit n of the highest byte: row n
/// >> 56                        0b0100_1101
/// ```
///
/// The multiplication adds shifted copies: the factor's bit 7 * (8 - n) moves bit 8 * n to bit 56 +
/// n. No two copies have a bit in common, so nothing carries.
fn bits(flags: &[u8], flag: u32) -> Vec<u8> {
    let (eights, rest) = flags.as_chunks::<8>();
    let place = flag.trailing_zeros();
    let gather = |eight: [u8; 8]| {
        let bits = u64::from_le_bytes(eight) >> place & 0x0101_0101_0101_0101;
        (bits.wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8
    };
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    eights.iter().copied().chain((!rest.is_empty()).then_some(last)).map(gather).collect()
}

/// The offsets of a text column; rows of another type have an empty text.
fn offsets(values: &[u64], words: &[u32], flag: u32) -> Vec<i32> {
    let mut offsets = Vec::with_capacity(values.len() + 1);
    let mut end = 0;
    offsets.push(end);
    offsets.extend(values.iter().zip(words).map(|(&value, word)| {
        end = if word & flag == 0 { end } else { value as i32 };
        end
    }));
    offsets
}

impl From<Interner> for Dictionary {
    fn from(names: Interner) -> Self {
        let (bytes, ends) = names.into_parts();
        let offsets = std::iter::once(0).chain(ends.into_iter().map(|end| end as i32)).collect();
        Self { offsets, bytes: bytes.into_bytes() }
    }
}
