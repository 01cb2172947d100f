//! One fault: its reason, its path in the payload, what was expected and what came (contract 2.5,
//! 2.7).
//!
//! A [`Fault`] is created without a path where the fault is detected. Each caller on the way out
//! appends the path segment that it knows ([`Fault::inside`]), so a request that is accepted pays
//! nothing for paths.

use std::borrow::Cow;

use crate::display::{quoted, shown};

use super::{Code, Reason};

/// One step of a path into the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Segment {
    /// A member, by its decoded name.
    Name(String),
    /// An element, from 0.
    Index(usize),
}

impl From<&str> for Segment {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<usize> for Segment {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// Why a request was not accepted, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The kind of fault.
    pub reason: Reason,
    /// Byte offset in the payload; the payload's length if it ends too early.
    pub offset: usize,
    /// The entry's index in `params`; 0 if `params` is one object.
    pub index: Option<usize>,
    /// The entry's decoded device key.
    pub device_key: Option<String>,
    /// The point's identifier, for faults inside `measurepoints`.
    pub identifier: Option<String>,
    /// What the model, the protocol or JSON requires.
    pub expected: Option<Cow<'static, str>>,
    /// What came instead: a JSON type for `type`, `format` and `envelope` faults, else the value,
    /// escaped and truncated.
    pub got: Option<Cow<'static, str>>,
    /// `got` as the message shows it, if that is more: a string in its quotes, a type with its
    /// value.
    pub got_in_message: Option<String>,
    /// The identifier that was probably meant.
    pub did_you_mean: Option<String>,
    /// Path in the payload, innermost segment first; `None` if the fault concerns no place of the
    /// document.
    pub path: Option<Vec<Segment>>,
}

impl Fault {
    /// A fault that concerns no place of the document.
    #[cold]
    pub fn without_place(reason: Reason, offset: usize) -> Box<Self> {
        Box::new(Self {
            reason,
            offset,
            index: None,
            device_key: None,
            identifier: None,
            expected: None,
            got: None,
            got_in_message: None,
            did_you_mean: None,
            path: None,
        })
    }

    /// A fault whose path the callers add, segment by segment.
    #[cold]
    pub(crate) fn here(reason: Reason, offset: usize) -> Box<Self> {
        let mut fault = Self::without_place(reason, offset);
        fault.path = Some(Vec::new());
        fault
    }

    /// The fault with this offset.
    pub(crate) fn at(mut self: Box<Self>, offset: usize) -> Box<Self> {
        self.offset = offset;
        self
    }

    pub(crate) fn expected(mut self: Box<Self>, expected: impl Into<Cow<'static, str>>) -> Box<Self> {
        self.expected = Some(expected.into());
        self
    }

    pub(crate) fn got(mut self: Box<Self>, got: impl Into<Cow<'static, str>>) -> Box<Self> {
        self.got = Some(got.into());
        self
    }

    /// Sets a string as `got`; in the message it has quotes.
    pub(crate) fn got_text(mut self: Box<Self>, text: &str) -> Box<Self> {
        self.got_in_message = Some(quoted(text));
        self.got(shown(text))
    }

    pub(crate) fn got_in_message(mut self: Box<Self>, got: Option<String>) -> Box<Self> {
        self.got_in_message = got;
        self
    }

    pub(crate) fn inside(mut self: Box<Self>, segment: impl Into<Segment>) -> Box<Self> {
        if let Some(path) = &mut self.path {
            path.push(segment.into());
        }
        self
    }

    /// The RFC 6901 pointer, whole (contract 2.7).
    pub fn pointer(&self) -> Option<String> {
        let path = self.path.as_ref()?;
        let mut pointer = String::new();
        for segment in path.iter().rev() {
            pointer.push('/');
            match segment {
                Segment::Index(index) => pointer.push_str(&index.to_string()),
                Segment::Name(name) if !name.contains(['~', '/']) => pointer.push_str(name),
                Segment::Name(name) => pointer.push_str(&name.replace('~', "~0").replace('/', "~1")),
            }
        }
        Some(pointer)
    }

    /// Whether the fault is a null in place of a value, with this path so far.
    pub(crate) fn is_null(&self, path: &[Segment]) -> bool {
        let is_there = self.path.as_ref().is_some_and(|own| own == path);
        is_there && self.reason == Reason::Type && self.got.as_deref() == Some("null")
    }

    /// Whether the pointer is certainly longer than `length`; it is not built for that.
    pub(crate) fn pointer_is_longer_than(&self, length: usize) -> bool {
        self.segments().any(|segment| matches!(segment, Segment::Name(name) if name.len() > length))
    }

    /// The path segments, outermost first.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.path.iter().flat_map(|path| path.iter().rev())
    }

    /// The code that this fault gives the request.
    pub fn code(&self) -> Code {
        self.reason.code()
    }
}
