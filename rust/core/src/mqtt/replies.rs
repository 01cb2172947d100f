//! Replies and acknowledgements as bytes: packet ids, and the window of replies in flight.

use super::wire::{push_variable, variable_size};
use super::{CORRELATION, Protocol, REPLY_IDS, kind};
use crate::burst::{Arrived, Burst, Delivery};

const QOS_1: u8 = 0x02;
const TOPIC_SUFFIX: &str = "_reply";

/// The number of packet ids of replies.
const IDS: usize = (*REPLY_IDS.end() - *REPLY_IDS.start()) as usize + 1;

/// The replies of one connection.
///
/// No two unacknowledged replies have the same packet id while one is free. A reply over the
/// broker's Maximum Packet Size is reported, not written: the broker would close the connection,
/// and the request would be redelivered indefinitely.
///
/// A broker that ignores our Receive Maximum sends its whole backlog before the first PUBACK.
/// Replies then outnumber packet ids, and that of the oldest unacknowledged reply is reused: at QoS
/// 1 a receiver stores no state by packet id.
#[derive(Debug)]
pub struct Replies {
    protocol: Protocol,
    /// The QoS of every reply; `None` for each request's own.
    qos: Option<u8>,
    best_qos: u8,
    window: usize,
    packet_limit: Option<usize>,
    /// By packet id: how many unacknowledged replies have it.
    open: Vec<u32>,
    /// How many packet ids have any.
    taken: usize,
    unacknowledged: usize,
    next: usize,
}

/// What [`Replies::write`] has written.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Written {
    /// The place in the burst of the first request that was not settled.
    pub end: usize,
    /// The sizes of the replies that exceed the broker's Maximum Packet Size.
    pub too_large: Vec<usize>,
    /// For each request where its reply and where its acknowledgement ends in the output.
    pub ends: Vec<(usize, usize)>,
}

impl Replies {
    /// The replies of a new connection, with the window of a broker that does not say its own.
    pub fn new(protocol: Protocol, qos: Option<u8>, window: usize) -> Self {
        let open = vec![0; IDS];
        let (taken, unacknowledged, next) = (0, 0, 0);
        Self { protocol, qos, best_qos: 1, window, packet_limit: None, open, taken, unacknowledged, next }
    }

    /// The broker's limits, from its CONNACK.
    pub fn allow(&mut self, window: usize, best_qos: u8, packet_limit: Option<usize>) {
        (self.window, self.best_qos, self.packet_limit) = (window, best_qos, packet_limit);
    }

    /// Whether no reply at QoS 1 may be sent before the broker acknowledges one.
    pub fn window_is_full(&self) -> bool {
        self.unacknowledged >= self.window
    }

    /// The broker's limit of a packet, in bytes.
    pub fn packet_limit(&self) -> Option<usize> {
        self.packet_limit
    }

