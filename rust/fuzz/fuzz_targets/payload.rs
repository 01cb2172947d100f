//! Any bytes as a payload of the product that the first byte selects.
//!
//! Checks what holds for every verdict and reply (contract 2 and 3), and what a second JSON reader
//! finds at the fault's pointer. Whether the verdict is the right one is checked by `tests/oracle`.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pointgate_core::{
    Code, Detail, Fault, Limits, Points, Reason, Request, Scratch, Verdict, answered_faults, collect, json,
    judge, render, tolerate,
};
use pointgate_fuzz::{CATALOG, Document, NOW_MS, Node, PRODUCT_KEYS, Shape, check_rows, linear};
use serde_json::Value;

/// How much of a payload over the limit is searched for an id (contract 2.3).
const ID_PREFIX: usize = 4096;
const MAX_ID: usize = 256;
const MAX_REPLY: usize = 1024;

/// A request that most products accept.
const BEFORE: &[u8] = br#"{"version":"1","method":"integration.measurepoint.post","params":[
    {"deviceKey":"device1","measurepoints":{"temp":1.5,"Power":{"quality":1,"value":2}},"time":7}]}"#;

/// A scratch that was used for every product.
static USED: LazyLock<Scratch> = LazyLock::new(|| {
    let mut scratch = Scratch::default();
    let payload = br#"{"version":"1","method":"integration.measurepoint.post","params":[
        {"deviceKey":"device1","measurepoints":{"temp":1,"Power":{"quality":1,"value":2},"branchCurr":["1"]}},
        {"deviceKey":"device1","measurepoints":{"struct":{"label":"\u0061","count":1},"int":7,"\u0062ool":true}}]}"#;
    for product_key in PRODUCT_KEYS.iter() {
        run(product_key, payload, Limits::default(), &mut scratch);
    }
    scratch
});

fuzz_target!(|data: &[u8]| {
    let Some((&first, payload)) = data.split_first() else {
        return;
    };
    let product_key = &PRODUCT_KEYS[usize::from(first) % PRODUCT_KEYS.len()];
    let limits = Limits::default();
    let verdict = linear(payload.len(), || run(product_key, payload, limits, &mut Scratch::default()));

    let mut used = USED.clone();
    for _ in 0..2 {
        same(&verdict, &run(product_key, payload, limits, &mut used), payload);
    }
    check_reply(&verdict, payload);
    check_syntax(&verdict, payload);
    check_id(&verdict, product_key, payload);
    check_collected(&verdict, product_key, payload);
    check_answer(&verdict, product_key, payload);
    if let Some(document) = Document::parse(payload) {
        check_place(&verdict, &document, payload);
        check_points(&verdict, &document);
    }
});

fn run(product_key: &str, payload: &[u8], limits: Limits, scratch: &mut Scratch) -> Verdict {
    let topic = format!("sys/{product_key}/integration/measurepoint/post");
    judge(&CATALOG, &limits, &Request::new(&topic, payload, NOW_MS), scratch)
}

fn reply(verdict: &Verdict, payload: &[u8], detail: Detail) -> String {
    let mut reply = Vec::new();
    render(verdict, payload, detail, &mut reply);
    String::from_utf8(reply).expect("a reply is UTF-8")
}

fn same(verdict: &Verdict, again: &Verdict, payload: &[u8]) {
    assert_eq!(verdict.fault, again.fault);
    assert_eq!((verdict.points, &verdict.id), (again.points, &again.id));
    assert_eq!(reply(verdict, payload, Detail::Full), reply(again, payload, Detail::Full));
}

/// Contract 2.1 to 2.6.
fn check_reply(verdict: &Verdict, payload: &[u8]) {
    let code = verdict.code();
    let id = verdict.id.clone().map_or("", |id| std::str::from_utf8(&payload[id]).expect("an id is UTF-8"));
    let beginning = if id.is_empty() { "{".to_owned() } else { format!("{{\"id\":{id},") };
    for detail in [Detail::Full, Detail::None] {
        let reply = reply(verdict, payload, detail);
        assert!(reply.len() <= MAX_REPLY + id.len(), "{} bytes: {reply}", reply.len());
        let rest = reply.strip_prefix(&beginning).expect("the id first");
        let rest: Value = serde_json::from_str(&format!("{{{rest}")).expect("a reply is JSON");
        assert_eq!(rest["code"].as_u64(), Some(u64::from(code.number())));
        let data = rest["data"].as_object().expect("data is an object");
        let Some(fault) = &verdict.fault else {
            assert_eq!(reply, format!("{beginning}\"code\":200,\"data\":{{}}}}"));
            continue;
        };
        let message = rest["message"].as_str().expect("message is a string");
        assert!(message.starts_with(code.text()), "{message}");
        if detail == Detail::None {
            assert_eq!((message, data.len()), (code.text(), 0));
            continue;
        }
        assert_eq!(data["reason"].as_str(), Some(fault.reason.name()));
        assert_eq!(data.get("index").and_then(Value::as_u64), fault.index.map(|index| index as u64));
        if let Some(pointer) = data.get("pointer") {
            assert_eq!(pointer.as_str(), fault.pointer().as_deref());
        }
        if let Some(got) = data.get("got").and_then(Value::as_str) {
            assert!(!got.contains(char::is_control), "{got:?}");
        }
        assert!(!message.contains(char::is_control), "{message:?}");
    }
}

