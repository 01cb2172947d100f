//! What a request gets: a code, and for every code but 200 the first fault (contract 2.5 and 3).
//!
//! A [`Fault`] is built where the fault is found, without its place; each layer that it passes on
//! its way out adds the path segment it knows ([`Fault::inside`]). Success pays nothing for that.

use std::borrow::Cow;

use crate::display::{quoted, shown};

/// The answer to a request. The number is what the reply carries (contract 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Code {
    /// A topic that is not served: no reply (contract 1.3).
    BadTopic = 0,
    /// Every point was accepted.
    Ok = 200,
    /// The payload is over `limits.payload_bytes`.
    TooLarge = 1008,
    /// A value, an entry or a time is not as the model demands.
    ModelValidateFailed = 1204,
    /// Not one JSON document, or not the envelope of this protocol.
    PayloadFormat = 1220,
    /// Zero bytes.
    PayloadEmpty = 1251,
    /// The device is not in the product's device table, or the product is not in the catalog.
    DeviceNotFound = 1257,
    /// `method` names another method.
    MethodsNotConsistent = 1260,
}

impl Code {
    /// Every code, in ascending order.
    pub const ALL: [Self; 8] = [
        Self::BadTopic,
        Self::Ok,
        Self::TooLarge,
        Self::ModelValidateFailed,
        Self::PayloadFormat,
        Self::PayloadEmpty,
        Self::DeviceNotFound,
        Self::MethodsNotConsistent,
    ];

    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The documented text of the code, with which every failure's message begins (contract 2.4).
    pub const fn text(self) -> &'static str {
        match self {
            Self::BadTopic => "Bad topic",
            Self::Ok => "OK",
            Self::TooLarge => "Msg size is too large, discard the message",
            Self::ModelValidateFailed => "Model validate failed",
            Self::PayloadFormat => "Payload format error",
            Self::PayloadEmpty => "Payload is empty",
            Self::DeviceNotFound => "Device not found",
            Self::MethodsNotConsistent => "Methods not consistent",
        }
    }
}

/// Why a request is not accepted: the closed list of contract 2.5, also the metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The topic or its product key is not of the served form.
    BadTopic,
    /// The payload is over the limit.
    TooLarge,
    /// The payload has no bytes.
    Empty,
    /// The payload is not JSON.
    Syntax,
    /// A member of the request is missing, repeated or of another type.
    Envelope,
    /// Another method.
    Method,
    /// No such device, or no such product.
    Device,
    /// An entry, its `deviceKey` or its `measurepoints` is of another JSON type.
    Format,
    /// The model has no such identifier.
    UnknownPoint,
    /// A value of another type.
    Type,
    /// A number outside the type or the model's bounds.
    Range,
    /// A string or array that is too long.
    Length,
    /// Not one of the enumeration's keys.
    Enum,
    /// Not a real date in a known form.
    Date,
    /// A required member is missing.
    MissingMember,
    /// A member that the model lacks.
    UnknownMember,
    /// The same name twice.
    Duplicate,
    /// Not a quality of 0 to 9.
    Quality,
    /// Not a time, or one outside the product's window.
    Time,
}

impl Reason {
    /// Every reason, in the order of contract 2.5.
    pub const ALL: [Self; 19] = [
        Self::BadTopic,
        Self::TooLarge,
        Self::Empty,
        Self::Syntax,
        Self::Envelope,
        Self::Method,
        Self::Device,
        Self::Format,
        Self::UnknownPoint,
        Self::Type,
        Self::Range,
        Self::Length,
        Self::Enum,
        Self::Date,
        Self::MissingMember,
        Self::UnknownMember,
        Self::Duplicate,
        Self::Quality,
        Self::Time,
    ];

