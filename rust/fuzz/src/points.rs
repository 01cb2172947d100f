//! Compares collected columns with the points that a second JSON reader finds in the document.

use pointgate_core::json::Integer;
use pointgate_core::{Columns, Dictionary};

use crate::{Decimal, Document, Node, Shape};

/// Checks that the rows from `first` on are the points of this accepted document, in its order.
///
/// Points that the model lacks may be left out of the columns; nothing else may.
pub fn check_rows(columns: &Columns, first: usize, rows: usize, document: &Document<'_>, now_ms: i64) {
    assert_eq!(columns.product.len(), first + rows);
    let params = document.root.member("params").expect("params");
    let entries = match &params.shape {
        Shape::Array(entries) => entries.iter().collect(),
        _ => vec![params],
    };
    let mut row = first;
    for entry in entries {
        let Some(Shape::Object(points)) = entry.member("measurepoints").map(|points| &points.shape) else {
            panic!("an accepted entry has measurepoints");
        };
        let time = 1000 * entry.member("time").and_then(whole).unwrap_or(now_ms);
        let device = entry.member("deviceKey").and_then(Node::text);
        for (identifier, point) in points {
            if row == first + rows || name(&columns.identifiers, &columns.identifier, row) != identifier {
                continue;
            }
            // A point without a value, which the product ignores; of a structure, "value" is a
            // member like any other.
            if point.raw == "null" || point.member("value").is_some_and(|value| value.raw == "null") {
                continue;
            }
            assert_eq!(columns.time[row], time);
            assert_eq!(columns.received[row], 1000 * now_ms);
            if let Some(device) = device {
                assert_eq!(name(&columns.devices, &columns.device, row), device);
            }
            check_value(columns, row, point);
            row += 1;
        }
    }
    assert_eq!(row, first + rows, "rows that are no points of the document");
}

fn check_value(columns: &Columns, row: usize, point: &Node<'_>) {
    let has = |bits: &[u8]| bits[row / 8] >> (row % 8) & 1 == 1;
    let values =
        [&columns.is_double, &columns.is_long, &columns.is_boolean, &columns.is_text, &columns.is_json];
    assert_eq!(values.into_iter().filter(|bits| has(bits)).count(), 1, "one value in row {row}");

    let value = match point.member("value") {
        // Of a structure, "value" may be a member like any other: then the whole is the value.
        Some(_) if has(&columns.is_json) && slice(&columns.jsons, row) == point.raw => point,
        Some(value) => {
            let quality = point.member("quality").and_then(whole);
            assert_eq!(quality, has(&columns.has_quality).then(|| i64::from(columns.quality[row])));
            value
        }
        None => point,
    };
    if has(&columns.is_double) {
        let bits = columns.scalars[row];
        let token = value.text().unwrap_or(value.raw);
        let double: f64 = token.parse().expect("a number");
        assert_eq!(bits, double.to_bits(), "{token}");
    } else if has(&columns.is_long) {
        assert_eq!(whole(value), Some(columns.scalars[row] as i64), "{}", value.raw);
    } else if has(&columns.is_boolean) {
        let token = value.text().unwrap_or(value.raw);
        let truth = token == "true" || token != "false" && whole(value) == Some(1);
        assert_eq!(has(&columns.booleans), truth, "{}", value.raw);
    } else if has(&columns.is_text) {
        assert_eq!(value.text(), Some(slice(&columns.texts, row)));
    } else {
        let stored = slice(&columns.jsons, row);
        let document = Document::parse(stored.as_bytes()).expect("what is stored is JSON");
        assert!(value.raw == stored || same(value, &document.root), "{} became {stored}", value.raw);
    }
}

/// Whether a value is stored as it came, but for strings that count as numbers.
fn same(came: &Node<'_>, stored: &Node<'_>) -> bool {
    match (&came.shape, &stored.shape) {
        (Shape::Array(came), Shape::Array(stored)) => {
            came.len() == stored.len() && came.iter().zip(stored).all(|(came, stored)| same(came, stored))
        }
        (Shape::Object(came), Shape::Object(stored)) => {
            let members = came.iter().zip(stored);
            came.len() == stored.len()
                && members.into_iter().all(|(came, stored)| came.0 == stored.0 && same(&came.1, &stored.1))
        }
        _ => came.raw == stored.raw || came.text() == Some(stored.raw),
    }
}

/// A whole number, also one in a string.
fn whole(node: &Node<'_>) -> Option<i64> {
    let token = node.text().unwrap_or(node.raw);
    let digits = token.strip_prefix('-').unwrap_or(token);
    if !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    match Decimal::new(token).to_integer() {
        Integer::Value(value) => Some(value),
        _ => None,
    }
}

fn name<'c>(names: &'c Dictionary, numbers: &[i32], row: usize) -> &'c str {
    slice(names, numbers[row] as usize)
}

fn slice(texts: &Dictionary, at: usize) -> &str {
    let (start, end) = (texts.offsets[at] as usize, texts.offsets[at + 1] as usize);
    std::str::from_utf8(&texts.bytes[start..end]).expect("UTF-8")
}
