//! The order of rows by several columns of numbers, one row for each key: a radix sort.
//!
//! ```text
//! columns      series 0 to 19,999, times of one day       20,000 < 2^15, 86.4e6 ms < 2^27
//! rows         0 to 999,999                               1,000,000 < 2^20
//! words        series << 47 | time << 20 | row            62 bits
//! passes       bits 20 to 30, 31 to 41, 42 to 52, 53 to 61; each is stable
//! ```
//!
//! Rows mostly arrive in the order of their times. Then the lower bits are sorted already, and the
//! passes begin above them, at bit 47. The same series and the times of a year need 71 bits: then
//! words have 128.

use std::ops::{BitOrAssign, BitXor, Range, Shl, Shr};

const DIGIT_BITS: u32 = 11;
const DIGITS: usize = 1 << DIGIT_BITS;

/// Microseconds in a millisecond: requests give whole milliseconds.
const UNIT: u64 = 1000;

/// A key, and behind it the number of its row.
trait Word:
    Copy
    + Default
    + Ord
    + From<u64>
    + BitOrAssign
    + BitXor<Output = Self>
    + Shl<u32, Output = Self>
    + Shr<u32, Output = Self>
{
    const BITS: u32;

    /// The lowest 64 bits.
    fn low(self) -> u64;
}

impl Word for u64 {
    const BITS: u32 = Self::BITS;

    fn low(self) -> u64 {
        self
    }
}

impl Word for u128 {
    const BITS: u32 = Self::BITS;

    fn low(self) -> u64 {
        self as u64
    }
}

/// A column to sort by.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "the binding makes columns of every kind")]
pub enum SortColumn<'a> {
    /// Any numbers.
    Numbers(&'a [i64]),
    /// Names of a dictionary.
    Names {
        /// For each row the index of its name.
        indices: &'a [i32],
        /// For each name its place among all, from 0 or 1.
        ranks: &'a [i64],
    },
}

/// Sorts rows by columns and keeps one row of each key.
///
/// # Arguments
///
/// * `columns`: as many rows each; the first one is the most significant.
/// * `keep_last`: of rows with the same key, the last one stays; else the first one.
///
/// Returns the numbers of the rows; None if a key and the number of its row do not fit in 128 bits,
/// or if the columns differ in length.
#[must_use]
pub fn unique_order(columns: &[SortColumn<'_>], keep_last: bool) -> Option<Vec<u32>> {
    order_of::<u64>(columns, keep_last).or_else(|| order_of::<u128>(columns, keep_last))
}

fn order_of<W: Word>(columns: &[SortColumn<'_>], keep_last: bool) -> Option<Vec<u32>> {
    let rows = columns.first().map_or(0, SortColumn::rows);
    let row_bits = u32::BITS - u32::try_from(rows).ok()?.leading_zeros();
    if columns.iter().any(|column| column.rows() != rows) {
        return None;
    }
    let mut words: Vec<W> = (0..rows as u64).map(W::from).collect();
    let (mut bits, mut sorted_bits) = (row_bits, row_bits);
    for column in columns.iter().rev() {
        bits = column.put(&mut words, bits)?;
        if words.is_sorted() {
            sorted_bits = bits;
        }
    }
    sort(&mut words, sorted_bits..bits);
    Some(unique(&words, row_bits, keep_last))
}

impl SortColumn<'_> {
    fn rows(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Names { indices, .. } => indices.len(),
        }
    }

    /// Puts the column into the words, from a bit on; returns the bit behind, if it fits.
    fn put<W: Word>(&self, words: &mut [W], bits: u32) -> Option<u32> {
        match *self {
            Self::Numbers(numbers) => put_numbers(numbers, words, bits),
            Self::Names { indices, ranks } => {
                let end = bits + width(ranks.len() as u64);
                if end > W::BITS {
                    return None;
                }
                for (word, &index) in words.iter_mut().zip(indices) {
                    let rank = usize::try_from(index).ok().and_then(|index| ranks.get(index))?;
                    *word |= W::from(rank.unsigned_abs()) << bits;
                }
                Some(end)
            }
        }
    }
}

fn put_numbers<W: Word>(numbers: &[i64], words: &mut [W], bits: u32) -> Option<u32> {
    let (Some(&least), Some(&greatest)) = (numbers.iter().min(), numbers.iter().max()) else {
        return Some(bits);
    };
    let are_whole = numbers.iter().all(|number| number.abs_diff(least).is_multiple_of(UNIT));
    let unit = if are_whole { UNIT } else { 1 };
    let end = bits + width(greatest.abs_diff(least) / unit);
    if end > W::BITS {
        return None;
    }
    if end > bits {
        for (word, number) in words.iter_mut().zip(numbers) {
            let distance = number.abs_diff(least);
            *word |= W::from(if are_whole { distance / UNIT } else { distance }) << bits;
        }
    }
    Some(end)
}

