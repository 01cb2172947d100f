//! The packets of MQTT 3.1.1 and 5 that are frequent: PUBLISH and its acknowledgements.
//!
//! | file | content |
//! | --- | --- |
//! | `splitter` | [`Splitter`]: the broker's bytes, cut into requests and acknowledgements |
//! | `publish` | one PUBLISH of the broker, with its properties |
//! | `replies` | [`Replies`]: replies and acknowledgements as bytes; packet ids; the window |
//! | `load` | [`Load`]: the requests of a load generator, and the check of their replies |
//! | `latencies` | [`Latencies`]: a histogram of their latencies |
//! | `wire` | integers and strings as MQTT writes them |
//!
//! Connecting, subscribing and pings are left to a client library: [`Splitter::control`].
//!
//! No I/O and no clock.

mod latencies;
mod load;
mod publish;
mod replies;
mod splitter;
mod wire;

pub use latencies::Latencies;
pub use load::{ID_DIGITS, Load, Plan, TIME_DIGITS, Tally, Template};
pub use replies::{Replies, Written, push_pubcomp};
pub use splitter::{Acknowledgement, BurstLimits, Splitter};
pub use wire::FeedError;

/// The packet ids of replies; those of the client library, for SUBSCRIBE, start at 1 and stay
/// below.
pub const REPLY_IDS: std::ops::RangeInclusive<u16> = 0x8000..=0xFFFF;

/// More than the header of a PUBLISH without properties: the longest topic is 64 KiB.
pub const HEADER_BYTES: usize = 0x2_0000;

/// The topic of a request whose own is unknown: no product has it.
pub const NO_TOPIC: &str = "\u{fffd}";

/// MQTT 5 reason codes from here on are errors.
pub const REFUSED: u8 = 0x80;

/// A level of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a caller chooses one of all")]
pub enum Protocol {
    /// MQTT 3.1.1, level 4 on the wire.
    V3,
    /// MQTT 5: packets have properties.
    V5,
}

/// The upper half of a packet's first byte.
mod kind {
    pub(super) const PUBLISH: u8 = 0x30;
    pub(super) const PUBACK: u8 = 0x40;
    pub(super) const PUBREC: u8 = 0x50;
    pub(super) const PUBREL: u8 = 0x62;
    pub(super) const PUBCOMP: u8 = 0x70;
    pub(super) const SUBACK: u8 = 0x90;
    pub(super) const UNSUBACK: u8 = 0xB0;
    pub(super) const PINGRESP: u8 = 0xD0;
    pub(super) const MASK: u8 = 0xF0;
}

const CORRELATION: u8 = 0x09;
