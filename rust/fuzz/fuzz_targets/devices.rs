//! Any bytes as a device file in each format: read or refused, and what is read is what the lines say.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use pointgate_core::{DeviceFormat, DeviceTable, Problem};
use pointgate_fuzz::{Document, Shape, linear};

const MAX_PROBLEMS: usize = 100;
const LINE_ENDS: &[u8] = b"\r\n";

fuzz_target!(|data: &[u8]| {
    check("lines", DeviceFormat::Lines, data, keys(data, |line| Some(line.to_owned())).as_ref());
    check("json", DeviceFormat::JsonLines, data, keys(data, json_key).as_ref());
    if data.contains(&b'"') {
        // Quotes are the reader's own matter; what can be said is that keys need lines.
        match linear(data.len(), || DeviceTable::parse(data, DeviceFormat::Csv)) {
            Ok(table) => assert!(table.len() <= data.split(|byte| LINE_ENDS.contains(byte)).count()),
            Err(problems) => check_problems("csv", &problems, data),
        }
    } else {
        check("csv", DeviceFormat::Csv, data, csv_keys(data).as_ref());
    }
});

fn check(name: &str, format: DeviceFormat, data: &[u8], expected: Option<&BTreeSet<String>>) {
    match (linear(data.len(), || DeviceTable::parse(data, format)), expected) {
        (Ok(table), Some(keys)) => {
            assert_eq!((table.len(), table.is_empty()), (keys.len(), keys.is_empty()), "{name}");
            assert!(keys.iter().all(|key| table.contains(key)), "{name}");
            assert!(!table.contains("") && !table.contains("a key\nthat no file can hold"));
        }
        (Err(problems), None) => check_problems(name, &problems, data),
        (read, expected) => panic!("{name}: {read:?}, expected {expected:?}"),
    }
}

fn check_problems(name: &str, problems: &[Problem], data: &[u8]) {
    assert!((1..=MAX_PROBLEMS).contains(&problems.len()), "{name}: {} problems", problems.len());
    let lines = 1 + data.iter().filter(|byte| LINE_ENDS.contains(byte)).count();
    let mut last = 1;
    for problem in problems {
        let line = problem.location.strip_prefix("line ").and_then(|line| line.parse().ok());
        let line: usize = line.unwrap_or_else(|| panic!("{name}: {problem}"));
        assert!((last..=lines).contains(&line), "{name}: {problem}, of {lines} lines, after line {last}");
        assert!(
            !problem.reason.is_empty() && !problem.reason.contains(char::is_control),
            "{name}: {problem}"
        );
        last = line;
    }
}

/// The keys by the naive way: line by line, all or none.
fn keys(data: &[u8], key: impl Fn(&str) -> Option<String>) -> Option<BTreeSet<String>> {
    let data = data.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(data);
    let lines = data.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines
        .filter(|line| !line.trim_ascii().is_empty())
        .map(|line| std::str::from_utf8(line).ok().and_then(&key).filter(|key| is_device_key(key)))
        .collect()
}

/// The same for a column of a file without quotes.
fn csv_keys(data: &[u8]) -> Option<BTreeSet<String>> {
    const MARK: &[u8] = b"\xEF\xBB\xBF";
    // The reader passes over a byte-order mark of its own.
    let data = data.strip_prefix(MARK).unwrap_or(data);
    let data = data.strip_prefix(MARK).unwrap_or(data);
    let mut lines = data.split(|byte| LINE_ENDS.contains(byte)).filter(|line| !line.is_empty());
    let is_column = |(_, header): &(usize, &[u8])| *header == b"deviceKey";
    let mut columns = lines.next()?.split(|&byte| byte == b',').enumerate().filter(is_column);
    let (Some((column, _)), None) = (columns.next(), columns.next()) else {
        return None;
    };
    lines
        .filter(|line| line.iter().any(|&byte| byte != b',') && !line.trim_ascii().is_empty())
        .map(|line| line.split(|&byte| byte == b',').nth(column).unwrap_or_default())
        .map(|field| String::from_utf8(field.to_vec()).ok().filter(|key| is_device_key(key)))
        .collect()
}

fn is_device_key(key: &str) -> bool {
    (1..=128).contains(&key.len()) && !key.contains(char::is_control)
}

fn json_key(line: &str) -> Option<String> {
    let document = Document::parse(line.as_bytes())?;
    let Shape::Object(members) = document.root.shape else {
        return None;
    };
    let mut keys = members.into_iter().filter(|(name, _)| name == "deviceKey");
    match (keys.next()?.1.shape, keys.next()) {
        (Shape::Text(key), None) => Some(key),
        _ => None,
    }
}
