//! Properties over generated requests.
//!
//! The oracle is the generator: it plants faults and knows by the contract's order which of them is
//! the first. The judge must find exactly that one, whatever the order of members, the white space
//! and the escapes. JSON is compared with `serde_json`.

#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::sync::LazyLock;

use pointgate_core::json::{self, Integer, Number};
use pointgate_core::{Catalog, Code, ProductSettings, Scratch};
use proptest::prelude::*;
use support::{judge_pk, one_product};

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let model = r#"{"measurepoints":{
        "power":{"dataType":"INT","hasQuality":true,"minimum":0,"maximum":100},
        "temp":{"dataType":"DOUBLE","minimum":-50,"maximum":150},
        "mode":{"dataType":"ENUM","dataDefinition":{"enumType":"STRING","enumDesc":{"auto":1,"manual":2}}},
        "curve":{"dataType":"ARRAY","dataDefinition":{"itemType":"FLOAT","maxSize":3}},
        "state":{"dataType":"STRUCT","dataDefinition":{"items":[
            {"identifier":"on","dataType":"BOOL","required":true},{"identifier":"note","dataType":"STRING"}]}}
    }}"#;
    one_product(model, ProductSettings::default())
});

/// A point of the model as it is written, and the fault it has: reason and the pointer's last part.
#[derive(Clone, Copy, Debug)]
struct Point {
    identifier: &'static str,
    value: &'static str,
    fault: Option<(&'static str, &'static str)>,
}

const fn good(identifier: &'static str, value: &'static str) -> Point {
    Point { identifier, value, fault: None }
}

const fn bad(
    identifier: &'static str,
    value: &'static str,
    reason: &'static str,
    pointer: &'static str,
) -> Point {
    Point { identifier, value, fault: Some((reason, pointer)) }
}