/// How many bits a number has.
fn width(greatest: u64) -> u32 {
    u64::BITS - greatest.leading_zeros()
}

/// Sorts words by a range of their bits; by those below they are sorted.
fn sort<W: Word>(words: &mut Vec<W>, bits: Range<u32>) {
    let mut sorted = vec![W::default(); words.len()];
    for shift in bits.step_by(DIGIT_BITS as usize) {
        let digit = |word: W| (word >> shift).low() as usize % DIGITS;
        let mut places = [0_u32; DIGITS];
        for &word in words.iter() {
            places[digit(word)] += 1;
        }
        let mut begin = 0;
        for place in &mut places {
            begin += std::mem::replace(place, begin);
        }
        for &word in words.iter() {
            let place = &mut places[digit(word)];
            sorted[*place as usize] = word;
            *place += 1;
        }
        std::mem::swap(words, &mut sorted);
    }
}

/// The rows in sorted words, the last or the first one of those with the same key.
fn unique<W: Word>(words: &[W], row_bits: u32, keep_last: bool) -> Vec<u32> {
    let row = |word: W| (word.low() & !(u64::MAX << row_bits)) as u32;
    let pairs = || words.iter().copied().zip(words.iter().copied().skip(1));
    let repeats = |(word, next): (W, W)| (word ^ next) >> row_bits == W::default();
    if !pairs().any(repeats) {
        return words.iter().map(|&word| row(word)).collect();
    }
    let others = pairs().filter(|&pair| !repeats(pair));
    if keep_last {
        others.map(|(word, _)| word).chain(words.last().copied()).map(row).collect()
    } else {
        words.first().copied().into_iter().chain(others.map(|(_, next)| next)).map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::SortColumn::{Names, Numbers};
    use super::unique_order;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn naive(rows: &[(i64, i64, i64)], keep_last: bool) -> Vec<u32> {
        let mut found = BTreeMap::new();
        for (number, row) in (0..).zip(rows) {
            if keep_last {
                found.insert(*row, number);
            } else {
                found.entry(*row).or_insert(number);
            }
        }
        found.into_values().collect()
    }

    proptest! {
        #[test]
        fn it_is_the_order_of_the_keys(
            rows in prop::collection::vec((-3..3_i64, 0..70_000_i64, -5_000_000_000..0_i64), 0..300),
            few in any::<bool>(),
            long in any::<bool>(),
            whole in any::<bool>(),
            arrived in any::<bool>(),
            keep_last in any::<bool>(),
        ) {
            let mut rows = rows;
            if few {
                for row in &mut rows {
                    *row = (row.0, row.1 % 3, row.2 % 3);
                }
            }
            if long {
                for row in &mut rows {
                    row.2 = row.2.wrapping_mul(i64::from(u32::MAX));
                }
            }
            if whole {
                for row in &mut rows {
                    row.2 = row.2 / 1_000_000 * 1000;
                }
            }
            if arrived {
                rows.sort_by_key(|row| row.2);
            }
            let columns = [
                rows.iter().map(|row| row.0).collect::<Vec<_>>(),
                rows.iter().map(|row| row.2).collect(),
            ];
            let indices: Vec<_> = rows.iter().map(|row| row.1 as i32).collect();
            let ranks: Vec<_> = (0..70_000).collect();
            let names = Names { indices: &indices, ranks: &ranks };
            let columns = [Numbers(&columns[0]), names, Numbers(&columns[1])];
            prop_assert_eq!(unique_order(&columns, keep_last), Some(naive(&rows, keep_last)));
        }
    }

    #[test]
    fn words_of_128_bits_fit_and_longer_ones_do_not() {
        let column = Numbers(&[i64::MAX, i64::MIN, 0]);
        assert_eq!(unique_order(&[column], true), Some(vec![1, 2, 0]));
        assert_eq!(unique_order(&[Numbers(&[7, 7, 7]), column], true), Some(vec![1, 2, 0]));
        assert_eq!(unique_order(&[column, column], true), None);
        let column = Numbers(&[1 << 61, 0, 5]);
        assert_eq!(unique_order(&[column, Numbers(&[7, 7, 7])], true), Some(vec![1, 2, 0]));
        let narrow = Numbers(&[7, 7, 9]);
        assert_eq!(unique_order(&[narrow, column, column], true), Some(vec![1, 0, 2]));
        let wide = Numbers(&[7, 7, 11]);
        assert_eq!(unique_order(&[wide, column, column], true), None);
        assert_eq!(unique_order(&[column, Numbers(&[7])], true), None);
        let names = Names { indices: &[0, 2], ranks: &[1, 2] };
        assert_eq!(unique_order(&[names], true), None);
    }
}
