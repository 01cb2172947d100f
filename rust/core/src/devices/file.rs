//! Device files: a key a line, a CSV column, or lines of JSON.

use crate::Problem;
use crate::json::tree::Tree;

use super::DeviceTable;

/// How a device file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceFormat {
    /// One key a line.
    Lines,
    /// A column `deviceKey`, named in the first line.
    Csv,
    /// An object with `deviceKey` a line.
    JsonLines,
}

/// A file with more mistakes than this is not the file that was meant.
const MAX_PROBLEMS: usize = 100;

const COLUMN: &str = "deviceKey";

/// Keys go in here, mistakes come out with their lines.
#[derive(Default)]
struct Collector {
    table: DeviceTable,
    problems: Vec<Problem>,
}

impl Collector {
    fn add(&mut self, line: u64, key: Result<&str, String>) {
        if let Err(reason) = key.and_then(|key| self.table.insert(key)) {
            self.problems.push(Problem::new(format!("line {line}"), reason));
        }
    }

    fn is_full(&self) -> bool {
        self.problems.len() >= MAX_PROBLEMS
    }
}

pub(super) fn read(data: &[u8], format: DeviceFormat) -> Result<DeviceTable, Vec<Problem>> {
    // Spreadsheets write a byte-order mark, which would otherwise become part of the first key.
    let data = data.strip_prefix("\u{feff}".as_bytes()).unwrap_or(data);
    let mut collector = Collector::default();
    match format {
        DeviceFormat::Lines => read_lines(data, &mut collector, |line| Ok(line.to_owned())),
        DeviceFormat::JsonLines => read_lines(data, &mut collector, json_key),
        DeviceFormat::Csv => read_csv(data, &mut collector),
    }
    if !collector.problems.is_empty() {
        return Err(collector.problems);
    }
    collector.table.keys.shrink();
    Ok(collector.table)
}

fn read_lines(data: &[u8], collector: &mut Collector, key: impl Fn(&str) -> Result<String, String>) {
    for (number, line) in (1..).zip(data.split(|&byte| byte == b'\n')) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let found = utf8(line).and_then(&key);
        collector.add(number, found.as_deref().map_err(Clone::clone));
        if collector.is_full() {
            break;
        }
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes)
        .map_err(|error| format!("expected UTF-8, got an invalid byte in column {}", error.valid_up_to() + 1))
}

fn json_key(line: &str) -> Result<String, String> {
    let tree = Tree::parse(line.as_bytes()).map_err(|syntax| syntax.to_string())?;
    let Tree::Object(members) = tree else {
        return Err(format!("expected an object, got {}", tree.kind().name()));
    };
    let mut keys = members.into_iter().filter(|(name, _)| name == COLUMN).map(|(_, value)| value);
    match (keys.next(), keys.next()) {
        (Some(Tree::Text(key)), None) => Ok(key.into_owned()),
        (Some(_), Some(_)) => Err("expected deviceKey once, got it again".to_owned()),
        (Some(value), None) => Err(format!("expected deviceKey as a string, got {}", value.kind().name())),
        (None, _) => Err("expected a member deviceKey, got none".to_owned()),
    }
}

/// Refuses a record that goes over several lines: more likely a quote that was never closed, which would
/// swallow devices without a word.
fn one_line(record: &csv::ByteRecord) -> Result<(), String> {
    if record.iter().flatten().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return Err("expected every field on one line, got a line break in quotes".to_owned());
    }
    Ok(())
}

/// The line that a record begins in. The reader has it begin where the last one ended, which is before the line
/// feed of a CRLF and before blank lines.
fn line_at(data: &[u8], position: &csv::Position) -> u64 {
    let rest = usize::try_from(position.byte()).ok().and_then(|start| data.get(start..)).unwrap_or_default();
    let breaks = rest.iter().take_while(|byte| matches!(byte, b'\n' | b'\r'));
    position.line() + breaks.filter(|&&byte| byte == b'\n').count() as u64
}

/// A blank line, or one of nothing but commas.
fn is_blank(record: &csv::ByteRecord) -> bool {
    let is_line_of_blanks = record.len() == 1 && record.iter().flatten().all(u8::is_ascii_whitespace);
    is_line_of_blanks || record.iter().all(<[u8]>::is_empty)
}

