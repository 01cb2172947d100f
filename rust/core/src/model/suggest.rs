//! The identifier that was probably meant: another case, or at most two slips of the pen.
//!
//! The distance is Damerau's with neighbours swapped at most once. Only the five diagonals that a distance of two can
//! reach are looked at, and a row without hope ends the comparison: a few dozen steps an identifier.

/// More slips than this make another word.
const MAX_DISTANCE: usize = 2;

/// Longer names are no near misses; this also bounds the work.
const MAX_LENGTH: usize = 128;

pub(super) fn nearest<'m>(name: &str, candidates: impl Iterator<Item = &'m str>) -> Option<&'m str> {
    if name.is_empty() || name.len() > MAX_LENGTH {
        return None;
    }
    // Short names are all alike: two slips are believed from ten letters on.
    let limit = if name.chars().count() < 10 { 1 } else { MAX_DISTANCE };
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        if candidate.eq_ignore_ascii_case(name) {
            return Some(candidate);
        }
        let distance = distance(name.as_bytes(), candidate.as_bytes());
        if distance <= limit && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// The optimal string alignment distance of two names, or anything above [`MAX_DISTANCE`].
fn distance(left: &[u8], right: &[u8]) -> usize {
    const FAR: usize = MAX_DISTANCE + 1;
    if left.len().abs_diff(right.len()) > MAX_DISTANCE {
        return FAR;
    }
    let width = right.len() + 1;
    let mut before_last = vec![FAR; width];
    let mut last: Vec<usize> = (0..width).collect();
    let mut row = vec![FAR; width];
    for (i, &a) in left.iter().enumerate() {
        row.fill(FAR);
        if i < MAX_DISTANCE {
            row[0] = i + 1;
        }
        let low = i.saturating_sub(MAX_DISTANCE);
        let high = (i + MAX_DISTANCE + 1).min(right.len());
        for j in low..high {
            let b = right[j];
            let mut cost = (last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a == right[j - 1] && left[i - 1] == b {
                cost = cost.min(before_last[j - 1] + 1);
            }
            row[j + 1] = cost.min(FAR);
        }
        if row.iter().all(|&least| least >= FAR) {
            return FAR;
        }
        std::mem::swap(&mut before_last, &mut last);
        std::mem::swap(&mut last, &mut row);
    }
    last.last().copied().unwrap_or(FAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_found_and_others_are_not() {
        let model = ["temp", "Power", "branchCurr", "INV.GenActivePW"];
        let nearest = |name| nearest(name, model.into_iter());
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

    #[test]
    fn distances_are_those_of_the_definition() {
        for (left, right, expected) in [
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("abc", "ab", 1),
            ("ca", "abc", 3),
            ("a", "bcd", 3),
            ("abcd", "badc", 2),
        ] {
            assert_eq!(distance(left.as_bytes(), right.as_bytes()), expected, "{left} {right}");
        }
    }
}