const POINTS: [Point; 27] = [
    good("power", "7"),
    good("power", "7.0"),
    good("power", r#"{"value":1,"quality":9}"#),
    good("power", r#"{ "quality" : 0 , "value" : 100 }"#),
    good("temp", "1.02"),
    good("temp", "-5e1"),
    good("mode", r#""auto""#),
    good("mode", r#""m\u0061nual""#),
    good("curve", "[]"),
    good("curve", "[1, 2.5 ,3e0]"),
    good("state", r#"{"on":true}"#),
    good("state", r#"{"note":"\n","on":0}"#),
    bad("power", "101", "range", ""),
    bad("power", "1.5", "type", ""),
    bad("power", r#"{"quality":10,"value":1}"#, "quality", "/quality"),
    bad("power", r#"{"quality":1}"#, "missing_member", "/value"),
    bad("power", r#"{"value":1,"unit":"W"}"#, "unknown_member", "/unit"),
    bad("power", r#"{"value":1,"value":1}"#, "duplicate", "/value"),
    bad("temp", "null", "type", ""),
    bad("temp", r#"{"value":1}"#, "type", ""),
    bad("temp", "1e400", "range", ""),
    bad("mode", r#""off""#, "enum", ""),
    bad("curve", "[1,2,3,4]", "length", ""),
    bad("curve", r#"[1,"2"]"#, "type", "/1"),
    bad("state", "{}", "missing_member", "/on"),
    bad("state", r#"{"on":true,"note":5}"#, "type", "/note"),
    bad("humidity", "1", "unknown_point", ""),
];

/// One entry: members as text, and its first fault as reason and pointer within the entry.
#[derive(Clone, Debug)]
struct Entry {
    text: String,
    points: u64,
    fault: Option<(&'static str, String)>,
}

/// The first fault among points, in the order of the text.
fn points_fault(points: &[Point]) -> Option<(&'static str, String)> {
    for (at, point) in points.iter().enumerate() {
        let place = format!("/measurepoints/{}", point.identifier);
        if point.identifier != "humidity" && points[..at].iter().any(|p| p.identifier == point.identifier) {
            return Some(("duplicate", place));
        }
        if let Some((reason, rest)) = point.fault {
            return Some((reason, place + rest));
        }
    }
    None
}

/// A way to write a member: its fault, if any, and its text; `None` for an absent member.
type Member = (Option<&'static str>, Option<&'static str>);

const DEVICES: [Member; 5] = [
    (None, Some(r#""device1""#)),
    (None, Some(r#""\u0064evice1""#)),
    (Some("device"), Some(r#""nobody""#)),
    (Some("device"), None),
    (Some("format"), Some("17")),
];
const TIMES: [Member; 6] = [
    (None, None),
    (None, Some("null")),
    (None, Some("1.7e12")),
    (Some("time"), Some("-1")),
    (Some("time"), Some(r#""1700000000000""#)),
    (Some("time"), Some("253402300800000")),
];

fn entry() -> impl Strategy<Value = Entry> {
    // Mostly good points, so that entries without any fault are common.
    let point = prop_oneof![9 => 0..12_usize, 1 => 12..POINTS.len()].prop_map(|index| POINTS[index]);
    let points = prop::collection::vec(point, 0..5);
    let device = prop_oneof![8 => 0..2_usize, 1 => 2..DEVICES.len()];
    let time = prop_oneof![8 => 0..3_usize, 1 => 3..TIMES.len()];
    let repeat = prop::option::weighted(0.05, Just(()));
    (points, device, time, repeat, any::<[u8; 4]>(), "[ \t\n\r]{0,2}").prop_map(
        |(points, device, time, repeat, order, blank)| {
            let body: Vec<_> = points
                .iter()
                .map(|point| format!("{blank}\"{}\"{blank}:{}", point.identifier, point.value))
                .collect();
            let mut members = vec![format!("\"measurepoints\":{{{}{blank}}}", body.join(","))];
            let (device_fault, device_text) = DEVICES[device];
            let (time_fault, time_text) = TIMES[time];
            members.extend(device_text.map(|text| format!("\"deviceKey\":{text}")));
            members.extend(time_text.map(|text| format!("\"t\\u0069me\"{blank}:{blank}{text}")));
            members.push("\"unknown\":[{\"a\":[]},{}]".to_owned());
            if repeat.is_some() {
                members.push("\"measurepoints\":{}".to_owned());
            }
            // Shuffles the members.
            for (at, draw) in order.iter().enumerate() {
                let count = members.len();
                members.swap(at % count, usize::from(*draw) % count);
            }
            let at = |reason: &'static str, place: &str| (reason, place.to_owned());
            let fault = repeat
                .map(|()| at("duplicate", "/measurepoints"))
                .or(device_fault.map(|reason| at(reason, "/deviceKey")))
                .or(points_fault(&points))
                .or(time_fault.map(|reason| at(reason, "/time")));
            Entry { text: format!("{{{}}}", members.join(",")), points: points.len() as u64, fault }
        },
    )
}

/// What stands around the entries, and the fault that it has.
#[derive(Clone, Copy, Debug)]
struct Frame {
    before: &'static str,
    after: &'static str,
    fault: Option<(&'static str, Option<&'static str>)>,
}

const METHOD: &str = r#""method":"integration.measurepoint.post","#;

const FRAMES: [Frame; 6] = [
    Frame { before: r#"{"id":"1","version":"1.0","#, after: "}", fault: None },
    Frame { before: r#"{"version":"1.0","#, after: r#","more":[1],"id":5}"#, fault: None },
    Frame { before: r#"{"version":"1.0","#, after: "", fault: Some(("syntax", None)) },
    Frame {
        before: r#"{"version":1,"#,
        after: r#","method":2}"#,
        fault: Some(("envelope", Some("/version"))),
    },
    Frame { before: "{", after: r#","id":"1"}"#, fault: Some(("envelope", Some("/version"))) },
    Frame {
        before: r#"{"version":"1.0","#,
        after: r#","id":"1","params":[]}"#,
        fault: Some(("envelope", Some("/params"))),
    },
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_first_fault_by_the_contracts_order_is_the_one_reported(
        entries in prop::collection::vec(entry(), 0..4),
        frame in prop_oneof![4 => 0..2_usize, 1 => 2..FRAMES.len()].prop_map(|index| FRAMES[index]),
        other_method in prop::bool::weighted(0.1),
    ) {
        let method = if other_method { r#""method":"thing.measurepoint.post","# } else { METHOD };
        let list: Vec<_> = entries.iter().map(|entry| entry.text.as_str()).collect();
        let payload = format!("{}{method}\"params\":[{}]{}", frame.before, list.join(" , "), frame.after);

        let entry_fault = entries.iter().enumerate().find_map(|(index, entry)| {
            let (reason, place) = entry.fault.clone()?;
            Some((reason, Some(format!("/params/{index}{place}"))))
        });
        let expected = frame.fault.map(|(reason, place)| (reason, place.map(str::to_owned)))
            .or(other_method.then(|| ("method", Some("/method".to_owned()))))
            .or(entry_fault);

        let verdict = judge_pk(&CATALOG, payload.as_bytes(), &mut Scratch::default());
        let found = verdict.fault.as_ref().map(|fault| (fault.reason.name(), fault.pointer()));
        prop_assert_eq!(&found, &expected, "{}", payload);
        let points = if expected.is_none() { entries.iter().map(|entry| entry.points).sum() } else { 0 };
        prop_assert_eq!(verdict.points, points);
    }

    #[test]
    fn scratch_and_what_was_judged_before_change_nothing(
        entries in prop::collection::vec(entry(), 1..6),
    ) {
        let mut scratch = Scratch::default();
        for entry in entries {
            let payload = format!("{{\"version\":\"\",{METHOD}\"params\":{}}}", entry.text);
            let fresh = judge_pk(&CATALOG, payload.as_bytes(), &mut Scratch::default());
            let used = judge_pk(&CATALOG, payload.as_bytes(), &mut scratch);
            prop_assert_eq!(fresh.fault, used.fault);
            prop_assert_eq!(fresh.points, used.points);
        }
    }

    #[test]
    fn any_bytes_get_a_verdict(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let verdict = judge_pk(&CATALOG, &bytes, &mut Scratch::default());
        prop_assert!(matches!(verdict.code(), Code::PayloadFormat | Code::PayloadEmpty));
    }

    #[test]
    fn json_is_accepted_where_serde_json_accepts_it(
        document in r#"[\[\]{}:,"\\0-9.eE+\-a-f \ntruefalsn\u{e9}]{0,40}"#,
    ) {
        compare_with_serde_json(&document)?;
    }

    #[test]
    fn broken_requests_are_refused_where_serde_json_refuses_them(
        entry in entry(), at in any::<prop::sample::Index>(), what in r#"[\[\]{}:,"\\0-9a]{0,2}"#,
    ) {
        let mut document = format!("{{{METHOD}\"params\":[{}]}}", entry.text);
        let at = at.index(document.len());
        if document.is_char_boundary(at) && document.is_char_boundary(at + 1) {
            document.replace_range(at..=at, &what);
            compare_with_serde_json(&document)?;
        }
    }

    #[test]
    fn numbers_have_the_value_that_the_standard_library_gives_them(
        number in r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?",
    ) {
        let read = Number::parse(&number).expect("the grammar's own number");
        prop_assert_eq!(read.to_f64().to_bits(), number.parse::<f64>().expect("a number").to_bits());
        prop_assert_eq!(read.to_f32().to_bits(), number.parse::<f32>().expect("a number").to_bits());
    }

    #[test]
    fn whole_numbers_are_whole_however_they_are_spelled(value in any::<i64>(), places in 0..30_usize) {
        let exact = i128::from(value) * 10_i128.pow(places.min(19) as u32);
        for spelling in [format!("{value}.{}", "0".repeat(places + 1)), format!("{exact}e-{}", places.min(19))] {
            let read = Number::parse(&spelling).map(Number::to_integer);
            prop_assert_eq!(read, Some(Integer::Value(value)), "{}", spelling);
        }
    }
}

fn compare_with_serde_json(document: &str) -> Result<(), TestCaseError> {
    let ours = json::check(document.as_bytes());
    match serde_json::from_str::<serde_json::Value>(document) {
        // Numbers out of range are valid JSON here: the type decides (contract 4).
        Err(error) if error.to_string().contains("out of range") => {}
        theirs => {
            prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?}: {:?} and {:?}", document, ours, theirs);
        }
    }
    Ok(())
}
