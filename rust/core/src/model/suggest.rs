//! The identifier that was probably meant: another case, or at most two slips of the pen.
//!
//! ```text
//! for each identifier of the model, a few nanoseconds:
//!     signature: which letters occur, a bit each; one slip changes at most two bits,
//!                so more than twice the allowed slips in differing bits is out
//!     of the few that are left: cut common beginning and end, then the distance of the rest, only along the
//!     five diagonals that two slips can reach, and only as long as there is hope
//! ```
//!
//! The distance is Damerau's with neighbours swapped at most once. A refused request with 5,000 identifiers to
//! look at must cost less than judging a request of some kilobytes, so among very many that are all alike only
//! the first ones are compared in full.

/// More slips than this make another word.
const MAX_SLIPS: usize = 2;

/// So many names are compared letter by letter, those that come first: a large model of names that are all alike must
/// not cost a refused request a millisecond.
const MAX_COMPARED: usize = 512;

/// Longer names are no near misses.
const MAX_LENGTH: usize = 128;

/// Short names are all alike: two slips are believed from so many letters on.
const LONG: usize = 10;

/// Which letters occur in `name`, whatever their case.
pub(super) fn signature(name: &str) -> u64 {
    name.bytes().fold(0, |signature, byte| signature | 1 << (byte.to_ascii_lowercase() % 64))
}

/// The candidate that is nearest to `name`, if one is near; candidates come with their signatures.
pub(super) fn nearest<'m>(name: &str, candidates: impl Iterator<Item = (&'m str, u64)>) -> Option<&'m str> {
    if name.is_empty() || name.len() > MAX_LENGTH {
        return None;
    }
    let own = signature(name);
    let mut limit = if name.chars().count() < LONG { 1 } else { MAX_SLIPS };
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
        // Only what is nearer than the best so far is still of interest.
        if let Some(slips) = distance(name.as_bytes(), candidate.as_bytes(), limit) {
            best = Some(candidate);
            limit = slips.saturating_sub(1);
        }
    }
    best
}

/// The optimal string alignment distance of two names, when it is at most `limit`.
fn distance(left: &[u8], right: &[u8], limit: usize) -> Option<usize> {
    const FAR: usize = MAX_SLIPS + 1;
    const CELLS: usize = 2 * MAX_SLIPS + 1;
    if left.len().abs_diff(right.len()) > limit {
        return None;
    }
    let same = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    let (left, right) = (left.get(same..)?, right.get(same..)?);
    let same = left.iter().rev().zip(right.iter().rev()).take_while(|(a, b)| a == b).count();
    let (left, right) = (left.get(..left.len() - same)?, right.get(..right.len() - same)?);

    // Cell d of a row is the distance with d - MAX_SLIPS more letters of `right` than of `left`.
    let cell = |row: &[usize; CELLS], d: usize| row.get(d).copied().unwrap_or(FAR);
    let letter = |name: &[u8], at: usize| name.get(at).copied();
    let mut before_last = [FAR; CELLS];
    let mut last: [usize; CELLS] = std::array::from_fn(|d| d.checked_sub(MAX_SLIPS).unwrap_or(FAR));
    for (i, &a) in left.iter().enumerate() {
        let mut row = [FAR; CELLS];
        for d in 0..CELLS {
            let Some(j) = (i + 1 + d).checked_sub(MAX_SLIPS) else { continue };
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
    let slips = cell(&last, (right.len() + MAX_SLIPS).checked_sub(left.len())?);
    (slips <= limit).then_some(slips)
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

    /// The definition: a whole table.
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
            for limit in 0..=MAX_SLIPS {
                proptest::prop_assert_eq!(distance(left, right, limit), Some(expected).filter(|&d| d <= limit));
            }
        }
    }
}
