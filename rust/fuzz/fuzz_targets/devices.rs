//! Any bytes as a device file in each format: what is accepted has exactly the keys of its lines.
//!
//! The naive reader only knows plain files: keys of letters, digits and `- _ . :`, which need no
//! cleaning.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use pointgate_core::{DeviceFile, DeviceFormat, DeviceTable, Problem};
use pointgate_fuzz::{Document, Shape, linear};

const MAX_PROBLEMS: usize = 100;
const MAX_WARNINGS: usize = 50;
const LINE_ENDS: &[u8] = b"\r\n";

fuzz_target!(|data: &[u8]| {
    check("lines", DeviceFormat::Lines, data, lines(data).as_ref());
    check("json", DeviceFormat::JsonLines, data, json_lines(data).as_ref());
    check("csv", DeviceFormat::Csv, data, column(data).as_ref());
});

/// Reads a file; `expected` are its keys where it is plain.
fn check(name: &str, format: DeviceFormat, data: &[u8], expected: Option<&BTreeSet<String>>) {
    match linear(data.len(), || DeviceFile::parse(data, format)) {
        Ok(DeviceFile { table, warnings, .. }) => {
            let lines = data.split(|byte| LINE_ENDS.contains(byte)).count();
            assert!(table.len() <= lines && warnings.len() <= MAX_WARNINGS, "{name}: {warnings:?}");
            check_texts(name, &warnings);
            assert!(!table.contains("") && !table.contains("a key\nthat no file can hold"));
            if let Some(keys) = expected {
                check_keys(name, &table, keys);
            }
        }
        Err(problems) => {
            assert!((1..=MAX_PROBLEMS).contains(&problems.len()), "{name}: {} problems", problems.len());
            check_texts(name, &problems);
            // Equal numbers that a spreadsheet made of different keys.
            let is_merged = problems.iter().all(|problem| problem.reason.contains(" again: "));
            assert!(expected.is_none() || is_merged, "{name}: {problems:?}, expected {expected:?}");
        }
    }
}

fn check_keys(name: &str, table: &DeviceTable, keys: &BTreeSet<String>) {
    assert_eq!((table.len(), table.is_empty()), (keys.len(), keys.is_empty()), "{name}");
    assert!(keys.iter().all(|key| table.contains(key)), "{name}");
}

fn check_texts(name: &str, problems: &[Problem]) {
    for problem in problems {
        let is_line = problem.location.strip_prefix("line ").is_some_and(|line| line.parse::<u64>().is_ok());
        assert!(is_line || problem.location.is_empty(), "{name}: {problem}");
        assert!(
            !problem.reason.is_empty() && !problem.reason.contains(char::is_control),
            "{name}: {problem}"
        );
    }
}

/// The keys of a file with nothing but keys, line by line.
fn lines(data: &[u8]) -> Option<BTreeSet<String>> {
    let lines = data.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.filter(|line| !line.is_empty()).map(plain_key).collect()
}

/// The same for a column of a file with commas.
fn column(data: &[u8]) -> Option<BTreeSet<String>> {
    let mut lines = data.split(|byte| LINE_ENDS.contains(byte)).filter(|line| !line.is_empty());
    let is_column = |(_, heading): &(usize, &[u8])| *heading == b"deviceKey";
    let headings = lines.next()?;
    if headings.contains(&b'"') {
        return None;
    }
    let mut columns = headings.split(|&byte| byte == b',').enumerate().filter(is_column);
    let (Some((column, _)), None) = (columns.next(), columns.next()) else {
        return None;
    };
    let mut keys = BTreeSet::new();
    for line in lines {
        let mut fields = line.split(|&byte| byte == b',');
        if fields.clone().all(<[u8]>::is_empty) {
            continue;
        }
        if line.contains(&b'"') || line.starts_with(b"#") {
            return None;
        }
        keys.insert(plain_key(fields.nth(column)?)?);
    }
    Some(keys)
}

/// The same for lines of JSON.
fn json_lines(data: &[u8]) -> Option<BTreeSet<String>> {
    let lines = data.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    lines.map(|line| json_key(std::str::from_utf8(line).ok()?)).collect()
}

fn json_key(line: &str) -> Option<String> {
    let document = Document::parse(line.as_bytes())?;
    let Shape::Object(members) = document.root.shape else {
        return None;
    };
    let mut keys = members.into_iter().filter(|(name, _)| name == "deviceKey");
    match (keys.next()?.1.shape, keys.next()) {
        (Shape::Text(key), None) => plain_key(key.as_bytes()),
        _ => None,
    }
}

/// The key that a field is; none when there is anything about it to be changed, or it may be a
/// heading.
fn plain_key(field: &[u8]) -> Option<String> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
    let key = std::str::from_utf8(field).ok()?;
    let letters = key.replace(['-', '_'], "").to_ascii_lowercase();
    let is_key = (1..=128).contains(&key.len()) && field.iter().all(is_plain) && letters != "devicekey";
    is_key.then(|| key.to_owned())
}
