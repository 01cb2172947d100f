//! Device files with columns: what spreadsheets and databases export as CSV.
//!
//! Columns are separated by the first of comma, semicolon, tab and bar that gives a column `deviceKey`, or as a first
//! line `sep=;` says. Above the heading there may be comments, blank lines and that line, and nothing else.

use super::collector::Collector;
use super::file::{COLUMN, utf8};
use super::key::{is_error_value, is_heading, trimmed};
use crate::display::quoted;

const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// How many columns of a heading without `deviceKey` are shown.
const SHOWN_COLUMNS: usize = 5;

/// Where the table begins, and where its keys stand.
struct Layout<'a> {
    table: &'a [u8],
    /// How many lines there are above the table.
    above: u64,
    delimiter: u8,
    column: usize,
}

pub(super) fn read(data: &[u8], collector: &mut Collector) {
    let Layout { table, above, delimiter, column } = match layout(data) {
        Ok(layout) => layout,
        Err((line, reason)) => return collector.refuse(line, reason),
    };
    let mut reader = reader(table, delimiter);
    let mut record = csv::ByteRecord::new();
    while !collector.is_full() {
        match reader.read_byte_record(&mut record) {
            Ok(false) => break,
            Ok(true) if is_passed_over(&record, column) => {}
            Ok(true) => {
                let line = above + record.position().map_or(0, |position| line_at(table, position));
                let key = one_line(&record).and_then(|()| utf8(record.get(column).unwrap_or_default()));
                match key {
                    Ok(key) => collector.add(line, key, false),
                    Err(reason) => collector.refuse(line, reason),
                }
            }
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                collector.refuse(above + line, error.to_string());
                break;
            }
        }
    }
}

fn reader(table: &[u8], delimiter: u8) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new().flexible(true).delimiter(delimiter).from_reader(table)
}

/// Finds the heading; or says in which line something else stands.
fn layout(data: &[u8]) -> Result<Layout<'_>, (u64, String)> {
    let mut table = data;
    let mut above = 0;
    let mut delimiters = DELIMITERS.as_slice();
    let told = [told_delimiter(table)];
    if let [Some(delimiter)] = &told {
        delimiters = std::slice::from_ref(delimiter);
        (table, above) = (behind_line(table), 1);
    }
    loop {
        for &delimiter in delimiters {
            match column_in(table, delimiter) {
                Ok(Some(column)) => return Ok(Layout { table, above, delimiter, column }),
                Ok(None) => {}
                Err(reason) => return Err((above + 1, reason)),
            }
        }
        if !table.starts_with(b"#") {
            return Err((
                above + 1,
                format!("expected a column {COLUMN}, got {}", headings(table, delimiters)),
            ));
        }
        (table, above) = (behind_line(table), above + 1);
    }
}

/// The delimiter of a first line `sep=;`, with which a spreadsheet is told how to read the file.
fn told_delimiter(data: &[u8]) -> Option<u8> {
    let line = data.split(|&byte| matches!(byte, b'\n' | b'\r')).next()?;
    let line = line.strip_prefix(b"\"").and_then(|line| line.strip_suffix(b"\"")).unwrap_or(line);
    match line {
        [s, e, p, b'=', delimiter] if [*s, *e, *p].eq_ignore_ascii_case(b"sep") => Some(*delimiter),
        _ => None,
    }
}

/// What comes behind the first line.
fn behind_line(data: &[u8]) -> &[u8] {
    let Some(end) = data.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
        return &[];
    };
    let rest = data.get(end..).unwrap_or_default();
    rest.strip_prefix(b"\r\n").or_else(|| rest.get(1..)).unwrap_or_default()
}

/// The column of the keys: the one called `deviceKey`, or else the only one called much like it.
fn column_in(table: &[u8], delimiter: u8) -> Result<Option<usize>, String> {
    let mut reader = reader(table, delimiter);
    let Ok(headings) = reader.byte_headers() else {
        return Ok(None);
    };
    let places = |is_key: &dyn Fn(&[u8]) -> bool| {
        headings
            .iter()
            .enumerate()
            .filter(|(_, heading)| is_key(heading))
            .map(|(place, _)| place)
            .collect::<Vec<_>>()
    };
    let mut found = places(&|heading| heading == COLUMN.as_bytes());
    if found.is_empty() {
        found = places(&|heading| utf8(heading).is_ok_and(is_heading));
    }
    match found[..] {
        [] => Ok(None),
        [column] => one_line(headings).map(|()| Some(column)),
        _ => Err(format!("expected a column {COLUMN}, got several")),
    }
}

