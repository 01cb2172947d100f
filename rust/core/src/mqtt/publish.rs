//! One PUBLISH of the broker: a request (MQTT 5, 3.3).

use std::borrow::Cow;

use super::wire::{Cursor, FeedError, malformed};
use super::{CORRELATION, NO_TOPIC, Protocol};
use crate::burst::{Arrived, Delivery};

const RETAIN: u8 = 0x01;

/// The user property of a replayed request: when it first arrived (contract 3.5).
const RECEIVED: &[u8] = b"pointgate-received";
const INSTANT_DIGITS: usize = 18;

/// The last microsecond of the year 9999.
const MAX_INSTANT: i64 = 253_402_300_799_999_999;

/// Reads a PUBLISH and hands the request to `deliver`.
///
/// `body` is what stands behind the length; if the packet was truncated (`is_cut`), its beginning.
pub(super) fn read(
    first: u8,
    body: &[u8],
    protocol: Protocol,
    is_cut: bool,
    deliver: impl FnOnce(&Arrived<'_>) -> Result<(), FeedError>,
) -> Result<(), FeedError> {
    let mut cursor = Cursor::new(body);
    // A topic that is not UTF-8 gets U+FFFD, which no product key has: it is a bad topic, without a
    // reply.
    let mut topic = String::from_utf8_lossy(cursor.string()?);
    let qos = first >> 1 & 3;
    if qos == 3 {
        return malformed("a PUBLISH from the broker has QoS 3");
    }
    let packet_id = if qos == 0 { 0 } else { cursor.integer()? };
    let mut properties = Properties::default();
    if protocol == Protocol::V5 {
        match Properties::read(&mut cursor) {
            Ok(read) => properties = read,
            // The properties alone exceed the limit, which senders of this protocol do not cause. If
            // the connection were ended, the packet would be redelivered forever.
            Err(_) if is_cut => (topic, cursor) = (Cow::Borrowed(NO_TOPIC), Cursor::new(&[])),
            Err(malformed) => return Err(malformed),
        }
    }
    deliver(&Arrived {
        topic: &topic,
        payload: cursor.rest(),
        stale: first & RETAIN != 0,
        observed_us: properties.observed_us,
        delivery: Delivery { qos, packet_id, correlation: properties.correlation },
    })
}

/// What is used of the properties of a PUBLISH.
#[derive(Default)]
struct Properties<'a> {
    correlation: Option<&'a [u8]>,
    observed_us: Option<i64>,
}

impl<'a> Properties<'a> {
    fn read(cursor: &mut Cursor<'a>) -> Result<Self, FeedError> {
        let size = cursor.variable()?;
        let mut rest = Cursor::new(cursor.take(size)?);
        let mut found = Self::default();
        while !rest.is_empty() {
            // Every property that a PUBLISH can have (MQTT 5, 3.3.2.3).
            match rest.byte()? {
                // Payload Format Indicator, Message Expiry Interval.
                0x01 => drop(rest.take(1)?),
                0x02 => drop(rest.take(4)?),
                // Content Type; Response Topic is never used: that of the reply follows from the
                // request's.
                0x03 | 0x08 => drop(rest.string()?),
                CORRELATION => found.correlation = Some(rest.string()?),
                // Subscription Identifier.
                0x0B => drop(rest.variable()?),
                // Topic Alias. We allow none; if a broker uses one, the topic is a bad topic.
                0x23 => drop(rest.take(2)?),
                // User Property.
                0x26 => {
                    let (name, value) = (rest.string()?, rest.string()?);
                    if name == RECEIVED {
                        found.observed_us = instant(value).or(found.observed_us);
                    }
                }
                kind => {
                    return malformed(format!("a PUBLISH from the broker has the unknown property {kind}"));
                }
            }
        }
        Ok(found)
    }
}

/// UTC microseconds in decimal digits; `None` for anything else, which is ignored.
fn instant(text: &[u8]) -> Option<i64> {
    let is_instant = text.len() <= INSTANT_DIGITS && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| is_instant)?;
    text.parse().ok().filter(|&instant| instant <= MAX_INSTANT)
}
