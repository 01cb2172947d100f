//! The codes of replies (contract 3). Which one wins is decided in `request.rs`.

/// The code of a reply; its discriminant is the number on the wire (contract 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[non_exhaustive]
pub enum Code {
    /// A topic that is not served: no reply (contract 1.3).
    BadTopic = 0,
    /// Every point was accepted.
    Ok = 200,
    /// The payload is over `limits.payload_bytes`.
    TooLarge = 1008,
    /// A value, an entry or a time is not valid for the model.
    ModelValidateFailed = 1204,
    /// The payload is not one JSON document, or its envelope is not that of the protocol.
    PayloadFormat = 1220,
    /// The payload has no bytes.
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

    /// The documented text of the code; messages begin with it (contract 2.4).
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
