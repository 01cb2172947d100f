//! A burst: requests that arrived together, from their bytes to their replies.
//!
//! ```text
//! push             a request: its texts are appended to shared buffers, of which it has ranges
//! stamp            an arrival instant for each request that is judged (contract 3.5)
//! judge            the verdict of one request, and its reply, appended to a shared buffer
//! withdraw         no reply after all: the store permanently rejected its points
//! reply            what is sent
//! ```
//!
//! A service handles requests by the hundred; an object for each would cost more than judging it.

use std::collections::TryReserveError;
use std::ops::Range;

use crate::fault::Fault;
use crate::request::Request;
use crate::verdict::Verdict;

/// The memory of a request without its contents: its entry, verdict and reply.
const ENTRY_BYTES: usize = 256;

/// One request as it arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a caller that misses a new member must not compile")]
pub struct Arrived<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its payload.
    pub payload: &'a [u8],
    /// Whether it is acknowledged without being judged: a stored message that the source delivers
    /// to every new subscriber (contract 1.5).
    pub retained: bool,
    /// When it first arrived, UTC microseconds, if it is a replay that states this (contract 3.5).
    pub observed_us: Option<i64>,
    /// How it is acknowledged and answered.
    pub delivery: Delivery<'a>,
}

/// What MQTT needs to acknowledge a request and to answer it; another source leaves it empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a caller that misses a new member must not compile")]
pub struct Delivery<'a> {
    /// 0, 1 or, in a session that another program created, 2.
    pub qos: u8,
    /// The packet id of its acknowledgement; 0 at QoS 0.
    pub packet_id: u16,
    /// MQTT 5 Correlation Data to echo, if present (contract 1.2).
    pub correlation: Option<&'a [u8]>,
}

impl Arrived<'_> {
    /// Its memory in bytes, for every limit in bytes.
    pub fn size(&self) -> usize {
        let correlation = self.delivery.correlation.map_or(0, <[u8]>::len);
        self.topic.len() + self.payload.len() + correlation + ENTRY_BYTES
    }
}

/// Requests in the order of arrival, and what became of them.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Burst {
    /// When the first request arrived, on a clock of the owner's.
    pub arrived: f64,
    topics: String,
    /// Payloads and Correlation Data.
    bytes: Vec<u8>,
    replies: Vec<u8>,
    requests: Vec<Entry>,
    outcomes: Vec<Outcome>,
    /// By ascending place; products that are enforced have none.
    shadowed: Vec<(usize, Shadowed)>,
    size: usize,
    payload_bytes: usize,
    fresh: usize,
    first_us: i64,
    now_ms: i64,
}

#[derive(Clone, Debug)]
struct Entry {
    topic: Range<usize>,
    payload: Range<usize>,
    correlation: Option<Range<usize>>,
    observed_us: Option<i64>,
    packet_id: u16,
    qos: u8,
    retained: bool,
    /// How many requests before it are judged.
    place: usize,
}

/// What became of a request: by default it has neither a verdict nor a reply.
#[derive(Debug, Default)]
struct Outcome {
    verdict: Option<Verdict>,
    reply: Option<Range<usize>>,
    is_withdrawn: bool,
}

/// A request that was answered 200 because its product's mode skips faults (contract 11).
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "a caller that misses a new member must not compile")]
pub struct Shadowed {
    /// Why it would have been rejected.
    pub fault: Box<Fault>,
    /// Number of points that were not stored.
    pub skipped: u64,
}

impl Burst {
    /// Appends a request, unless the allocation for its contents fails.
    pub fn push(&mut self, request: &Arrived<'_>) -> Result<(), TryReserveError> {
        let Delivery { qos, packet_id, correlation } = request.delivery;
        self.bytes.try_reserve(request.payload.len() + correlation.map_or(0, <[u8]>::len))?;
        self.size += request.size();
        self.payload_bytes += request.payload.len();
        self.requests.push(Entry {
            topic: append(&mut self.topics, |topics| topics.push_str(request.topic), String::len),
            payload: append_bytes(&mut self.bytes, request.payload),
            correlation: correlation.map(|data| append_bytes(&mut self.bytes, data)),
            observed_us: request.observed_us,
            packet_id,
            qos,
            retained: request.retained,
            place: self.fresh,
        });
        self.outcomes.push(Outcome::default());
        self.fresh += usize::from(!request.retained);
        Ok(())
    }

    /// Number of requests.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Their memory in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Number of requests that are judged: those that are not retained.
    pub fn fresh(&self) -> usize {
        self.fresh
    }

    /// The size of all payloads.
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// The size of the payloads from `start` to `end`.
    pub fn payload_bytes_in(&self, range: Range<usize>) -> usize {
        self.requests.get(range).unwrap_or_default().iter().map(|entry| entry.payload.len()).sum()
    }