/// Contract 3: a syntax error has precedence, and the plain JSON reader finds the same one.
fn check_syntax(verdict: &Verdict, payload: &[u8]) {
    let fault = verdict.fault.as_deref();
    assert!(verdict.points == 0 || fault.is_none());
    let reason = fault.map(|fault| fault.reason);
    assert!(!matches!(reason, Some(Reason::BadTopic | Reason::TooLarge)));
    assert_eq!(reason == Some(Reason::Empty), payload.is_empty());
    let Some(fault) = fault else {
        return json::check(payload).expect("what is accepted is JSON");
    };
    assert!(fault.offset <= payload.len());
    let expected = match fault.reason {
        Reason::Empty => Code::PayloadEmpty,
        Reason::Syntax | Reason::Envelope => Code::PayloadFormat,
        Reason::Method => Code::MethodsNotConsistent,
        Reason::Device => Code::DeviceNotFound,
        _ => Code::ModelValidateFailed,
    };
    assert_eq!(verdict.code(), expected);
    if payload.is_empty() {
        return;
    }
    let syntax = json::check(payload).err().map(json::Syntax::offset);
    assert_eq!((fault.reason == Reason::Syntax).then_some(fault.offset), syntax, "{fault:?}");
}

/// Collecting gives the same verdict; an accepted request's points are the document's, and a
/// rejected one leaves the points of the one before it as they were.
fn check_collected(verdict: &Verdict, product_key: &str, payload: &[u8]) {
    let topic = format!("sys/{product_key}/integration/measurepoint/post");
    let mut points = Points::default();
    let mut collected = |payload| {
        let request = Request::new(&topic, payload, NOW_MS);
        collect(&CATALOG, &Limits::default(), &request, &mut Scratch::default(), &mut points)
    };
    let before = collected(BEFORE).points as usize;
    same(verdict, &collected(payload), payload);
    collected(b"{\"params\":[]");
    let rows = points.len() - before;
    assert_eq!(rows as u64, verdict.points);
    let Some(columns) = points.into_columns().next() else {
        return;
    };
    let document = Document::parse(BEFORE).expect("JSON");
    if verdict.fault.is_none() {
        let document = Document::parse(payload).expect("what is accepted is JSON");
        check_rows(&columns, before, rows, &document, NOW_MS);
    } else if before > 0 {
        check_rows(&columns, 0, before, &document, NOW_MS);
    }
}

/// Contract 11: a mode skips what is faulty, or rejects the request for the first fault that it does
/// not skip.
fn check_answer(verdict: &Verdict, product_key: &str, payload: &[u8]) {
    let Some(fault) = &verdict.fault else { return };
    let topic = format!("sys/{product_key}/integration/measurepoint/post");
    let request = Request::new(&topic, payload, NOW_MS);
    let (limits, mut scratch, mut points) = (Limits::default(), Scratch::default(), Points::default());
    collect(&CATALOG, &limits, &Request::new(&topic, BEFORE, NOW_MS), &mut scratch, &mut points);
    let before = points.len() as u64;
    let answer = tolerate(&CATALOG, &limits, &request, fault, &mut scratch, &mut points);
    let is_enforced = !product_key.starts_with("mode-");
    assert_eq!(answer.is_none(), is_enforced || fault.index.is_none());
    let Some((answer, skipped)) = answer else { return };
    assert_eq!(points.len() as u64, before + answer.points);
    assert_eq!(answer.id, verdict.id);
    check_reply(&answer, payload);
    match answer.fault {
        None => assert!(skipped > 0 || product_key.starts_with("mode-shadow")),
        Some(fault) => {
            assert!(product_key.starts_with("mode-lenient") && fault.identifier.is_none());
            let (faults, _) = answered_faults(&CATALOG, &limits, &request, &mut scratch, 1);
            assert_eq!(faults.first(), Some(&*fault));
        }
    }
}

