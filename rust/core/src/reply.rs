//! Verdicts as reply bytes (contract 2).

use std::fmt::Write as _;

use crate::display::{cut, shown};
use crate::fault::{Code, Fault, Segment};
use crate::json::{push_string, push_string_within};
use crate::verdict::Verdict;

/// How detailed the reply to a refused request is (`reply.detail`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Detail {
    /// With the fault: a sentence for people and fields for programs.
    #[default]
    Full,
    /// With the fault, and as many further ones as fit ([`render_all`]).
    All,
    /// Only the code and its documented text.
    None,
}

/// Maximum size of a reply without its id (contract 2.6). The limits of message and `expected`
/// guarantee it: whatever the payload contains, they and `deviceKey` fit if everything else is left
/// out.
const MAX_REPLY: usize = 1024;
const AROUND_ID: usize = r#"{"id":,"#.len();
const AROUND_FAULTS: usize = r#","faults":[]"#.len();
const MORE: &str = r#","moreFaults":true"#;
const MAX_MESSAGE: usize = 300;
const MAX_EXPECTED: usize = 200;

/// Number of members of `data` that can be left out: `didYouMean`, `got`, `identifier`, `pointer`
/// (contract 2.6).
const DISPENSABLE: usize = 4;

/// Appends the reply to a request with this verdict; appends nothing for a bad topic.
pub fn render(verdict: &Verdict, payload: &[u8], detail: Detail, reply: &mut Vec<u8>) {
    if verdict.code() == Code::BadTopic {
        return;
    }
    reply.push(b'{');
    if let Some(id) = verdict.id.clone().and_then(|token| payload.get(token)) {
        reply.extend_from_slice(b"\"id\":");
        reply.extend_from_slice(id);
        reply.push(b',');
    }
    let Some(fault) = &verdict.fault else {
        reply.extend_from_slice(b"\"code\":200,\"data\":{}}");
        return;
    };
    // A pointer that cannot fit is not rendered; then the members before it are left out, too.
    let least = if fault.pointer_is_longer_than(MAX_REPLY) { DISPENSABLE } else { 0 };
    let mut bodies = (least..=DISPENSABLE).map(|left_out| body(fault, detail, left_out));
    let fitting = bodies.find(|body| AROUND_ID + body.len() <= MAX_REPLY);
    let Some(fitting) = fitting else { unreachable!("a reply without its dispensable members always fits") };
    reply.extend_from_slice(fitting.as_bytes());
}

/// Appends the reply to a request with this verdict, with as many further faults as fit (contract 2.8).
/// `more`: there are others besides these.
pub fn render_all(verdict: &Verdict, further: &[Fault], more: bool, payload: &[u8], reply: &mut Vec<u8>) {
    let start = reply.len();
    render(verdict, payload, Detail::All, reply);
    let id = verdict.id.as_ref().map_or(0, |id| AROUND_ID + id.len());
    if further.is_empty() || !reply.ends_with(b"}}") {
        return;
    }
    let most = start + MAX_REPLY - AROUND_ID + id;
    let (mut listed, mut count) = (String::new(), 0);
    for fault in further {
        let entry = further_fault(fault);
        if reply.len() + AROUND_FAULTS + MORE.len() + listed.len() + entry.len() > most {
            break;
        }
        listed.push_str(&entry);
        count += 1;
    }
    let is_cut = more || count < further.len();
    if count == 0 && reply.len() + MORE.len() > most {
        return;
    }
    reply.truncate(reply.len() - 2);
    if count > 0 {
        listed.pop();
        reply.extend_from_slice(format!(",\"faults\":[{listed}]").as_bytes());
    }
    if is_cut {
        reply.extend_from_slice(MORE.as_bytes());
    }
    reply.extend_from_slice(b"}}");
}

/// A further fault, with a comma behind it.
#[cold]
fn further_fault(fault: &Fault) -> String {
    let mut entry = String::from("{");
    let mut member = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            let _ = write!(entry, "\"{name}\":");
            push_string_within(&mut entry, value, MAX_EXPECTED);
            entry.push(',');
        }
    };
    let pointer = if fault.pointer_is_longer_than(MAX_EXPECTED) { None } else { fault.pointer() };
    member("pointer", pointer.filter(|pointer| pointer.len() <= MAX_EXPECTED).as_deref());
    member("reason", Some(fault.reason.name()));
    member("expected", fault.expected.as_deref());
    member("got", fault.got.as_deref());
    entry.pop();
    entry.push_str("},");
    entry
}

/// The reply behind the id, without the first `left_out` members that can be left out.
#[cold]
fn body(fault: &Fault, detail: Detail, left_out: usize) -> String {
    let code = fault.code();
    let mut body = format!("\"code\":{},\"message\":", code.number());
    if detail == Detail::None {
        push_string(&mut body, code.text());
        body.push_str(",\"data\":{}}");
        return body;
    }
    push_string_within(&mut body, &message(fault), MAX_MESSAGE);
    body.push_str(",\"data\":{");
    if let Some(index) = fault.index {
        let _ = write!(body, "\"index\":{index},");
    }
    let mut member = |name: &str, value: Option<&str>, limit: usize| {
        if let Some(value) = value {
            let _ = write!(body, "\"{name}\":");
            push_string_within(&mut body, value, limit);
            body.push(',');
        }
    };
    let keep = |dispensable: usize| left_out < dispensable;
    let pointer = if keep(4) { fault.pointer() } else { None };
    let identifier = fault.identifier.as_deref().filter(|_| keep(3)).map(cut);
    let device_key = fault.device_key.as_deref().map(cut);
    member("deviceKey", device_key.as_deref(), usize::MAX);
    member("identifier", identifier.as_deref(), usize::MAX);
    member("pointer", pointer.as_deref(), usize::MAX);
    member("reason", Some(fault.reason.name()), usize::MAX);
    member("expected", fault.expected.as_deref(), MAX_EXPECTED);
    member("got", fault.got.as_deref().filter(|_| keep(2)), usize::MAX);
    member("didYouMean", fault.did_you_mean.as_deref().filter(|_| keep(1)), usize::MAX);
    body.pop();
    body.push_str("}}");
    body
}

/// The sentence of a refused request (contract 2.4): the code's documented text, path, expected and
/// got.
pub fn message(fault: &Fault) -> String {
    let mut message = fault.code().text().to_owned();
    if fault.reason == crate::Reason::Syntax {
        let _ = write!(message, ": byte {}", fault.offset);
    }
    let path = path(fault);
    if !path.is_empty() {
        let _ = write!(message, ": {path}");
    }
    if let Some(expected) = &fault.expected {
        let _ = write!(message, ": expected {expected}");
    }
    if let Some(got) = fault.got_in_message.as_deref().or(fault.got.as_deref()) {
        let _ = write!(message, ", got {got}");
    }
    if let Some(meant) = &fault.did_you_mean {
        let _ = write!(message, "; did you mean \"{}\"?", shown(meant));
    }
    message
}

/// The path as `params[1].measurepoints.temp`.
fn path(fault: &Fault) -> String {
    let mut path = String::new();
    for segment in fault.segments() {
        let _ = match segment {
            Segment::Index(index) => write!(path, "[{index}]"),
            Segment::Name(name) if is_plain(name) => {
                write!(path, "{}{name}", if path.is_empty() { "" } else { "." })
            }
            Segment::Name(name) => write!(path, "[\"{}\"]", shown(name)),
        };
    }
    path
}

fn is_plain(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}
