//! Collects the keys of a file into a table, with warnings of suspicious keys, or into a list of
//! all mistakes.
//!
//! Its memory is that of the table and of a bounded number of warnings, however long the file is.

use crate::Problem;
use crate::display::quoted;

use super::key::{DOUBTS, Doubt, cleaned, doubt, merged, reason, trimmed};
use super::key_set::Batch;
use super::{DeviceFile, DeviceTable, check_key};

/// Reading stops at this number of mistakes: it is probably the wrong file.
pub(super) const MAX_PROBLEMS: usize = 100;

/// Number of warnings of a kind that are kept; further ones are counted.
const MAX_WARNINGS: usize = 10;

/// How much of a file is looked at to see how many keys it has.
const SAMPLE: usize = 1 << 16;

#[derive(Default)]
pub(super) struct Collector {
    table: DeviceTable,
    /// Keys that are not in the table yet.
    batch: Batch,
    problems: Vec<Problem>,
    warnings: [Warnings; DOUBTS],
    /// Warnings about the whole file.
    remarks: Vec<Problem>,
}

/// The first warnings of a kind, and the number of all.
#[derive(Default)]
struct Warnings {
    first: Vec<Problem>,
    count: usize,
}

impl Collector {
    /// A collector with room for the keys of a file: one a line, and at most one in eight bytes, so
    /// that memory is bounded by the file.
    pub(super) fn for_file(data: &[u8]) -> Self {
        let mut collector = Self::default();
        if let Some(sample) = data.get(..SAMPLE) {
            let lines = sample.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count();
            let keys = (data.len() / SAMPLE + 1).saturating_mul(lines).min(data.len() / 8);
            collector.table.keys.reserve(keys, 0);
        }
        collector
    }

    /// Adds the key of a line or field; ignores a line (`in_list`) without one.
    pub(super) fn add(&mut self, line: u64, text: &str, in_list: bool) {
        let key = cleaned(text, in_list);
        if in_list && key.is_empty() {
            return;
        }
        self.add_cleaned(line, text, &key);
    }

    /// Adds a key of a format with its own quotes.
    pub(super) fn add_exact(&mut self, line: u64, text: &str) {
        self.add_cleaned(line, text, trimmed(text));
    }

    fn add_cleaned(&mut self, line: u64, text: &str, key: &str) {
        if key.starts_with("<<<<<<< ") || key.starts_with(">>>>>>> ") {
            return self.refuse(line, "expected a deviceKey, got the marker of a merge conflict");
        }
        if let Err(reason) = check_key(key) {
            return self.refuse(line, reason);
        }
        if key.len() != text.len() {
            self.warn(Doubt::Cleaned, line, key, text);
        }
        if let Some(doubt) = doubt(key) {
            self.warn(doubt, line, key, text);
        }
        let Some(if_repeated) = merged(key) else {
            return self.table.keys.insert_later(&mut self.batch, key);
        };
        self.table.keys.insert_all(&mut self.batch);
        if !self.table.keys.insert(key) {
            self.refuse(line, if_repeated);
        }
    }

    pub(super) fn refuse(&mut self, line: u64, reason: impl Into<String>) {
        self.problems.push(Problem::new(format!("line {line}"), reason));
    }

    pub(super) fn warn_of_heading(&mut self, line: u64, text: &str) {
        let reason = format!("{} was taken for a heading", quoted(text));
        self.remarks.push(Problem::new(format!("line {line}"), reason));
    }

