//! Suggests the identifier that was probably meant: the same in another case, or with at most two
//! typing errors.
//!
//! ```text
//! for each identifier of the model (some nanoseconds):
//!     compare signatures, sets of letters: an edit changes at most two bits, so identifiers with
//!         more than twice the allowed edits in differing bits are skipped
//!     of the few that remain: remove the common prefix and suffix, then compute the edit distance
//!         of the rest, only on the five diagonals that two edits can reach, and only until it
//!         exceeds the limit
//! ```
//!
//! The distance is the optimal string alignment distance (insert, delete, replace, swap neighbours
//! once). Suggesting among 5,000 identifiers must cost less than judging some kilobytes. So if very
//! many identifiers are similar, only the first ones are compared in full.

/// Maximum distance of a suggestion.
const MAX_EDITS: usize = 2;

/// Maximum number of identifiers that are compared in full, so that a refused request never costs a
/// millisecond.
const MAX_COMPARED: usize = 512;

/// Longer names get no suggestion.
const MAX_LENGTH: usize = 128;

/// Names of fewer letters allow one edit: with two, most short names are similar.
const LONG: usize = 10;

/// The set of letters in `name`, in lower case: bit `letter % 64`.
///
/// ```text
/// temp     0x0011_2020_0000_0000    t 52, e 37, m 45, p 48
/// temq     0x0012_2020_0000_0000    one edit, two bits differ
/// ```
pub(super) fn signature(name: &str) -> u64 {
    name.bytes().fold(0, |signature, byte| signature | 1 << (byte.to_ascii_lowercase() % 64))
}

/// The candidate with the smallest distance to `name`, if one is within the limit; candidates come
/// with signatures.
pub(super) fn nearest<'m>(name: &str, candidates: impl Iterator<Item = (&'m str, u64)>) -> Option<&'m str> {
    if name.is_empty() || name.len() > MAX_LENGTH {
        return None;
    }
    let own = signature(name);
    let mut limit = if name.chars().count() < LONG { 1 } else { MAX_EDITS };
    let mut best = None;
    let mut compared = 0;
    for (candidate, signature) in candidates {
        if (own ^ signature).count_ones() as usize > 2 * limit {
            continue;
        }
        if candidate.eq_ignore_ascii_case(name) {
            return Some(candidate);
        }
        compared += 1;
        if compared > MAX_COMPARED {
            continue;
        }
        // From here on, only a smaller distance counts.
        if let Some(edits) = distance(name.as_bytes(), candidate.as_bytes(), limit) {
            best = Some(candidate);
            limit = edits.saturating_sub(1);
        }
    }
    best
}

/// The optimal string alignment distance of two names; `None` if it exceeds `limit`.
fn distance(left: &[u8], right: &[u8], limit: usize) -> Option<usize> {
    const FAR: usize = MAX_EDITS + 1;
    const CELLS: usize = 2 * MAX_EDITS + 1;
    if left.len().abs_diff(right.len()) > limit {
        return None;
    }
    let same = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    let (left, right) = (left.get(same..)?, right.get(same..)?);
    let same = left.iter().rev().zip(right.iter().rev()).take_while(|(a, b)| a == b).count();
    let (left, right) = (left.get(..left.len() - same)?, right.get(..right.len() - same)?);

    // Cell d of a row is the distance with d - MAX_EDITS more letters of `right` than of `left`.
    let cell = |row: &[usize; CELLS], d: usize| row.get(d).copied().unwrap_or(FAR);
    let letter = |name: &[u8], at: usize| name.get(at).copied();
    let mut before_last = [FAR; CELLS];
    let mut last: [usize; CELLS] = std::array::from_fn(|d| d.checked_sub(MAX_EDITS).unwrap_or(FAR));
    for (i, &a) in left.iter().enumerate() {
        let mut row = [FAR; CELLS];
        for d in 0..CELLS {
            let Some(j) = (i + 1 + d).checked_sub(MAX_EDITS) else { continue };
            if j > right.len() {
                break;
            }
            let mut cost = cell(&last, d + 1) + 1;
            if j > 0 {
                let b = letter(right, j - 1);
                cost = cost.min(cell(&last, d) + usize::from(Some(a) != b));
                cost = cost.min(d.checked_sub(1).map_or(FAR, |d| cell(&row, d)) + 1);
                let swapped = i > 0 && j > 1 && letter(right, j - 2) == Some(a) && letter(left, i - 1) == b;
                if swapped {
                    cost = cost.min(cell(&before_last, d) + 1);
                }
            }
            row[d] = cost.min(FAR);
        }
        if row.iter().all(|&cost| cost > limit) {
            return None;
        }
        (before_last, last) = (last, row);
    }
    let edits = cell(&last, (right.len() + MAX_EDITS).checked_sub(left.len())?);
    (edits <= limit).then_some(edits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_found_and_others_are_not() {
        let model = ["temp", "Power", "branchCurr", "INV.GenActivePW"];
        let nearest =
            |name| nearest(name, model.into_iter().map(|candidate| (candidate, signature(candidate))));
        assert_eq!(nearest("tmep"), Some("temp"));
        assert_eq!(nearest("power"), Some("Power"));
        assert_eq!(nearest("TEMP"), Some("temp"));
        assert_eq!(nearest("branchCur"), Some("branchCurr"));
        assert_eq!(nearest("brachCurrr"), Some("branchCurr"));
        assert_eq!(nearest("inv.genactivepw"), Some("INV.GenActivePW"));
        assert_eq!(nearest("humidity"), None);
        assert_eq!(nearest("tp"), None);
        assert_eq!(nearest("Powxx"), None);
        assert_eq!(nearest(""), None);
    }

    /// The textbook algorithm, with a whole table.
    fn naive(left: &[u8], right: &[u8]) -> usize {
        let mut table = vec![vec![0; right.len() + 1]; left.len() + 1];
        for i in 0..=left.len() {
            for j in 0..=right.len() {
                table[i][j] = match (i, j) {
                    (0, _) | (_, 0) => i + j,
                    _ => {
                        let replaced = table[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
                        let mut cost = replaced.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
                        let swapped =
                            i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1];
                        if swapped {
                            cost = cost.min(table[i - 2][j - 2] + 1);
                        }
                        cost
                    }
                };
            }
        }
        table[left.len()][right.len()]
    }

    proptest::proptest! {
        #[test]
        fn distances_are_those_of_the_definition(left in "[abc]{0,7}", right in "[abc]{0,7}") {
            let (left, right) = (left.as_bytes(), right.as_bytes());
            let expected = naive(left, right);
            for limit in 0..=MAX_EDITS {
                proptest::prop_assert_eq!(distance(left, right, limit), Some(expected).filter(|&d| d <= limit));
            }
        }
    }
}