/// Contract 2.3: the id is echoed if the payload breaks behind it or is too large to be read.
fn check_id(verdict: &Verdict, product_key: &str, payload: &[u8]) {
    let cut = |payload: &[u8], payload_bytes| {
        let verdict = run(product_key, payload, Limits { payload_bytes }, &mut Scratch::default());
        check_reply(&verdict, payload);
        verdict
    };
    if !payload.is_empty() {
        let large = cut(payload, payload.len() - 1);
        assert_eq!(large.code(), Code::TooLarge);
        let near = verdict.id.clone().filter(|id| id.end < ID_PREFIX);
        assert!(large.id == near || large.id == verdict.id, "{:?} and {:?}", large.id, verdict.id);
    }
    if let Some(id) = &verdict.id {
        assert!((1..=MAX_ID).contains(&id.len()));
        let number = payload[id.start] != b'"';
        let broken = &payload[..id.end + usize::from(number)];
        let broken = cut(broken, usize::MAX);
        assert_eq!(broken.id, verdict.id);
    }
}

/// Contract 2.7: the pointer leads to the value that stands at the offset, or to where a missing
/// one would be.
fn check_place(verdict: &Verdict, document: &Document<'_>, payload: &[u8]) {
    let first = document.root.member("id").filter(|id| matches!(id.shape, Shape::Number | Shape::Text(_)));
    let first = first.filter(|id| id.raw.len() <= MAX_ID);
    let first = first.map(|id| document.offset(id)..document.offset(id) + id.raw.len());
    assert_eq!(verdict.id, first, "id");

    let Some(fault) = &verdict.fault else {
        return;
    };
    let Some(pointer) = fault.pointer() else {
        let unknown_product = fault.reason == Reason::Device && fault.index.is_none();
        assert!(unknown_product, "no pointer: {fault:?}");
        return;
    };
    let parent = pointer.rsplit_once('/').and_then(|(parent, _)| document.resolve(parent));
    let begins = |node: &Node<'_>| document.offset(node);
    let ends = |node: &Node<'_>| document.offset(node) + node.raw.len();
    let inside = |node: &Node<'_>| begins(node) < fault.offset && fault.offset < ends(node);
    let Some(node) = document.resolve(&pointer) else {
        assert!(may_be_missing(fault), "{pointer} leads nowhere: {fault:?}");
        let parent = parent.unwrap_or_else(|| panic!("the parent of {pointer} is not there: {fault:?}"));
        assert!(matches!(parent.shape, Shape::Object(_)));
        assert_eq!(fault.offset, ends(parent) - 1, "{pointer}: a missing member is missing at the brace");
        return;
    };
    let again = fault.reason == Reason::Duplicate
        || fault.reason == Reason::Envelope && fault.got.as_deref() == Some("the member again");
    match fault.reason {
        Reason::MissingMember => panic!("{pointer} is not missing: {fault:?}"),
        Reason::UnknownPoint | Reason::UnknownMember => {
            let name = &payload[fault.offset..begins(node)];
            let name = name.trim_ascii_end().strip_suffix(b":").map(<[u8]>::trim_ascii_end);
            let name: Option<String> = name.and_then(|name| serde_json::from_slice(name).ok());
            assert!(name.is_some_and(|name| pointer.ends_with(&escaped(&name))), "{fault:?}");
        }
        _ if again => {
            assert!(parent.is_some_and(inside) && payload[fault.offset] == b'"', "{fault:?}");
            assert!(fault.offset >= ends(node), "{pointer}: the second, not the first: {fault:?}");
        }
        Reason::Length if matches!(node.shape, Shape::Array(_)) => assert!(inside(node), "{fault:?}"),
        _ => assert_eq!(fault.offset, begins(node), "{pointer}: {fault:?}"),
    }
    if let Some(index) = fault.index {
        let entry = document.root.member("params").expect("params");
        let within = match &entry.shape {
            Shape::Array(_) => pointer.starts_with(&format!("/params/{index}")),
            _ => index == 0,
        };
        assert!(within, "{pointer} is not in entry {index}");
    }
    if let Some(identifier) = &fault.identifier {
        assert!(pointer.contains(&format!("/measurepoints/{}", escaped(identifier))), "{fault:?}");
    }
}

fn may_be_missing(fault: &Fault) -> bool {
    fault.reason == Reason::MissingMember
        || matches!(fault.reason, Reason::Device | Reason::Format | Reason::Envelope)
            && matches!(fault.got.as_deref(), Some("no such member" | "no deviceKey"))
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// No more points are accepted than came.
fn check_points(verdict: &Verdict, document: &Document<'_>) {
    let count = |entry: &Node<'_>| match entry.member("measurepoints").map(|points| &points.shape) {
        Some(Shape::Object(points)) => points.len() as u64,
        _ => 0,
    };
    let came: u64 = match document.root.member("params").map(|params| (params, &params.shape)) {
        Some((_, Shape::Array(entries))) => entries.iter().map(count).sum(),
        Some((entry, _)) => count(entry),
        None => 0,
    };
    assert!(verdict.points <= came, "{} points of {came}", verdict.points);
}
