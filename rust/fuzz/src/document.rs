//! A JSON document as `serde_json` reads it, with repeated members, order, number tokens and
//! offsets.
//!
//! `serde_json::Value` drops repeated members and refuses numbers beyond f64. So the document is
//! read level by level as raw values, each of which is a slice of the text and therefore has an
//! offset.

use std::fmt;

use pointgate_core::json::{MAX_DEPTH, MAX_NUMBER};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A document within the limits of contract 4.
pub struct Document<'a> {
    text: &'a str,
    /// Its value.
    pub root: Node<'a>,
}

/// A value and the text it was read from.
pub struct Node<'a> {
    /// Its text in the document.
    pub raw: &'a str,
    /// What it is.
    pub shape: Shape<'a>,
}

/// What a value is.
pub enum Shape<'a> {
    /// Members in their order, with repeated ones; names are decoded.
    Object(Vec<(String, Node<'a>)>),
    /// Elements.
    Array(Vec<Node<'a>>),
    /// Decoded.
    Text(String),
    /// Its token is the node's text.
    Number,
    /// `true`, `false` or `null`.
    Literal,
}

impl<'a> Document<'a> {
    /// Reads a document; `None` if it is not JSON, or exceeds the limits.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let root = read(serde_json::from_str(text).ok()?, 1)?;
        Some(Self { text, root })
    }

    /// The value an RFC 6901 pointer leads to; of repeated members the first.
    pub fn resolve(&self, pointer: &str) -> Option<&Node<'a>> {
        let mut node = &self.root;
        for segment in pointer.split('/').skip(1) {
            let segment = segment.replace("~1", "/").replace("~0", "~");
            node = match &node.shape {
                Shape::Object(_) => node.member(&segment)?,
                Shape::Array(elements) => elements.get(segment.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(node)
    }

    /// Where a value begins, in bytes.
    pub fn offset(&self, node: &Node<'_>) -> usize {
        node.raw.as_ptr() as usize - self.text.as_ptr() as usize
    }
}

impl<'a> Node<'a> {
    /// The first member of this name.
    pub fn member(&self, name: &str) -> Option<&Node<'a>> {
        let Shape::Object(members) = &self.shape else {
            return None;
        };
        members.iter().find(|(member, _)| member == name).map(|(_, node)| node)
    }

    /// A string's text.
    pub fn text(&self) -> Option<&str> {
        match &self.shape {
            Shape::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Calls `visit` with the token of every number.
    pub fn numbers(&self, visit: &mut impl FnMut(&'a str)) {
        match &self.shape {
            Shape::Object(members) => members.iter().for_each(|(_, node)| node.numbers(visit)),
            Shape::Array(elements) => elements.iter().for_each(|node| node.numbers(visit)),
            Shape::Number => visit(self.raw),
            Shape::Text(_) | Shape::Literal => {}
        }
    }
}

fn read(raw: &RawValue, depth: u32) -> Option<Node<'_>> {
    let raw = raw.get();
    let shape = match raw.as_bytes().first()? {
        b'{' | b'[' if depth > MAX_DEPTH => return None,
        b'{' => {
            let Members(members) = serde_json::from_str(raw).ok()?;
            let member = |(name, raw)| Some((name, read(raw, depth + 1)?));
            Shape::Object(members.into_iter().map(member).collect::<Option<_>>()?)
        }
        b'[' => {
            let elements: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
            Shape::Array(elements.into_iter().map(|raw| read(raw, depth + 1)).collect::<Option<_>>()?)
        }
        b'"' => Shape::Text(serde_json::from_str(raw).ok()?),
        b't' | b'f' | b'n' => Shape::Literal,
        _ if raw.len() > MAX_NUMBER => return None,
        _ => Shape::Number,
    };
    Some(Node { raw, shape })
}

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}
