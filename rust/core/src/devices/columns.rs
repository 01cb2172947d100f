//! Device files in CSV, as spreadsheets and databases export them.
//!
//! The delimiter is the first of comma, semicolon, tab and bar with which the heading has a column
//! `deviceKey`, or that of a first line `sep=;`. Above the heading only that line, comments and
//! blank lines are allowed. A file without a heading, or with nothing below it, is an empty table.

use super::collector::Collector;
use super::file::{COLUMN, utf8};
use super::key::{cleaned, is_error_value, is_heading, trimmed};
use crate::display::quoted;

const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Maximum number of columns of a heading or row that an error shows.
const SHOWN_COLUMNS: usize = 5;

/// Other accepted spellings of the heading, for error messages.
const ALSO: &str = "(or Device Key, device_key, DEVICE-KEY)";

/// Number of lines below the expected line that are searched for the heading.
const TITLE_LINES: u64 = 20;

/// The table of a file: its text, delimiter and column of keys.
struct Layout<'a> {
    table: &'a [u8],
    /// Number of lines above the table.
    above: u64,
    delimiter: u8,
    column: usize,
}

pub(super) fn read(data: &[u8], collector: &mut Collector) {
    let Layout { table, above, delimiter, column } = match layout(data) {
        Ok(Some(layout)) => layout,
        Ok(None) => return,
        Err((line, reason)) => return collector.refuse(line, reason),
    };
    let mut reader = reader(table, delimiter);
    let mut record = csv::ByteRecord::new();
    while !collector.is_full() {
        match reader.read_byte_record(&mut record) {
            Ok(false) => break,
            Ok(true) if is_ignored(&record, column) => {}
            Ok(true) => {
                let line = above + record.position().map_or(0, |position| line_at(table, position));
                let key = one_line(&record).and_then(|()| utf8(record.get(column).unwrap_or_default()));
                match key {
                    Ok(key) if cleaned(key, false).is_empty() => collector.refuse(line, without_key(&record)),
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

/// Finds the heading; `None` if the file has no text. An error has the line that is no heading.
fn layout(data: &[u8]) -> Result<Option<Layout<'_>>, (u64, String)> {
    let mut table = data;
    let mut above = 0;
    let mut delimiters = DELIMITERS.as_slice();
    let declared = [declared_delimiter(table)];
    if let [Some(delimiter)] = &declared {
        delimiters = std::slice::from_ref(delimiter);
        (table, above) = (after_line(table), 1);
    }
    loop {
        while starts_blank(table) {
            (table, above) = (after_line(table), above + 1);
        }
        if table.is_empty() {
            return Ok(None);
        }
        for &delimiter in delimiters {
            match column_in(table, delimiter) {
                Ok(Some(column)) => return Ok(Some(Layout { table, above, delimiter, column })),
                Ok(None) => {}
                Err(reason) => return Err((above + 1, reason)),
            }
        }
        if !table.starts_with(b"#") {
            let hint = heading_below(table, delimiters).map_or_else(String::new, |line| {
                let line = above + 1 + line;
                format!("; the heading is in line {line}: begin every line above it with #")
            });
            let got = headings(table, delimiters);
            return Err((above + 1, format!("expected a column {COLUMN} {ALSO}, got {got}{hint}")));
        }
        (table, above) = (after_line(table), above + 1);
    }
}

/// The delimiter of a first line `sep=;`, which tells spreadsheets how to read the file.
fn declared_delimiter(data: &[u8]) -> Option<u8> {
    let line = data.split(|&byte| matches!(byte, b'\n' | b'\r')).next()?;
    let line = line.strip_prefix(b"\"").and_then(|line| line.strip_suffix(b"\"")).unwrap_or(line);
    match line {
        [s, e, p, b'=', delimiter] if [*s, *e, *p].eq_ignore_ascii_case(b"sep") => Some(*delimiter),
        _ => None,
    }
}

/// Everything behind the first line.
fn after_line(data: &[u8]) -> &[u8] {
    let Some(end) = data.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
        return &[];
    };
    let rest = data.get(end..).unwrap_or_default();
    rest.strip_prefix(b"\r\n").or_else(|| rest.get(1..)).unwrap_or_default()
}

/// Whether the first line has only white space and delimiters.
fn starts_blank(data: &[u8]) -> bool {
    let blank = |byte: &u8| byte.is_ascii_whitespace() || DELIMITERS.contains(byte);
    let mut line = data.iter().take_while(|byte| !matches!(byte, b'\n' | b'\r'));
    !data.is_empty() && line.all(blank)
}

/// Number of lines from the first one to a heading below it, such as under a title.
fn heading_below(table: &[u8], delimiters: &[u8]) -> Option<u64> {
    let mut below = table;
    for line in 1..=TITLE_LINES {
        below = after_line(below);
        let is_heading = |&delimiter| matches!(column_in(below, delimiter), Ok(Some(_)));
        if !starts_blank(below) && delimiters.iter().any(is_heading) {
            return Some(line);
        }
    }
    None
}

/// The column named `deviceKey`, or else the only column with a similar name.
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

/// What stands in place of the heading, split by the delimiter that gives the most columns.
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
    if most.iter().all(<[u8]>::is_empty) { "nothing".to_owned() } else { fields(&most) }
}

/// The first columns of a record, for error messages.
fn fields(record: &csv::ByteRecord) -> String {
    let shown: Vec<_> =
        record.iter().take(SHOWN_COLUMNS).map(|one| quoted(trimmed(&String::from_utf8_lossy(one)))).collect();
    let more = if record.len() > SHOWN_COLUMNS { " and more" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// Why a row without a key is refused; usually it has sums.
fn without_key(record: &csv::ByteRecord) -> String {
    let row = fields(record);
    format!("expected a {COLUMN} in each row, got none in {row}: begin the row with # if it is no device")
}

/// Refuses a record of several lines: probably a quote is not closed, and devices would be lost
/// silently.
fn one_line(record: &csv::ByteRecord) -> Result<(), String> {
    if record.iter().flatten().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return Err("expected every field on one line, got a line break in quotes".to_owned());
    }
    Ok(())
}

/// Whether a record is a blank line, only delimiters, or a comment.
///
/// If the keys are not in the first column, a row that begins with `#` is a comment only if it has
/// no key.
fn is_ignored(record: &csv::ByteRecord, column: usize) -> bool {
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

/// The line in which a record begins. The CSV reader reports the end of the last record, which is
/// before the line feed of a CRLF and before blank lines.
fn line_at(data: &[u8], position: &csv::Position) -> u64 {
    let rest = usize::try_from(position.byte()).ok().and_then(|start| data.get(start..)).unwrap_or_default();
    let breaks = rest.iter().take_while(|byte| matches!(byte, b'\n' | b'\r'));
    position.line() + breaks.filter(|&&byte| byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::super::{DeviceFile, DeviceFormat};
    use super::ALSO;

    fn read(data: &str) -> Result<DeviceFile, String> {
        DeviceFile::parse(data.as_bytes(), DeviceFormat::Csv)
            .map_err(|problems| problems.first().map(ToString::to_string).unwrap_or_default())
    }

    fn keys(data: &str) -> Vec<String> {
        read(data).map(|file| file.table.keys().map(str::to_owned).collect()).unwrap_or_default()
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
        for (data, line, got) in [
            ("id;name\n", 1, "\"id\", \"name\""),
            ("Device ID\ninv-1\n", 1, "\"Device ID\""),
            ("\"\";\"\"\n1;2", 1, "nothing"),
            ("sep=;\ndeviceKey,name\n", 2, "\"deviceKey,name\""),
            ("# a\n# b\na,b,c,d,e,f\n", 3, "\"a\", \"b\", \"c\", \"d\", \"e\" and more"),
            ("\n \n;;\na;b\n", 4, "\"a\", \"b\""),
        ] {
            let expected = format!("line {line}: expected a column deviceKey {ALSO}, got {got}");
            assert_eq!(read(data).err(), Some(expected), "{data:?}");
        }
    }

    #[test]
    fn a_heading_under_a_title_is_named() {
        for (data, line, heading) in [
            ("Devices of A;\n\ndeviceKey;name\ninv-1;x\n", 1, 3),
            ("# a\r\nPlant,A\r\nDevice Key,b\r\n", 2, 3),
            ("\nx\ny\nname\tdevice_key\n", 2, 4),
        ] {
            let found = read(data).err().unwrap_or_default();
            assert!(
                found.starts_with(&format!("line {line}: expected a column deviceKey {ALSO}")),
                "{found}"
            );
            let hint = format!("; the heading is in line {heading}: begin every line above it with #");
            assert!(found.ends_with(&hint), "{found}");
        }
    }

    #[test]
    fn a_file_without_text_is_an_empty_table() {
        for data in
            ["", "\u{feff}", "\n", "\r\n \r\n", "# a", "# a\n\n# b\n", "sep=;", "sep=;\r\n", ";;\n;;\n"]
        {
            assert_eq!(read(data).map(|file| file.table.len()), Ok(0), "{data:?}");
        }
    }

    #[test]
    fn a_row_without_a_key_is_shown() {
        for (data, line, row) in [
            ("deviceKey;name;n\ninv-1;a;4\n;Summe;4\n", 3, "\"\", \"Summe\", \"4\""),
            ("name;deviceKey;n\nSumme;;4\n", 2, "\"Summe\", \"\", \"4\""),
            ("name,deviceKey\na,inv-1\nTotal\n", 3, "\"Total\""),
            ("name,deviceKey\nTotal, \n", 2, "\"Total\", \"\""),
            ("deviceKey,n\n=\"\",1\n", 2, "\"=\\\"\\\"\", \"1\""),
        ] {
            let reason = format!(
                "line {line}: expected a deviceKey in each row, got none in {row}: \
                 begin the row with # if it is no device"
            );
            assert_eq!(read(data).err(), Some(reason), "{data:?}");
        }
        assert_eq!(keys("deviceKey;n\ninv-1;1\n#;Summe\n;;\n"), ["inv-1"]);
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
            Some(
                "line 6: expected a deviceKey in each row, got none in \"\", \"2\": \
                 begin the row with # if it is no device"
            )
        );
    }
}