fn read_csv(data: &[u8], collector: &mut Collector) {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(data);
    if let Some(Err(reason)) = reader.byte_headers().ok().map(one_line) {
        collector.add(1, Err(reason));
        return;
    }
    let is_key = |header: &[u8]| header == COLUMN.as_bytes();
    let columns: Vec<_> = match reader.byte_headers() {
        Ok(headers) => headers.iter().enumerate().filter(|(_, header)| is_key(header)).collect(),
        Err(_) => Vec::new(),
    };
    let &[(column, _)] = &columns[..] else {
        let got = if columns.is_empty() { "none (columns are separated by commas)" } else { "several" };
        collector.add(1, Err(format!("expected a column {COLUMN}, got {got}")));
        return;
    };
    let mut record = csv::ByteRecord::new();
    while !collector.is_full() {
        match reader.read_byte_record(&mut record) {
            Ok(false) => break,
            Ok(true) if is_blank(&record) => {}
            Ok(true) => {
                let line = record.position().map_or(0, |position| line_at(data, position));
                let key = one_line(&record).and_then(|()| utf8(record.get(column).unwrap_or_default()));
                collector.add(line, key);
            }
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                collector.add(line, Err(error.to_string()));
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(data: &str, format: DeviceFormat) -> Vec<String> {
        read(data.as_bytes(), format)
            .map(|table| table.keys.iter().map(str::to_owned).collect())
            .unwrap_or_default()
    }

    fn problem(data: &[u8], format: DeviceFormat) -> String {
        read(data, format)
            .err()
            .and_then(|problems| problems.first().map(Problem::to_string))
            .unwrap_or_default()
    }

    #[test]
    fn every_format_gives_the_same_keys() {
        let expected = ["device1", "b c", "é"];
        assert_eq!(keys("\u{feff}device1\r\n\n  \nb c\ndevice1\né", DeviceFormat::Lines), expected);
        let csv = "name,deviceKey,more\r\nx,device1,\n\n\"a,b\",\"b c\"\ny,device1,1,2,3\nz,é,\n";
        assert_eq!(keys(csv, DeviceFormat::Csv), expected);
        let lines =
            "{\"deviceKey\":\"device1\"}\n\n{\"a\":[],\"deviceKey\":\"b c\"}\r\n{\"deviceKey\":\"\\u00e9\"}";
        assert_eq!(keys(lines, DeviceFormat::JsonLines), expected);
    }

    #[test]
    fn mistakes_are_bounded_in_every_format() {
        for (data, format) in [
            ("\t\n".repeat(300).replace('\t', "a\tb"), DeviceFormat::Lines),
            ("[]\n".repeat(300), DeviceFormat::JsonLines),
            (format!("deviceKey\n{}", "\"a\nb\"\n".repeat(300)), DeviceFormat::Csv),
            (format!("deviceKey,b\n{}", ",c\n".repeat(300)), DeviceFormat::Csv),
        ] {
            let problems = read(data.as_bytes(), format).err().unwrap_or_default();
            assert_eq!(problems.len(), MAX_PROBLEMS, "{format:?}");
        }
    }

    #[test]
    fn a_quote_that_is_not_closed_never_swallows_devices() {
        const EXPECTED: &str = "expected every field on one line, got a line break in quotes";
        for (data, line) in [
            ("deviceKey,\"name\nd1,x\nd2,y\n", 1),
            ("deviceKey,\"na\nme\"\nd1,x\n", 1),
            // Lines are counted by their line feeds, of which there are none.
            ("deviceKey,name\rd1,\"oops\rd2,x\rd3,y\r", 1),
            ("deviceKey,name\r\nd1,\"oops\r\nd2,x\r\n", 2),
        ] {
            let found = problem(data.as_bytes(), DeviceFormat::Csv);
            assert_eq!(found, format!("line {line}: {EXPECTED}"), "{data:?}");
        }
    }

    #[test]
    fn csv_lines_are_those_of_an_editor_whatever_ends_them() {
        for (data, line) in [
            ("deviceKey,b\na,1\n,2\n", 3),
            ("deviceKey,b\r\na,1\r\n,2\r\n", 3),
            ("deviceKey,b\n\n\n,2\n", 4),
            ("deviceKey,b\r\n\r\n\r\na,1\r\n\r\n,2", 6),
        ] {
            let found = problem(data.as_bytes(), DeviceFormat::Csv);
            assert!(found.starts_with(&format!("line {line}: ")), "{data:?}: {found}");
        }
    }

    #[test]
    fn a_blank_line_is_no_key_in_any_format() {
        assert_eq!(keys("d1\n   \n", DeviceFormat::Lines), ["d1"]);
        assert_eq!(keys("{\"deviceKey\":\"d1\"}\n   \n", DeviceFormat::JsonLines), ["d1"]);
        assert_eq!(keys("deviceKey\nd1\n   \n\t\n", DeviceFormat::Csv), ["d1"]);
    }

    #[test]
    fn mistakes_name_their_line() {
        assert_eq!(
            problem(b"deviceKey,b,deviceKey\n", DeviceFormat::Csv),
            "line 1: expected a column deviceKey, got several"
        );
        let unclosed = b"deviceKey,name\nd1,\"oops\nd2,x\nd3,y\n";
        assert_eq!(
            problem(unclosed, DeviceFormat::Csv),
            "line 2: expected every field on one line, got a line break in quotes"
        );
        assert_eq!(
            problem(b"a\nb\tc\n", DeviceFormat::Lines),
            "line 2: expected a deviceKey without control characters, got \"b\\tc\""
        );
        assert_eq!(
            problem(&[b"a\n\n", "x".repeat(129).as_bytes()].concat(), DeviceFormat::Lines),
            "line 3: expected a deviceKey of 1 to 128 bytes, got 129 bytes"
        );
        assert_eq!(
            problem(b"a\xff", DeviceFormat::Lines),
            "line 1: expected UTF-8, got an invalid byte in column 2"
        );
        assert_eq!(
            problem(b"key\na\n", DeviceFormat::Csv),
            "line 1: expected a column deviceKey, got none (columns are separated by commas)"
        );
        assert_eq!(
            problem(b"deviceKey,b\na\n,c\n", DeviceFormat::Csv),
            "line 3: expected a deviceKey of 1 to 128 bytes, got 0 bytes"
        );
        assert_eq!(
            problem(b"{\"deviceKey\":1}", DeviceFormat::JsonLines),
            "line 1: expected deviceKey as a string, got number"
        );
        assert_eq!(
            problem(b"\n{\"deviceKey\":}", DeviceFormat::JsonLines),
            "line 2: byte 13: expected a JSON value"
        );
    }
}