/// What stands where the heading should be, by the delimiter that gives most columns.
fn headings(table: &[u8], delimiters: &[u8]) -> String {
    let mut most = csv::ByteRecord::new();
    for &delimiter in delimiters {
        if let Ok(found) = reader(table, delimiter).byte_headers()
            && found.len() > most.len()
        {
            most = found.clone();
        }
    }
    if let Err(reason) = one_line(&most) {
        return reason;
    }
    if most.iter().all(<[u8]>::is_empty) {
        return "nothing".to_owned();
    }
    let shown: Vec<_> =
        most.iter().take(SHOWN_COLUMNS).map(|one| quoted(trimmed(&String::from_utf8_lossy(one)))).collect();
    let more = if most.len() > SHOWN_COLUMNS { " and more" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// Refuses a record that goes over several lines: more likely a quote that was never closed, which would
/// swallow devices without a word.
fn one_line(record: &csv::ByteRecord) -> Result<(), String> {
    if record.iter().flatten().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return Err("expected every field on one line, got a line break in quotes".to_owned());
    }
    Ok(())
}

/// A blank line, one of nothing but separators, or a comment.
///
/// A row may begin with `#`, too, where the keys stand in another column: it is a comment if it has none.
fn is_passed_over(record: &csv::ByteRecord, column: usize) -> bool {
    let is_line_of_blanks = record.len() == 1 && record.iter().flatten().all(u8::is_ascii_whitespace);
    if is_line_of_blanks || record.iter().all(<[u8]>::is_empty) {
        return true;
    }
    let first = record.get(0).unwrap_or_default();
    if !first.starts_with(b"#") {
        return false;
    }
    if column > 0 {
        return record.get(column).is_none_or(|key| key.trim_ascii().is_empty());
    }
    !utf8(first).is_ok_and(|text| is_error_value(trimmed(text)))
}

/// The line that a record begins in. The reader has it begin where the last one ended, which is before the line
/// feed of a CRLF and before blank lines.
fn line_at(data: &[u8], position: &csv::Position) -> u64 {
    let rest = usize::try_from(position.byte()).ok().and_then(|start| data.get(start..)).unwrap_or_default();
    let breaks = rest.iter().take_while(|byte| matches!(byte, b'\n' | b'\r'));
    position.line() + breaks.filter(|&&byte| byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::super::{DeviceFile, DeviceFormat};

    fn read(data: &str) -> Result<DeviceFile, String> {
        DeviceFile::parse(data.as_bytes(), DeviceFormat::Csv)
            .map_err(|problems| problems.first().map(ToString::to_string).unwrap_or_default())
    }

    fn keys(data: &str) -> Vec<String> {
        read(data).map(|file| file.table.keys.iter().map(str::to_owned).collect()).unwrap_or_default()
    }

    #[test]
    fn columns_are_found_whatever_separates_them() {
        for data in [
            "deviceKey;name\ninv-1;a,b\ninv-2;c\n",
            "name\tDevice Key\r\na\tinv-1\r\nb\tinv-2\r\n",
            "sep=;\r\n\"deviceKey\";\"name\"\r\n\"inv-1\";\"a\"\r\ninv-2;b",
            "\"sep=|\"\rdeviceKey|name\rinv-1|a\rinv-2|b",
            "# made by a script; do not edit\n\ndeviceKey|name\ninv-1|a\ninv-2|b",
            "#,device_key\n1,inv-1\n2,inv-2\n",
            "DEVICEKEY \n inv-1\ninv-2\u{a0}\n",
        ] {
            assert_eq!(keys(data), ["inv-1", "inv-2"], "{data:?}");
        }
    }

    #[test]
    fn an_exact_heading_is_preferred_and_two_are_refused() {
        assert_eq!(keys("Device Key,deviceKey\na,b\n"), ["b"]);
        let several = Some("line 1: expected a column deviceKey, got several".to_owned());
        assert_eq!(read("Device Key,device_key\na,b\n").err(), several);
    }

    #[test]
    fn what_stands_in_place_of_the_heading_is_shown() {
        for (data, expected) in [
            ("", "line 1: expected a column deviceKey, got nothing"),
            ("id;name\n", "line 1: expected a column deviceKey, got \"id\", \"name\""),
            ("sep=;\ndeviceKey,name\n", "line 2: expected a column deviceKey, got \"deviceKey,name\""),
            (
                "# a\n# b\na,b,c,d,e,f\n",
                "line 3: expected a column deviceKey, got \"a\", \"b\", \"c\", \"d\", \"e\" and more",
            ),
            ("# a", "line 2: expected a column deviceKey, got nothing"),
        ] {
            assert_eq!(read(data).err().as_deref(), Some(expected), "{data:?}");
        }
    }

    #[test]
    fn comments_are_passed_over_and_rows_are_not() {
        assert_eq!(keys("deviceKey,name\n#inv-1,a\n# \"quoted\ninv-2,b\n"), ["inv-2"]);
        assert_eq!(keys("deviceKey,name\n#N/A,a\ninv-2,b\n"), ["#N/A", "inv-2"]);
        assert_eq!(keys("name,deviceKey\n#1 boiler,inv-1\n# note\n#,\n"), ["inv-1"]);
    }

    #[test]
    fn lines_are_counted_from_the_top_of_the_file() {
        let data = "sep=;\r\n# a\r\ndeviceKey;b\r\n\r\nx;1\r\n;2\r\n";
        assert_eq!(
            read(data).err().as_deref(),
            Some("line 6: expected a deviceKey of 1 to 128 bytes, got 0 bytes")
        );
    }
}