    /// The request at a place.
    pub fn get(&self, place: usize) -> Option<Arrived<'_>> {
        let entry = self.requests.get(place)?;
        let correlation = entry.correlation.clone().map(|range| &self.bytes[range]);
        Some(Arrived {
            topic: &self.topics[entry.topic.clone()],
            payload: &self.bytes[entry.payload.clone()],
            retained: entry.retained,
            observed_us: entry.observed_us,
            delivery: Delivery { qos: entry.qos, packet_id: entry.packet_id, correlation },
        })
    }

    /// All requests, in order.
    pub fn iter(&self) -> impl Iterator<Item = Arrived<'_>> {
        (0..self.len()).filter_map(|place| self.get(place))
    }

    /// Gives each request that is judged its arrival instant: the first one `first_us`, each one
    /// after it a microsecond later. `now_ms` is the present, for the products' time windows.
    pub fn stamp(&mut self, first_us: i64, now_ms: i64) {
        (self.first_us, self.now_ms) = (first_us, now_ms);
    }

    /// The arrival instant of a request.
    pub fn arrived_us(&self, place: usize) -> i64 {
        let after = self.requests.get(place).map_or(0, |entry| entry.place);
        self.first_us.saturating_add(after as i64)
    }

    /// The `time` of a request's entries that have none: when it was first observed, if it says so
    /// and that is not later than its arrival, which is the instant otherwise.
    pub fn instant_us(&self, place: usize) -> i64 {
        self.observed_us(place).unwrap_or_else(|| self.arrived_us(place))
    }

    fn observed_us(&self, place: usize) -> Option<i64> {
        let observed = self.requests.get(place)?.observed_us?;
        (observed <= self.arrived_us(place)).then_some(observed)
    }

    /// Judges the request at a place, unless it is retained: `judge` returns its verdict and appends
    /// its reply, or nothing if none may be sent.
    ///
    /// A panic of `judge` leaves this request without a verdict, and all others as they were.
    pub fn judge(&mut self, place: usize, judge: impl FnOnce(&Request<'_>, &mut Vec<u8>) -> Verdict) {
        let (now_ms, arrived_us, observed_us) =
            (self.now_ms, self.arrived_us(place), self.observed_us(place));
        let Self { topics, bytes, replies, .. } = self;
        let Some(entry) = self.requests.get(place).filter(|entry| !entry.retained) else { return };
        let (topic, payload) = (&topics[entry.topic.clone()], &bytes[entry.payload.clone()]);
        let start = replies.len();
        if !self.shadowed.is_empty() {
            self.shadowed.retain(|(other, _)| *other != place);
        }
        self.outcomes[place] = Outcome::default();
        let verdict = judge(&Request { topic, payload, now_ms, arrived_us, observed_us }, replies);
        let reply = (replies.len() > start).then_some(start..replies.len());
        self.outcomes[place] = Outcome { verdict: Some(verdict), reply, is_withdrawn: false };
    }

    /// The verdict of a request; `None` before it, for a retained request, and where the judge failed.
    pub fn verdict(&self, place: usize) -> Option<&Verdict> {
        self.outcomes.get(place)?.verdict.as_ref()
    }

    /// Notes that the request at a place, judged last, was answered 200 in spite of a fault.
    pub fn shadow(&mut self, place: usize, shadowed: Shadowed) {
        let at = self.shadowed.partition_point(|(other, _)| *other < place);
        self.shadowed.insert(at, (place, shadowed));
    }

    /// Why a request that was answered 200 would have been rejected.
    pub fn shadowed(&self, place: usize) -> Option<&Shadowed> {
        let found = self.shadowed.binary_search_by_key(&place, |(other, _)| *other).ok()?;
        self.shadowed.get(found).map(|(_, shadowed)| shadowed)
    }

    /// The reply to a request; `None` for a request that is only acknowledged.
    pub fn reply(&self, place: usize) -> Option<&[u8]> {
        let range = self.outcomes.get(place)?.reply.clone()?;
        self.replies.get(range)
    }

    /// Replaces the reply to a request.
    pub fn answer(&mut self, place: usize, reply: Option<&[u8]>) {
        let range = reply.map(|reply| append_bytes(&mut self.replies, reply));
        if let Some(outcome) = self.outcomes.get_mut(place) {
            outcome.reply = range;
        }
    }

    /// Whether a request has lost its verdict by [`Self::withdraw`].
    pub fn is_withdrawn(&self, place: usize) -> bool {
        self.outcomes.get(place).is_some_and(|outcome| outcome.is_withdrawn)
    }

    /// How many points each request with accepted points has.
    pub fn counts(&self) -> impl Iterator<Item = u64> {
        let counts = self.outcomes.iter().filter_map(|outcome| outcome.verdict.as_ref());
        counts.map(|verdict| verdict.points).filter(|&points| points > 0)
    }

    /// Removes verdict and reply of a request, by its number among those with accepted points: the
    /// store permanently rejected them, and no code would be correct.
    pub fn withdraw(&mut self, numbers: &[usize]) {
        let Self { outcomes, shadowed, .. } = self;
        let with_points = outcomes
            .iter_mut()
            .enumerate()
            .filter(|(_, one)| one.verdict.as_ref().is_some_and(|one| one.points > 0));
        for (number, (place, outcome)) in with_points.enumerate() {
            if numbers.contains(&number) {
                *outcome = Outcome { is_withdrawn: true, ..Outcome::default() };
                shadowed.retain(|(other, _)| *other != place);
            }
        }
    }
}

fn append<T>(to: &mut T, push: impl FnOnce(&mut T), len: fn(&T) -> usize) -> Range<usize> {
    let start = len(to);
    push(to);
    start..len(to)
}

fn append_bytes(to: &mut Vec<u8>, data: &[u8]) -> Range<usize> {
    append(to, |to| to.extend_from_slice(data), Vec::len)
}
