//! Public suites: `JSONTestSuite`, UTF-8 cases, naughty strings, and every number of the
//! parse-number data.
//!
//! The data is in `tests/data/public`; `SOURCES.md` there says where it is from.

#![allow(clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;

use flate2::read::GzDecoder;
use pointgate_core::json::{self, Number};
use pointgate_core::{ProductSettings, Reason, Scratch};
use support::{judge_pk, one_product, public_data, repository, with_points};

/// The verdicts on documents for which `JSONTestSuite` allows both.
const FROZEN: &str = "tests/data/json-test-suite-verdicts.txt";

#[test]
fn json_test_suite_is_met() {
    let folder = public_data("json-test-suite/test_parsing");
    let mut counts = BTreeMap::from([('y', 0), ('n', 0), ('i', 0)]);
    let mut frozen = String::new();
    let mut names: Vec<_> =
        fs::read_dir(folder).expect("the suite").map(|e| e.expect("a file").path()).collect();
    names.sort();
    for path in names {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let document = fs::read(&path).expect("a document");
        let accepted = json::check(&document).is_ok();
        let kind = name.chars().next().expect("a kind");
        *counts.get_mut(&kind).expect("y, n or i") += 1;
        match kind {
            'y' => assert!(accepted, "{name} must be accepted"),
            'n' => assert!(!accepted, "{name} must be refused"),
            _ => {
                let verdict = if accepted { "accepted" } else { "refused" };
                let _ = writeln!(frozen, "{verdict} {name}");
            }
        }
    }
    assert_eq!(counts, BTreeMap::from([('y', 95), ('n', 188), ('i', 35)]));
    let expected = fs::read_to_string(repository().join(FROZEN)).expect("the frozen verdicts");
    assert_eq!(frozen, expected, "{FROZEN}");
}

