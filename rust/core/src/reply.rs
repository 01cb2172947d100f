//! Verdicts as reply bytes (contract 2).

use std::fmt::Write as _;

use crate::display::{cut, shown};
use crate::request::Verdict;
use crate::verdict::{Code, Fault, Segment};

/// How much a failure's reply tells (`reply.detail`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// The fault, for people and for programs.
    #[default]
    Full,
    /// The code and its documented text.
    None,
}

/// The longest reply without its id (contract 2.6), and the shares in it that make sure of that: whatever
/// the payload held, message, `deviceKey` and `expected` fit when everything else is left out.
const MAX_REPLY: usize = 1024;
const AROUND_ID: usize = r#"{"id":,"#.len();
const MAX_MESSAGE: usize = 300;
const MAX_EXPECTED: usize = 200;

/// The four members of `data` that a reply can do without, in the order of contract 2.6.
const DISPENSABLE: usize = 4;

/// Appends the reply to a request with this verdict; nothing for a bad topic.
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
    // A pointer that never fits makes everything before it dispensable at once.
    let least = if fault.pointer_is_longer_than(MAX_REPLY) { DISPENSABLE } else { 0 };
    let mut bodies = (least..=DISPENSABLE).map(|left_out| body(fault, detail, left_out));
    let fitting = bodies.find(|body| AROUND_ID + body.len() <= MAX_REPLY);
    debug_assert!(fitting.is_some(), "a reply without its dispensable members always fits");
    reply.extend_from_slice(fitting.unwrap_or_default().as_bytes());
}

/// Everything behind the id, with the first `left_out` dispensable members left out.
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

/// The sentence of a failure (contract 2.4): the code's documented text, where, expected and got.
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
    if let Some(got) = fault.said.as_deref().or(fault.got.as_deref()) {
        let _ = write!(message, ", got {got}");
    }
    if let Some(meant) = &fault.did_you_mean {
        let _ = write!(message, "; did you mean \"{}\"?", shown(meant));
    }
    message
}

/// `params[1].measurepoints.temp`
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

/// Appends `text` as a JSON string.
pub(crate) fn push_string(json: &mut String, text: &str) {
    push_string_within(json, text, usize::MAX);
}

/// Appends `text` as a JSON string of at most `limit` bytes, cut between characters with a mark.
fn push_string_within(json: &mut String, text: &str, limit: usize) {
    const MARK: &str = "…";
    let room = limit.saturating_sub(2);
    json.push('"');
    let start = json.len();
    // Where the string can still be cut so that the mark fits.
    let mut cut_at = start;
    for character in text.chars() {
        if json.len() - start + MARK.len() <= room {
            cut_at = json.len();
        }
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            ' '..='~' => json.push(character),
            _ if character.escape_debug().len() == 1 => json.push(character),
            // Nothing invisible goes out raw: replies end up in logs and on terminals.
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(json, "\\u{unit:04x}");
                }
            }
        }
        if json.len() - start > room {
            json.truncate(cut_at);
            json.push_str(MARK);
            break;
        }
    }
    json.push('"');
}
