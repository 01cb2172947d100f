//! The contract's cases (`tests/data/cases/*.toml`), each naming its section; Python runs the same
//! files.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod support;

use std::fs;

use pointgate_core::{
    Catalog, Code, Detail, Limits, Points, Request, Scratch, Verdict, answered_faults, judge, render,
    tolerate,
};
use serde::Deserialize;
use support::{NOW_MS, catalog, repository};

#[derive(Deserialize)]
struct CaseFile {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    section: String,
    #[serde(default = "default_product")]
    product: String,
    topic: Option<String>,
    payload: Option<String>,
    payload_hex: Option<String>,
    parts: Option<Vec<(String, usize)>>,
    payload_bytes: Option<usize>,
    now_ms: Option<i64>,
    code: u16,
    reason: Option<String>,
    pointer: Option<String>,
    index: Option<usize>,
    device_key: Option<String>,
    identifier: Option<String>,
    #[serde(default)]
    points: u64,
    offset: Option<usize>,
    did_you_mean: Option<String>,
    reply: Option<String>,
    reply_id: Option<String>,
    answer: Option<u16>,
    answer_pointer: Option<String>,
    #[serde(default)]
    answer_points: u64,
    #[serde(default)]
    skipped: u64,
}

fn default_product() -> String {
    "types".to_owned()
}

impl Case {
    fn payload(&self) -> Vec<u8> {
        if let Some(hex) = &self.payload_hex {
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
            return (0..hex.len()).step_by(2).map(byte).collect();
        }
        if let Some(parts) = &self.parts {
            return parts.iter().map(|(text, count)| text.repeat(*count)).collect::<String>().into_bytes();
        }
        self.payload.clone().expect("a payload").into_bytes()
    }

    /// The differences from the case, one on each line.
    fn differences(&self, catalog: &Catalog, scratch: &mut Scratch) -> Vec<String> {
        let payload = self.payload();
        let topic = self.topic.clone();
        let topic = topic.unwrap_or_else(|| format!("sys/{}/integration/measurepoint/post", self.product));
        let limits =
            self.payload_bytes.map_or_else(Limits::default, |payload_bytes| Limits { payload_bytes });
        let now_ms = self.now_ms.unwrap_or(NOW_MS);
        let request = Request::new(&topic, &payload, now_ms);
        let verdict = judge(catalog, &limits, &request, scratch);
        let mut reply = Vec::new();
        render(&verdict, &payload, Detail::Full, &mut reply);
        let reply = String::from_utf8(reply).expect("a reply is UTF-8");

        let mut differences = Vec::new();
        let mut same = |what: &str, expected: String, got: String| {
            if expected != got {
                differences.push(format!("    {what}: expected {expected}, got {got}"));
            }
        };
        let fault = verdict.fault.as_deref();
        same("code", self.code.to_string(), verdict.code().number().to_string());
        same("points", self.points.to_string(), verdict.points.to_string());
        let text = |value: Option<&str>| format!("{value:?}");
        same("reason", text(self.reason.as_deref()), text(fault.map(|fault| fault.reason.name())));
        let pointer = fault.and_then(pointgate_core::Fault::pointer);
        same("pointer", text(self.pointer.as_deref()), text(pointer.as_deref()));
        same("index", format!("{:?}", self.index), format!("{:?}", fault.and_then(|fault| fault.index)));
        let device_key = fault.and_then(|fault| fault.device_key.as_deref());
        same("device_key", text(self.device_key.as_deref()), text(device_key));
        let identifier = fault.and_then(|fault| fault.identifier.as_deref());
        same("identifier", text(self.identifier.as_deref()), text(identifier));
        if self.did_you_mean.is_some() {
            let meant = fault.and_then(|fault| fault.did_you_mean.as_deref());
            same("did_you_mean", text(self.did_you_mean.as_deref()), text(meant));
        }
        if let Some(offset) = self.offset {
            same("offset", offset.to_string(), fault.map_or(String::new(), |f| f.offset.to_string()));
        }
        if let Some(expected) = &self.reply {
            same("reply", expected.clone(), reply.clone());
        }
        let id = verdict.id.clone().map_or("", |token| std::str::from_utf8(&payload[token]).unwrap());
        if let Some(expected) = &self.reply_id {
            same("reply_id", expected.clone(), id.to_owned());
        }
        if verdict.code() == Code::BadTopic {
            same("reply", String::new(), reply);
        } else {
            check_reply(&reply, id, &mut same);
        }
        self.check_answer(catalog, limits, &request, &verdict, &mut same);
        differences
    }

