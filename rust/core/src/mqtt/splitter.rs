//! The broker's bytes, cut into requests, acknowledgements and packets for the client library.

use std::collections::VecDeque;

use super::wire::{Cursor, FeedError, malformed, variable};
use super::{Protocol, REFUSED, REPLY_IDS, kind, publish};
use crate::burst::{Arrived, Burst};

const REASON_STRING: u8 = 0x1F;
const USER_PROPERTY: u8 = 0x26;

/// The longest packet other than a PUBLISH.
const CONTROL_BYTES: usize = 0x1_0000;

/// The longest SUBACK or UNSUBACK: client libraries create an object for each byte of those.
const ANSWER_BYTES: usize = 0x1000;

/// The length of the shortest packet.
const SHORTEST: usize = 2;

/// The largest burst; a single request may be larger.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a caller that misses a new limit must not compile")]
pub struct BurstLimits {
    /// Number of requests, at least one.
    pub requests: usize,
    /// Their memory in bytes.
    pub bytes: usize,
}

/// A PUBACK of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Acknowledgement {
    /// The packet id of the reply.
    pub packet_id: u16,
    /// The reason code; from [`REFUSED`] on the broker rejected the reply.
    pub reason: u8,
    /// The Reason String of a rejection; empty without one.
    pub explained: String,
}

/// Cuts the bytes of one connection into packets.
///
/// Packets that nobody needs are dropped: PINGRESP, because any byte of the broker proves as much,
/// and acknowledgements of packets that are never sent.
///
/// The output does not depend on where the input is cut. Time is linear in the bytes, however they
/// are cut. Memory is bounded by the packet limit besides what the owner has not taken: the rest of
/// a longer PUBLISH is discarded as it arrives.
#[derive(Debug)]
pub struct Splitter {
    protocol: Protocol,
    frame_limit: usize,
    limits: BurstLimits,
    /// An incomplete packet.
    tail: Vec<u8>,
    /// The length at which parsing `tail` is tried again.
    needed: usize,
    /// Bytes of a truncated packet that have not arrived.
    skip: usize,
    /// Bursts that are as large as they may be, in order, and the one that grows.
    full: VecDeque<Burst>,
    burst: Burst,
    ignores_requests: bool,
    now: f64,
    /// How many requests were completed so far.
    pub requests: usize,
    /// Their memory in bytes.
    pub bytes: usize,
    /// The acknowledged replies; the owner empties it.
    pub acknowledged: Vec<Acknowledgement>,
    /// The packet ids of PUBRELs: our PUBREC of a request has arrived. The owner empties it.
    pub released: Vec<u16>,
    /// Complete packets of every other kind, unchanged; the owner empties it.
    pub control: Vec<u8>,
}

impl Splitter {
    /// A splitter of a new connection.
    ///
    /// A PUBLISH that is longer than `frame_limit` is truncated to this many bytes. If it is
    /// [`HEADER_BYTES`](super::HEADER_BYTES) over [`Limits::payload_bytes`](crate::Limits), the
    /// judge still detects that the payload is too large.
    pub fn new(protocol: Protocol, frame_limit: usize, limits: BurstLimits) -> Self {
        Self {
            protocol,
            frame_limit,
            limits,
            tail: Vec::new(),
            needed: 0,
            skip: 0,
            full: VecDeque::new(),
            burst: Burst::default(),
            ignores_requests: false,
            now: 0.0,
            requests: 0,
            bytes: 0,
            acknowledged: Vec::new(),
            released: Vec::new(),
            control: Vec::new(),
        }
    }

    /// Parses the bytes of one read, which arrived `now` on a clock of the owner's.
    ///
    /// After an error the connection cannot be used further.
    pub fn feed(&mut self, data: &[u8], now: f64) -> Result<(), FeedError> {
        self.now = now;
        let skipped = self.skip.min(data.len());
        self.skip -= skipped;
        let data = &data[skipped..];
        if self.tail.is_empty() {
            let rest = self.cut(data)?;
            self.tail.try_reserve(data.len() - rest)?;
            self.tail.extend_from_slice(&data[rest..]);
            return Ok(());
        }
        self.tail.try_reserve(data.len())?;
        self.tail.extend_from_slice(data);
        if self.tail.len() < self.needed {
            return Ok(());
        }
        let mut data = std::mem::take(&mut self.tail);
        let rest = self.cut(&data)?;
        // The buffer is kept unless it was that of a large packet.
        if data.capacity() <= 2 * CONTROL_BYTES {
            data.drain(..rest);
            self.tail = data;
        } else {
            self.tail = data[rest..].to_vec();
        }
        Ok(())
    }

    /// From now on requests are neither kept nor acknowledged: at QoS 1 they are redelivered.
    pub fn ignore_requests(&mut self) {
        self.ignores_requests = true;
    }

