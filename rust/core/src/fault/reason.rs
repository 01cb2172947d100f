//! The reasons of faults (contract 2.5), and the code that each of them gives a request (contract
//! 3).

use super::Code;

/// Why a request is not accepted: the closed list of contract 2.5, also the metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The topic or its product key has another form than those served.
    BadTopic,
    /// The payload is over the limit.
    TooLarge,
    /// The payload has no bytes.
    Empty,
    /// The payload is not JSON.
    Syntax,
    /// A member of the request is missing, repeated or of another type.
    Envelope,
    /// `method` is another one.
    Method,
    /// The device or the product is unknown.
    Device,
    /// An entry, its `deviceKey` or its `measurepoints` is of another JSON type.
    Format,
    /// The model has no such identifier.
    UnknownPoint,
    /// The value has another type.
    Type,
    /// The value is outside the range of its type or the bounds of the model.
    Range,
    /// The string or array is too long.
    Length,
    /// The value is not a key of the enumeration.
    Enum,
    /// The string is not a date of the calendar in a known form.
    Date,
    /// A required member is missing.
    MissingMember,
    /// The model has no such member.
    UnknownMember,
    /// The name occurs twice.
    Duplicate,
    /// The quality is not a number from 0 to 9.
    Quality,
    /// The time is not valid, or outside the product's window.
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

    /// The code of a request with this reason (contract 3).
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