#[test]
fn a_suite_document_judges_as_itself_and_as_a_member() {
    let folder = public_data("json-test-suite/test_parsing");
    let catalog = one_product(r#"{"measurepoints":{"p":{"dataType":"INT"}}}"#, ProductSettings::default());
    let mut scratch = Scratch::default();
    for entry in fs::read_dir(folder).expect("the suite") {
        let document = fs::read(entry.expect("a file").path()).expect("a document");
        let well_formed = json::check(&document).is_ok();
        // The value of an unknown member is skipped, and must be checked as strictly.
        let mut request =
            br#"{"version":"1","method":"integration.measurepoint.post","params":[],"x":"#.to_vec();
        request.extend_from_slice(&document);
        request.push(b'}');
        let verdict = judge_pk(&catalog, &request, &mut scratch);
        let reason = verdict.fault.map(|fault| fault.reason);
        assert_eq!(
            reason,
            (!well_formed).then_some(Reason::Syntax),
            "{}",
            String::from_utf8_lossy(&document)
        );
    }
}

/// One line of the parse-number data: the exact bits, and the text.
struct Line {
    f32_bits: u32,
    f64_bits: u64,
    text: String,
}

/// Every line whose text is a legal JSON number.
fn number_lines() -> Vec<Line> {
    let folder = public_data("number-parsing");
    let mut lines = Vec::new();
    for entry in fs::read_dir(folder).expect("the numbers") {
        let path = entry.expect("a file").path();
        if path.extension().is_none_or(|extension| extension != "gz") {
            continue;
        }
        let mut data = String::new();
        GzDecoder::new(fs::File::open(path).expect("a file")).read_to_string(&mut data).expect("text");
        for line in data.lines() {
            let columns: Vec<_> = line.split(' ').collect();
            let &[_, f32_bits, f64_bits, text] = &columns[..] else { panic!("four columns: {line}") };
            if Number::parse(text).is_some() {
                lines.push(Line {
                    f32_bits: u32::from_str_radix(f32_bits, 16).expect("bits"),
                    f64_bits: u64::from_str_radix(f64_bits, 16).expect("bits"),
                    text: text.to_owned(),
                });
            }
        }
    }
    assert!(lines.len() > 50_000, "only {} legal numbers", lines.len());
    lines
}

#[test]
fn every_number_is_rounded_correctly() {
    for line in number_lines() {
        let number = Number::parse(&line.text).expect("a number");
        assert_eq!(number.to_f64().to_bits(), line.f64_bits, "{} as f64", line.text);
        assert_eq!(number.to_f32().to_bits(), line.f32_bits, "{} as f32", line.text);
    }
}

#[test]
fn every_number_is_bit_exact_through_a_double_point() {
    let mut scratch = Scratch::default();
    for line in number_lines() {
        let value = f64::from_bits(line.f64_bits);
        let request = with_points(&format!(r#"{{"d":{}}}"#, line.text));
        if value.is_infinite() {
            let catalog =
                one_product(r#"{"measurepoints":{"d":{"dataType":"DOUBLE"}}}"#, ProductSettings::default());
            let fault = judge_pk(&catalog, request.as_bytes(), &mut scratch).fault;
            assert_eq!(fault.map(|fault| fault.reason), Some(Reason::Range), "{}", line.text);
            continue;
        }
        // Only this value is within the bounds: adjacent values would be refused.
        let model = format!(
            r#"{{"measurepoints":{{"d":{{"dataType":"DOUBLE","minimum":{value:?},"maximum":{value:?}}}}}}}"#
        );
        let catalog = one_product(&model, ProductSettings::default());
        assert_eq!(judge_pk(&catalog, request.as_bytes(), &mut scratch).fault, None, "{}", line.text);
    }
}

#[test]
fn utf8_cases_are_judged_as_the_standard_library_judges_them() {
    let folder = public_data("utf8-tests");
    let data = fs::read(folder.join("utf8tests.bin")).expect("the cases");
    let mut count = 0;
    for line in data.split(|&byte| byte == b'\n') {
        // `number:bytes`; control characters are removed, because they are a syntax error in
        // themselves.
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let bytes: Vec<u8> = line[colon + 1..].iter().copied().filter(|&byte| byte >= 0x20).collect();
        let bytes: Vec<u8> = bytes.into_iter().filter(|byte| !b"\"\\".contains(byte)).collect();
        let document = [b"\"", &bytes[..], b"\""].concat();
        let expected = std::str::from_utf8(&document).map_err(|error| error.valid_up_to());
        let checked = json::check(&document).map_err(pointgate_core::json::Syntax::offset);
        assert_eq!(checked, expected.map(|_| ()), "{}", String::from_utf8_lossy(line));
        count += 1;
    }
    assert!(count > 200, "only {count} cases");
}

#[test]
fn naughty_strings_are_values_identifiers_and_device_keys_like_any_other() {
    let folder = public_data("naughty-strings");
    let text = fs::read_to_string(folder.join("blns.json")).expect("the strings");
    let strings: Vec<String> = serde_json::from_str(&text).expect("a list of strings");
    let mut scratch = Scratch::default();
    for string in strings {
        let quoted = serde_json::to_string(&string).expect("JSON");
        if !(1..=128).contains(&string.len()) {
            continue;
        }
        let model = format!(r#"{{"measurepoints":{{{quoted}:{{"dataType":"STRING"}}}}}}"#);
        let catalog = one_product(&model, ProductSettings::default());
        let accepted =
            judge_pk(&catalog, with_points(&format!("{{{quoted}:{quoted}}}")).as_bytes(), &mut scratch);
        let has_nul = string.contains('\0');
        assert_eq!(accepted.fault.map(|fault| fault.reason), has_nul.then_some(Reason::Type), "{quoted}");

        let refused = judge_pk(&catalog, with_points(&format!("{{{quoted}:1}}")).as_bytes(), &mut scratch);
        let fault = refused.fault.expect("a number is no string");
        assert_eq!(fault.identifier.as_deref(), Some(string.as_str()));
        let pointer = format!("/params/0/measurepoints/{}", string.replace('~', "~0").replace('/', "~1"));
        assert_eq!(fault.pointer(), Some(pointer));
    }
}