    /// Removes the requests that arrived first, as many as a burst may have.
    pub fn take(&mut self) -> Option<Burst> {
        self.full.pop_front().or_else(|| (!self.burst.is_empty()).then(|| std::mem::take(&mut self.burst)))
    }

    /// Parses every complete packet; returns where the first incomplete one begins.
    fn cut(&mut self, data: &[u8]) -> Result<usize, FeedError> {
        let mut start = 0;
        self.needed = SHORTEST;
        while let Some(&[first, ..]) = data.get(start..).filter(|rest| rest.len() >= SHORTEST) {
            let rest = &data[start..];
            let Some((size, size_bytes)) = variable(&rest[1..])? else {
                self.needed = rest.len() + 1;
                break;
            };
            let (body, stop) = (1 + size_bytes, 1 + size_bytes + size);
            check_size(first, size)?;
            if stop > self.frame_limit {
                let Some(cut) = rest.get(body..self.frame_limit) else {
                    self.needed = self.frame_limit;
                    break;
                };
                self.publish(first, cut, true)?;
                self.skip = stop.saturating_sub(rest.len());
                start += stop.min(rest.len());
                continue;
            }
            let Some(packet) = rest.get(..stop) else {
                self.needed = stop;
                break;
            };
            if first & kind::MASK == kind::PUBLISH {
                self.publish(first, &packet[body..], false)?;
            } else {
                self.other(first, packet, body)?;
            }
            start += stop;
        }
        Ok(start)
    }

    fn publish(&mut self, first: u8, body: &[u8], is_cut: bool) -> Result<(), FeedError> {
        publish::read(first, body, self.protocol, is_cut, |request| self.deliver(request))
    }

    /// Appends a request to the burst that grows, or to a new one if it has no room.
    fn deliver(&mut self, request: &Arrived<'_>) -> Result<(), FeedError> {
        if self.ignores_requests {
            return Ok(());
        }
        let (burst, size) = (&mut self.burst, request.size());
        let has_room = burst.len() < self.limits.requests && burst.size() + size <= self.limits.bytes;
        if !has_room && !burst.is_empty() {
            self.full.push_back(std::mem::take(burst));
        }
        if burst.is_empty() {
            burst.arrived = self.now;
        }
        burst.push(request)?;
        self.requests += 1;
        self.bytes += size;
        Ok(())
    }

    /// Handles a packet that is not a PUBLISH.
    fn other(&mut self, first: u8, packet: &[u8], body: usize) -> Result<(), FeedError> {
        match first {
            kind::PUBACK => {
                let mut cursor = Cursor::new(&packet[body..]);
                let packet_id = packet_id(&mut cursor)?;
                if REPLY_IDS.contains(&packet_id) {
                    // MQTT 5 omits the reason code of a success; 3.1.1 has none.
                    let reason = cursor.byte().unwrap_or(0);
                    let explained = if reason < REFUSED { String::new() } else { reason_string(cursor)? };
                    self.acknowledged.push(Acknowledgement { packet_id, reason, explained });
                }
            }
            kind::PUBREL => self.released.push(packet_id(&mut Cursor::new(&packet[body..]))?),
            kind::PUBREC | kind::PUBCOMP | kind::PINGRESP => {}
            _ => self.control.extend_from_slice(packet),
        }
        Ok(())
    }
}

fn check_size(first: u8, size: usize) -> Result<(), FeedError> {
    let most = match first {
        _ if first & kind::MASK == kind::PUBLISH => return Ok(()),
        kind::SUBACK | kind::UNSUBACK => ANSWER_BYTES,
        _ => CONTROL_BYTES,
    };
    if size > most {
        return malformed(format!("{size} bytes are too many for a packet of its kind"));
    }
    Ok(())
}

fn packet_id(cursor: &mut Cursor<'_>) -> Result<u16, FeedError> {
    cursor.integer().or_else(|_| malformed("an acknowledgement from the broker has no packet id"))
}

/// The Reason String of a PUBACK, whose only other properties are user properties; what is
/// malformed ends the search.
fn reason_string(mut cursor: Cursor<'_>) -> Result<String, FeedError> {
    let size = variable(cursor.rest())?.map_or(0, |(size, bytes)| cursor.take(bytes).map_or(0, |_| size));
    let rest = cursor.rest();
    let mut cursor = Cursor::new(rest.get(..size).unwrap_or(rest));
    while let Ok(kind) = cursor.byte() {
        let Ok(size) = cursor.integer() else { break };
        let value = cursor.take(size.into()).or_else(|_| cursor.take(cursor.rest().len()))?;
        if kind == REASON_STRING {
            return Ok(String::from_utf8_lossy(value).into_owned());
        }
        if kind == USER_PROPERTY && cursor.string().is_err() {
            break;
        }
    }
    Ok(String::new())
}