    /// The name in replies and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadTopic => "bad_topic",
            Self::TooLarge => "too_large",
            Self::Empty => "empty",
            Self::Syntax => "syntax",
            Self::Envelope => "envelope",
            Self::Method => "method",
            Self::Device => "device",
            Self::Format => "format",
            Self::UnknownPoint => "unknown_point",
            Self::Type => "type",
            Self::Range => "range",
            Self::Length => "length",
            Self::Enum => "enum",
            Self::Date => "date",
            Self::MissingMember => "missing_member",
            Self::UnknownMember => "unknown_member",
            Self::Duplicate => "duplicate",
            Self::Quality => "quality",
            Self::Time => "time",
        }
    }

    /// The code that a fault of this reason gets (contract 3).
    pub const fn code(self) -> Code {
        match self {
            Self::BadTopic => Code::BadTopic,
            Self::TooLarge => Code::TooLarge,
            Self::Empty => Code::PayloadEmpty,
            Self::Syntax | Self::Envelope => Code::PayloadFormat,
            Self::Method => Code::MethodsNotConsistent,
            Self::Device => Code::DeviceNotFound,
            _ => Code::ModelValidateFailed,
        }
    }
}

/// One step of a path into the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
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
pub struct Fault {
    /// The kind of fault.
    pub reason: Reason,
    /// The byte of the payload where it stands; the payload's length for a sudden end.
    pub offset: usize,
    /// The entry's index in `params`; 0 when `params` is one object.
    pub index: Option<usize>,
    /// The entry's decoded device key.
    pub device_key: Option<String>,
    /// The point's identifier, for faults inside `measurepoints`.
    pub identifier: Option<String>,
    /// What the model, the protocol or JSON asks for.
    pub expected: Option<Cow<'static, str>>,
    /// What came: a JSON type for `type`, `format` and `envelope` faults, else the value, cut and escaped.
    pub got: Option<Cow<'static, str>>,
    /// What the message says came, where that is more than `got`: a string in its quotes, a type with its value.
    pub(crate) said: Option<String>,
    /// The identifier that was probably meant.
    pub did_you_mean: Option<String>,
    /// Innermost segment first; `None` where a pointer does not apply.
    path: Option<Vec<Segment>>,
}

impl Fault {
    /// A fault that concerns no place in the document.
    #[cold]
    pub(crate) fn without_place(reason: Reason, offset: usize) -> Box<Self> {
        Box::new(Self {
            reason,
            offset,
            index: None,
            device_key: None,
            identifier: None,
            expected: None,
            got: None,
            said: None,
            did_you_mean: None,
            path: None,
        })
    }

    /// A fault at the place that the callers will add, segment by segment.
    #[cold]
    pub(crate) fn here(reason: Reason, offset: usize) -> Box<Self> {
        let mut fault = Self::without_place(reason, offset);
        fault.path = Some(Vec::new());
        fault
    }

    /// The fault at this byte.
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

    /// A string came: shown, and in the message in its quotes.
    pub(crate) fn got_text(mut self: Box<Self>, text: &str) -> Box<Self> {
        self.said = Some(quoted(text));
        self.got(shown(text))
    }

    pub(crate) fn said(mut self: Box<Self>, said: Option<String>) -> Box<Self> {
        self.said = said;
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

    /// Whether null came where a value should be, this path from the point.
    pub(crate) fn is_null(&self, path: &[Segment]) -> bool {
        let is_there = self.path.as_ref().is_some_and(|own| own == path);
        is_there && self.reason == Reason::Type && self.got.as_deref() == Some("null")
    }

    /// Whether the pointer is surely longer than that, found without building it.
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

/// What a check found instead of a value it could accept: either the payload is not JSON here, or
/// it is JSON that the model refuses.
#[derive(Debug)]
pub(crate) enum Stop {
    Syntax(crate::json::Syntax),
    Fault(Box<Fault>),
    /// No fault: the point has no value and is passed over; the cursor stands behind it. Its entry goes on from the place.
    NullPoint {
        place: usize,
    },
}

impl Stop {
    /// Adds the place to a model fault; a syntax fault has none.
    #[cold]
    pub(crate) fn inside(self, segment: impl Into<Segment>) -> Self {
        match self {
            Self::Fault(fault) => Self::Fault(fault.inside(segment)),
            other => other,
        }
    }
}

impl From<crate::json::Syntax> for Stop {
    fn from(syntax: crate::json::Syntax) -> Self {
        Self::Syntax(syntax)
    }
}

impl From<Box<Fault>> for Stop {
    fn from(fault: Box<Fault>) -> Self {
        Self::Fault(fault)
    }
}