    /// Checks the answer by the product's mode (contract 11).
    fn check_answer(
        &self,
        catalog: &Catalog,
        limits: Limits,
        request: &Request<'_>,
        verdict: &Verdict,
        same: &mut impl FnMut(&str, String, String),
    ) {
        let (mut points, mut scratch) = (Points::default(), Scratch::default());
        let answer = verdict
            .fault
            .as_ref()
            .and_then(|fault| tolerate(catalog, &limits, request, fault, &mut scratch, &mut points));
        let Some((answer, skipped)) = answer else {
            return same("answer", format!("{:?}", self.answer), "None".to_owned());
        };
        same("answer", format!("{:?}", self.answer), format!("{:?}", Some(answer.code().number())));
        let pointer = answer.fault.as_ref().and_then(|fault| fault.pointer());
        same("answer's pointer", format!("{:?}", self.answer_pointer), format!("{pointer:?}"));
        same("answer's points", self.answer_points.to_string(), answer.points.to_string());
        same("collected points", self.answer_points.to_string(), points.len().to_string());
        if answer.code() == Code::Ok {
            same("skipped points", self.skipped.to_string(), skipped.to_string());
        } else {
            let (faults, _) = answered_faults(catalog, &limits, request, &mut scratch, 16);
            same(
                "the first of the answered faults",
                format!("{:?}", answer.fault.as_deref()),
                format!("{:?}", faults.first()),
            );
        }
    }
}

/// Checks what every reply must satisfy (contract 2).
fn check_reply(reply: &str, id: &str, same: &mut impl FnMut(&str, String, String)) {
    let fits = reply.len() <= 1024 + id.len();
    same("reply of at most 1 KiB and the id", true.to_string(), fits.to_string());
    // The id can be a number that serde_json cannot represent: it is compared as text and removed.
    let id = if id.is_empty() { String::new() } else { format!(r#""id":{id},"#) };
    same("the reply's beginning", format!("{{{id}"), reply.get(..=id.len()).unwrap_or(reply).to_owned());
    let rest = format!("{{{}", reply.get(id.len() + 1..).unwrap_or_default());
    let value: serde_json::Value = serde_json::from_str(&rest).expect("a reply is JSON");
    same("data is an object", true.to_string(), value["data"].is_object().to_string());
    same("code is an integer", true.to_string(), value["code"].is_u64().to_string());
}

#[test]
fn every_case_gets_its_verdict() {
    // Devices of a large table are looked up in another way.
    let catalogs = [catalog(0), catalog(60_000)];
    let mut scratch = Scratch::default();
    let mut paths: Vec<_> = fs::read_dir(repository().join("tests/data/cases"))
        .expect("the cases")
        .map(|entry| entry.expect("a file").path())
        .collect();
    paths.sort();
    let (mut count, mut failures) = (0, Vec::new());
    for path in paths {
        let text = fs::read_to_string(&path).expect("UTF-8");
        let file: CaseFile =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for case in file.case {
            count += 1;
            let differences: Vec<_> =
                catalogs.iter().flat_map(|catalog| case.differences(catalog, &mut scratch)).collect();
            if !differences.is_empty() {
                let file = path.file_name().expect("a name").to_string_lossy();
                failures.push(format!(
                    "{file}: {} ({})\n{}",
                    case.name,
                    case.section,
                    differences.join("\n")
                ));
            }
        }
    }
    assert!(count >= 400, "only {count} cases");
    assert!(failures.is_empty(), "{} of {count} cases differ:\n{}", failures.len(), failures.join("\n"));
}