    /// How many replies the broker has not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.unacknowledged
    }

    /// Whether the reply to the request at this place must wait for the window.
    pub fn must_wait(&self, burst: &Burst, place: usize) -> bool {
        let waits = |request: Arrived<'_>| self.qos(request.delivery.qos) > 0;
        self.window_is_full() && burst.reply(place).is_some() && burst.get(place).is_some_and(waits)
    }

    /// The QoS of the reply to a request (contract 1.6).
    fn qos(&self, of_request: u8) -> u8 {
        self.qos.unwrap_or(of_request).min(self.best_qos)
    }

    /// Handles a PUBACK; returns whether it is of a reply of this connection.
    pub fn acknowledge(&mut self, packet_id: u16) -> bool {
        let place = usize::from(packet_id).checked_sub(usize::from(*REPLY_IDS.start()));
        let Some(replies) = place.and_then(|place| self.open.get_mut(place)) else { return false };
        if *replies == 0 {
            return false;
        }
        *replies -= 1;
        self.taken -= usize::from(*replies == 0);
        self.unacknowledged -= 1;
        true
    }

    /// Writes the reply of each request and then its acknowledgement, in order: at least those of
    /// the request at `start`, then until a reply must wait.
    pub fn write(&mut self, burst: &Burst, start: usize, to: &mut Vec<u8>) -> Written {
        let mut written = Written { end: start, ..Written::default() };
        while let Some(request) = burst.get(written.end) {
            if written.end > start && self.must_wait(burst, written.end) {
                break;
            }
            if let Some(payload) = burst.reply(written.end) {
                written.too_large.extend(self.reply(&request, payload, to).err());
            }
            let reply_end = to.len();
            acknowledge(request.delivery, to);
            written.ends.push((reply_end, to.len()));
            written.end += 1;
        }
        written
    }

    /// Writes the PUBLISH of a reply, which is not retained. If it is too large, returns its size.
    fn reply(&mut self, request: &Arrived<'_>, payload: &[u8], to: &mut Vec<u8>) -> Result<(), usize> {
        let Delivery { qos, correlation, .. } = request.delivery;
        let packet_id = (self.qos(qos) > 0).then(|| self.free_id());
        let correlation = correlation.map(|data| (data, 3 + data.len()));
        let properties = match (self.protocol, correlation) {
            (Protocol::V3, _) => 0,
            (Protocol::V5, None) => 1,
            (Protocol::V5, Some((_, size))) => variable_size(size) + size,
        };
        let topic = request.topic.len() + TOPIC_SUFFIX.len();
        let size = 2 + topic + 2 * usize::from(packet_id.is_some()) + properties + payload.len();
        let frame = 1 + variable_size(size) + size;
        if self.packet_limit.is_some_and(|most| frame > most) {
            return Err(frame);
        }
        to.push(if packet_id.is_some() { kind::PUBLISH | QOS_1 } else { kind::PUBLISH });
        push_variable(size, to);
        push_string_size(topic, to);
        to.extend_from_slice(request.topic.as_bytes());
        to.extend_from_slice(TOPIC_SUFFIX.as_bytes());
        if let Some(place) = packet_id {
            to.extend_from_slice(&(REPLY_IDS.start() + place as u16).to_be_bytes());
            self.taken += usize::from(self.open[place] == 0);
            self.open[place] += 1;
            self.unacknowledged += 1;
        }
        match (self.protocol, correlation) {
            (Protocol::V3, _) => {}
            (Protocol::V5, None) => to.push(0),
            (Protocol::V5, Some((data, size))) => {
                push_variable(size, to);
                to.push(CORRELATION);
                push_string_size(data.len(), to);
                to.extend_from_slice(data);
            }
        }
        to.extend_from_slice(payload);
        Ok(())
    }

    /// The place of the next packet id that no unacknowledged reply has; if there is none, of the
    /// oldest one.
    fn free_id(&mut self) -> usize {
        loop {
            let place = self.next;
            self.next = (place + 1) % IDS;
            if self.open[place] == 0 || self.taken == IDS {
                return place;
            }
        }
    }
}

/// Two bytes: no topic that is answered and no Correlation Data is longer than they can say.
fn push_string_size(size: usize, to: &mut Vec<u8>) {
    to.extend_from_slice(&(size as u16).to_be_bytes());
}

/// Writes the acknowledgement of a request: PUBACK, at QoS 2 PUBREC.
pub(super) fn acknowledge(delivery: Delivery<'_>, to: &mut Vec<u8>) {
    if delivery.packet_id > 0 {
        to.push(if delivery.qos == 1 { kind::PUBACK } else { kind::PUBREC });
        to.push(2);
        to.extend_from_slice(&delivery.packet_id.to_be_bytes());
    }
}

/// Writes the PUBCOMP that answers a PUBREL.
pub fn push_pubcomp(packet_id: u16, to: &mut Vec<u8>) {
    to.extend_from_slice(&[kind::PUBCOMP, 2]);
    to.extend_from_slice(&packet_id.to_be_bytes());
}
