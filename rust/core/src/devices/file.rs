//! Device files: one key on each line, or JSON lines; a column of a CSV file is in `columns.rs`, how
//! text is encoded in `text.rs`, and a key's own rules in `key.rs` and `mod.rs`.

use crate::Problem;
use crate::json::tree::Tree;

use super::collector::Collector;
use super::key::{is_error_value, is_heading, trimmed};
use super::{DeviceFile, columns, text};

/// The format of a device file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceFormat {
    /// One key on each line.
    Lines,
    /// CSV with a column `deviceKey`.
    Csv,
    /// An object with `deviceKey` on each line.
    JsonLines,
}

pub(super) const COLUMN: &str = "deviceKey";

pub(super) fn read(data: &[u8], format: DeviceFormat) -> Result<DeviceFile, Vec<Problem>> {
    let data = text::decoded(data).map_err(|problem| vec![problem])?;
    if u32::try_from(data.len()).is_err() {
        return Err(vec![Problem::new("", "expected a file of less than 4 GiB")]);
    }
    let mut collector = Collector::for_file(&data);
    match format {
        DeviceFormat::Lines => read_lines(&data, &mut collector),
        DeviceFormat::JsonLines => {
            for_each_line(&data, &mut collector, |collector, number, line| match json_key(line) {
                Ok(key) => collector.add_exact(number, &key),
                Err(reason) => collector.refuse(number, reason),
            });
        }
        DeviceFormat::Csv => columns::read(&data, &mut collector),
    }
    collector.finish()
}

pub(super) fn utf8(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes)
        .map_err(|error| format!("expected UTF-8, got an invalid byte in column {}", error.valid_up_to() + 1))
}

/// Calls `take` for every line that is not blank, until there are too many mistakes. Lines end with
/// LF or CRLF; in a file without LF, with CR.
fn for_each_line(data: &[u8], collector: &mut Collector, mut take: impl FnMut(&mut Collector, u64, &str)) {
    let end = if data.contains(&b'\n') { b'\n' } else { b'\r' };
    for (number, line) in (1..).zip(data.split(|&byte| byte == end)) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match utf8(line) {
            Ok(line) => take(collector, number, line),
            Err(reason) => collector.refuse(number, reason),
        }
        if collector.is_full() {
            break;
        }
    }
}

fn read_lines(data: &[u8], collector: &mut Collector) {
    let mut is_first = true;
    for_each_line(data, collector, |collector, number, line| {
        let bare = trimmed(line);
        if bare.starts_with('#') && !is_error_value(bare) {
            return;
        }
        if std::mem::take(&mut is_first) {
            if is_heading(line) {
                collector.warn_of_heading(number, bare);
                return;
            }
            if let Some(got) = instead_of_keys(bare) {
                collector.refuse(number, format!("expected a key a line in a .txt file, got {got}"));
                return;
            }
        }
        collector.add(number, line, true);
    });
}

/// The other format that a file probably has, judging by its first line.
fn instead_of_keys(line: &str) -> Option<&'static str> {
    if line.split([',', ';', '\t', '|']).any(is_heading) {
        return Some("a heading with columns: name the file .csv");
    }
    (line.starts_with(['{', '[']) && line.contains('"')).then_some("JSON: name a file of JSON lines .jsonl")
}

fn json_key(line: &str) -> Result<String, String> {
    let tree = Tree::parse(line.as_bytes()).map_err(|syntax| syntax.to_string())?;
    let Tree::Object(members) = tree else {
        return Err(format!("expected an object, got {}", tree.json_type().name()));
    };
    let mut keys = members.into_iter().filter(|(name, _)| name == COLUMN).map(|(_, value)| value);
    match (keys.next(), keys.next()) {
        (Some(Tree::Text(key)), None) => Ok(key.into_owned()),
        (Some(_), Some(_)) => Err("expected deviceKey once, got it again".to_owned()),
        (Some(value), None) => {
            Err(format!("expected deviceKey as a string, got {}", value.json_type().name()))
        }
        (None, _) => Err("expected a member deviceKey, got none".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::collector::MAX_PROBLEMS;
    use super::*;

    fn keys(data: &str, format: DeviceFormat) -> Vec<String> {
        read(data.as_bytes(), format)
            .map(|file| file.table.keys().map(str::to_owned).collect())
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
            "line 2: expected a deviceKey without control characters, got \"b\\tc\": name a file with columns .csv"
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
            "line 1: expected a column deviceKey (or Device Key, device_key, DEVICE-KEY), got \"key\""
        );
        assert_eq!(
            problem(b"deviceKey,b\na\n,c\n", DeviceFormat::Csv),
            "line 3: expected a deviceKey in each row, got none in \"\", \"c\": begin the row with # if it is no device"
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