    fn warn(&mut self, doubt: Doubt, line: u64, key: &str, text: &str) {
        let warnings = &mut self.warnings[doubt as usize];
        warnings.count += 1;
        if warnings.first.len() < MAX_WARNINGS {
            warnings.first.push(Problem::new(format!("line {line}"), reason(doubt, key, text)));
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.problems.len() >= MAX_PROBLEMS
    }

    pub(super) fn finish(mut self) -> Result<DeviceFile, Vec<Problem>> {
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        self.table.keys.insert_all(&mut self.batch);
        self.table.keys.shrink();
        self.remarks.extend(numbers(&self.table));
        let mut warnings = self.remarks;
        for Warnings { first, count } in self.warnings {
            let more = count - first.len();
            warnings.extend(first);
            if let Some(last) = warnings.last_mut()
                && more > 0
            {
                last.reason = format!("{}; and {more} more lines like it", last.reason);
            }
        }
        Ok(DeviceFile { table: self.table, warnings })
    }
}

/// Warnings if a program has probably read all keys as numbers.
fn numbers(table: &DeviceTable) -> Vec<Problem> {
    let mut warnings = Vec::new();
    let is_number = |key: &str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit());
    let short = |key: &str| key.trim_start_matches('0').to_owned();
    let mut twins =
        table.keys().filter(|key| key.starts_with('0') && is_number(key) && table.contains(&short(key)));
    if let Some(key) = twins.next() {
        let pair = format!("{} and {}", quoted(key), quoted(&short(key)));
        let reason = format!(
            "{pair} are both keys (pairs like this: {}): did a spreadsheet drop zeros?",
            1 + twins.count()
        );
        warnings.push(Problem::new("", reason));
    }
    let is_float = |key: &str| key.strip_suffix(".0").is_some_and(is_number);
    if table.len() > 1
        && table.keys().all(is_float)
        && let Some(key) = table.keys().next()
    {
        let reason = format!("every key ends in .0, such as {}: were the keys read as numbers?", quoted(key));
        warnings.push(Problem::new("", reason));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::super::DeviceFormat;
    use super::*;

    fn warnings(data: &str, format: DeviceFormat) -> Vec<String> {
        let file = DeviceFile::parse(data.as_bytes(), format).unwrap_or_default();
        file.warnings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_suspicious_is_named_with_its_line() {
        let data = "deviceKey\n# plant A\n inv-1\ninv 2\n8.6E+14\nTotal\n\"inv-3\",\n";
        assert_eq!(
            warnings(data, DeviceFormat::Lines),
            [
                "line 1: \"deviceKey\" was taken for a heading",
                "line 3: \" inv-1\" was read as \"inv-1\"",
                "line 7: \"\\\"inv-3\\\",\" was read as \"inv-3\"",
                "line 5: \"8.6E+14\" looks like a number that a spreadsheet rewrote; the key itself is lost",
                "line 6: \"Total\" looks like no device key; it counts as one",
                "line 4: \"inv 2\" has \" \" (U+0020), expected letters, digits and - _ . :",
            ]
        );
    }

    #[test]
    fn warnings_are_bounded() {
        let data = " inv 1\n".repeat(100_000);
        let found = warnings(&data, DeviceFormat::Lines);
        assert_eq!(found.len(), 2 * MAX_WARNINGS);
        assert!(
            found.last().is_some_and(|last| last.ends_with("; and 99990 more lines like it")),
            "{found:?}"
        );
    }

    #[test]
    fn numbers_are_compared() {
        let twins = warnings("0007\n7\n08\n0\n00\n", DeviceFormat::Lines);
        assert_eq!(
            twins,
            ["\"0007\" and \"7\" are both keys (pairs like this: 1): did a spreadsheet drop zeros?"]
        );
        let floats = warnings("861234.0\n861235.0\n", DeviceFormat::Lines);
        assert!(floats.iter().any(|warning| warning.starts_with("every key ends in .0")), "{floats:?}");
    }

    #[test]
    fn keys_that_a_spreadsheet_made_one_are_refused() {
        for data in ["8.6E+14\ninv-1\n8.6E+14\n", "123456789012345000\n1\n123456789012345000\n"] {
            let problems = DeviceFile::parse(data.as_bytes(), DeviceFormat::Lines).err().unwrap_or_default();
            assert_eq!(problems.len(), 1, "{data}");
            assert!(
                problems.iter().all(|one| one.location == "line 3" && one.reason.contains("again")),
                "{problems:?}"
            );
        }
        let repeated = DeviceFile::parse(b"inv-1\ninv-1\n", DeviceFormat::Lines).unwrap_or_default();
        assert_eq!((repeated.table.len(), repeated.warnings.len()), (1, 0));
    }
}
