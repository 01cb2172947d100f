//! The other end of the service: requests of a load generator, and the check of their replies.
//!
//! ```text
//! publish    appends encoded requests: a copy of a template with its own id, packet id and times
//! feed       a read of one connection: each reply is matched to its request by the id
//! expire     requests whose reply has not arrived in time are lost
//! ```
//!
//! Ids are a mark of the run and the number of the request, so that replies to other senders are
//! recognised, and each request is counted once: as answered with the code of its template, as
//! answered with another one, or as lost.
//!
//! The latency of a reply counts from the instant at which its request was due, not from the one at
//! which it was written: a generator that cannot keep its rate must not hide that (coordinated
//! omission).
//!
//! No clock: every instant is an argument, in nanoseconds of a clock of the owner's.

use std::collections::{BTreeMap, VecDeque};

use super::latencies::Latencies;
use super::replies::acknowledge;
use super::splitter::{BurstLimits, Splitter};
use super::wire::{FeedError, push_variable};
use super::{HEADER_BYTES, Protocol, REPLY_IDS, kind};

/// The length of an id: eight hexadecimal digits of the mark, eight of the number.
pub const ID_DIGITS: usize = 16;

/// The length of a time in milliseconds, from 2001 to 2286.
pub const TIME_DIGITS: usize = 13;

const HALF_ID: usize = ID_DIGITS / 2;
const QOS_1: u8 = 0x02;

/// The number of packet ids on one connection: the splitter reports the acknowledgements of these.
const PACKET_IDS: usize = (*REPLY_IDS.end() - *REPLY_IDS.start()) as usize + 1;

const ID: &[u8] = b"\"id\":\"";
const CODE: &[u8] = b"\"code\":";
const CODE_DIGITS: usize = 4;

/// Replies are small; a longer packet is truncated, and still matched.
const REPLY_BYTES: usize = 0x1_0000;

/// A request to be repeated.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a caller that misses a new member must not compile")]
pub struct Template {
    /// Its topic.
    pub topic: String,
    /// Its payload, with [`ID_DIGITS`] and [`TIME_DIGITS`] digits to be replaced.
    pub payload: Vec<u8>,
    /// Where in the payload the digits of the id begin.
    pub id_at: usize,
    /// Where those of each time begin.
    pub times_at: Vec<usize>,
    /// The code that its reply must have.
    pub code: u16,
}

/// Which requests are sent, and how.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a caller that misses a new member must not compile")]
pub struct Plan {
    /// The requests that must be accepted, in turn; at least one.
    pub good: Vec<Template>,
    /// The requests that must be rejected, in turn.
    pub bad: Vec<Template>,
    /// The share of the latter, 0 to 1.
    pub bad_share: f64,
    /// Whether requests are published at QoS 1, else 0.
    pub acknowledged: bool,
    /// The first half of every id.
    pub mark: u32,
    /// The first `time`, UTC milliseconds.
    pub first_ms: u64,
    /// After so many milliseconds times begin anew; each entry has a millisecond of its own.
    pub span_ms: u64,
    /// How many nanoseconds after it was due a request without a reply is lost.
    pub timeout_ns: u64,
}

/// What became of the requests.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Tally {
    /// Published.
    pub sent: u64,
    /// Their payloads, in bytes.
    pub sent_bytes: u64,
    /// Answered, by expected and actual code; 0 is a reply without a code.
    pub codes: BTreeMap<(u16, u16), u64>,
    /// Without a reply in time.
    pub lost: u64,
    /// Replies to requests that were answered, or lost, before.
    pub repeated: u64,
    /// Replies to other senders.
    pub foreign: u64,
    /// From the due instant to the reply.
    pub latencies: Latencies,
}

/// A request without a reply.
#[derive(Debug)]
struct Open {
    due_ns: u64,
    code: u16,
    waits: bool,
}

/// An encoded PUBLISH, and where in it digits are replaced.
#[derive(Debug)]
struct Frame {
    bytes: Vec<u8>,
    packet_id_at: Option<usize>,
    id_at: usize,
    times_at: Vec<usize>,
    payload_bytes: usize,
    code: u16,
}

#[derive(Debug)]
struct Connection {
    splitter: Splitter,
    /// By packet id: whether the broker has not acknowledged its request.
    taken: Vec<bool>,
    next: usize,
}

/// The requests that were sent, and what became of them.
#[derive(Debug, Default)]
struct Answers {
    /// The first half of every id, as digits.
    mark: [u8; HALF_ID],
    /// The requests from number `first` on, of which the first one has no reply.
    open: VecDeque<Open>,
    first: u64,
    outstanding: usize,
    tally: Tally,
}

/// The requests of one run on any number of connections (MQTT 3.1.1).
#[derive(Debug)]
pub struct Load {
    plan: Plan,
    good: Vec<Frame>,
    bad: Vec<Frame>,
    connections: Vec<Connection>,
    answers: Answers,
    /// How many bad requests were sent.
    bad_sent: u64,
    next_ms: u64,
}

impl Load {
    /// A run of a plan; `None` if it has no request of a kind that it sends, or a place outside of a
    /// payload.
    pub fn new(plan: Plan, connections: usize) -> Option<Self> {
        let frames = |templates: &[Template]| {
            let encode = |template| Frame::new(template, plan.acknowledged);
            templates.iter().map(encode).collect::<Option<Vec<_>>>()
        };
        let (good, bad) = (frames(&plan.good)?, frames(&plan.bad)?);
        if good.is_empty() || (bad.is_empty() && plan.bad_share > 0.0) {
            return None;
        }
        let connections = (0..connections).map(|_| Connection::new()).collect();
        let mut answers = Answers::default();
        write_hex(plan.mark, &mut answers.mark);
        Some(Self { plan, good, bad, connections, answers, bad_sent: 0, next_ms: 0 })
    }

    /// What became of the requests so far.
    pub fn tally(&self) -> &Tally {
        &self.answers.tally
    }

    /// How many requests have no reply, and are not lost.
    pub fn outstanding(&self) -> usize {
        self.answers.outstanding
    }

    /// Appends up to `count` requests; returns how many. It stops before a packet id that the broker
    /// has not acknowledged, and after 2^32 requests.
    ///
    /// The first one was due at `due_ns`, each one after it `interval_ns` later.
    pub fn publish(
        &mut self,
        connection: usize,
        count: usize,
        (due_ns, interval_ns): (u64, f64),
        to: &mut Vec<u8>,
    ) -> usize {
        let Some(connection) = self.connections.get_mut(connection) else { return 0 };
        for published in 0..count {
            let Ok(number) = u32::try_from(self.answers.tally.sent) else { return published };
            let mut packet_id = 0;
            if self.plan.acknowledged {
                let Some(free) = connection.free_id() else { return published };
                packet_id = free;
            }
            let is_bad =
                f64::from(number) * self.plan.bad_share + self.plan.bad_share >= self.bad_sent as f64 + 1.0;
            let frame = if is_bad {
                self.bad_sent += 1;
                turn(&self.bad, self.bad_sent - 1)
            } else {
                turn(&self.good, u64::from(number) - self.bad_sent)
            };
            frame.write(packet_id, (self.answers.mark, number), to, || {
                let time = self.plan.first_ms + self.next_ms % self.plan.span_ms.max(1);
                self.next_ms += 1;
                time
            });
            let due_ns = due_ns + (interval_ns * published as f64) as u64;
            self.answers.sent(frame, due_ns);
        }
        count
    }

    /// Handles the bytes of one read, which arrived at `now_ns`; appends the acknowledgements of
    /// replies.
    ///
    /// After an error the connection cannot be used further.
    pub fn feed(
        &mut self,
        connection: usize,
        data: &[u8],
        now_ns: u64,
        to: &mut Vec<u8>,
    ) -> Result<(), FeedError> {
        let Some(connection) = self.connections.get_mut(connection) else { return Ok(()) };
        connection.splitter.feed(data, 0.0)?;
        while let Some(burst) = connection.splitter.take() {
            for reply in burst.iter() {
                self.answers.replied(reply.payload, now_ns);
                acknowledge(reply.delivery, to);
            }
        }
        for one in connection.splitter.acknowledged.drain(..) {
            if let Some(taken) = connection.taken.get_mut(usize::from(one.packet_id - REPLY_IDS.start())) {
                *taken = false;
            }
        }
        connection.splitter.released.clear();
        connection.splitter.control.clear();
        Ok(())
    }

    /// Gives up requests whose reply has not arrived in time.
    pub fn expire(&mut self, now_ns: u64) {
        let due_before = now_ns.saturating_sub(self.plan.timeout_ns);
        let answers = &mut self.answers;
        while let Some(oldest) = answers.open.front().filter(|open| !open.waits || open.due_ns < due_before) {
            if oldest.waits {
                answers.tally.lost += 1;
                answers.outstanding -= 1;
            }
            answers.open.pop_front();
            answers.first += 1;
        }
    }
}

/// The frame whose turn it is.
fn turn(frames: &[Frame], number: u64) -> &Frame {
    &frames[(number % frames.len() as u64) as usize]
}

impl Answers {
    fn sent(&mut self, frame: &Frame, due_ns: u64) {
        self.open.push_back(Open { due_ns, code: frame.code, waits: true });
        self.outstanding += 1;
        self.tally.sent += 1;
        self.tally.sent_bytes += frame.payload_bytes as u64;
    }

    /// Counts a reply.
    fn replied(&mut self, payload: &[u8], now_ns: u64) {
        let Some(number) = self.number_of(payload) else {
            self.tally.foreign += 1;
            return;
        };
        let place = number.checked_sub(self.first).map(|place| place as usize);
        let Some(open) = place.and_then(|place| self.open.get_mut(place)).filter(|open| open.waits) else {
            self.tally.repeated += 1;
            return;
        };
        open.waits = false;
        self.outstanding -= 1;
        self.tally.latencies.add(now_ns.saturating_sub(open.due_ns));
        *self.tally.codes.entry((open.code, code_of(payload))).or_default() += 1;
        while self.open.front().is_some_and(|open| !open.waits) {
            self.open.pop_front();
            self.first += 1;
        }
    }

    /// The number in a reply's id, if it has the mark and the number was sent.
    fn number_of(&self, payload: &[u8]) -> Option<u64> {
        let (mark, rest) = behind(payload, ID)?.split_first_chunk::<HALF_ID>()?;
        let digits = rest.get(..HALF_ID).filter(|_| *mark == self.mark)?;
        let digits = digits
            .iter()
            .try_fold(0, |sum, &digit| Some(sum << 4 | u64::from(char::from(digit).to_digit(16)?)));
        digits.filter(|&number| number < self.tally.sent)
    }
}

/// The code of a reply; 0 if it has none.
fn code_of(payload: &[u8]) -> u16 {
    let digits = behind(payload, CODE).unwrap_or_default();
    let digits = digits.iter().take(CODE_DIGITS).take_while(|digit| digit.is_ascii_digit());
    digits.fold(0, |code, digit| code * 10 + u16::from(digit - b'0'))
}

/// What follows the first occurrence of `name`.
fn behind<'a>(payload: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let start = payload.windows(name.len()).position(|window| window == name)?;
    payload.get(start + name.len()..)
}

impl Connection {
    fn new() -> Self {
        let limits = BurstLimits { requests: usize::MAX, bytes: usize::MAX };
        let splitter = Splitter::new(Protocol::V3, REPLY_BYTES + HEADER_BYTES, limits);
        Self { splitter, taken: vec![false; PACKET_IDS], next: 0 }
    }

    /// Takes the next packet id, unless the broker has not acknowledged its last request.
    fn free_id(&mut self) -> Option<u16> {
        let taken = self.taken.get_mut(self.next).filter(|taken| !**taken)?;
        *taken = true;
        let packet_id = REPLY_IDS.start() + self.next as u16;
        self.next = (self.next + 1) % PACKET_IDS;
        Some(packet_id)
    }
}

impl Frame {
    fn new(template: &Template, acknowledged: bool) -> Option<Self> {
        let Template { topic, payload, id_at, times_at, code } = template;
        let fits = |at: usize, digits: usize| at.checked_add(digits).is_some_and(|end| end <= payload.len());
        if !fits(*id_at, ID_DIGITS) || !times_at.iter().all(|&at| fits(at, TIME_DIGITS)) {
            return None;
        }
        let packet_id = if acknowledged { [0; 2].as_slice() } else { &[] };
        let mut bytes = vec![if acknowledged { kind::PUBLISH | QOS_1 } else { kind::PUBLISH }];
        push_variable(2 + topic.len() + packet_id.len() + payload.len(), &mut bytes);
        bytes.extend_from_slice(&u16::try_from(topic.len()).ok()?.to_be_bytes());
        bytes.extend_from_slice(topic.as_bytes());
        let packet_id_at = acknowledged.then_some(bytes.len());
        bytes.extend_from_slice(packet_id);
        let start = bytes.len();
        bytes.extend_from_slice(payload);
        let (id_at, times_at) = (start + id_at, times_at.iter().map(|at| start + at).collect());
        Some(Self { bytes, packet_id_at, id_at, times_at, payload_bytes: payload.len(), code: *code })
    }

    fn write(
        &self,
        packet_id: u16,
        (mark, number): ([u8; HALF_ID], u32),
        to: &mut Vec<u8>,
        mut next_time: impl FnMut() -> u64,
    ) {
        let start = to.len();
        to.extend_from_slice(&self.bytes);
        let frame = &mut to[start..];
        if let Some(at) = self.packet_id_at {
            frame[at..at + 2].copy_from_slice(&packet_id.to_be_bytes());
        }
        let (first, second) = frame[self.id_at..self.id_at + ID_DIGITS].split_at_mut(HALF_ID);
        first.copy_from_slice(&mark);
        write_hex(number, second);
        for &at in &self.times_at {
            let mut time = next_time();
            for digit in frame[at..at + TIME_DIGITS].iter_mut().rev() {
                *digit = b'0' + (time % 10) as u8;
                time /= 10;
            }
        }
    }
}

/// Writes eight hexadecimal digits.
fn write_hex(number: u32, to: &mut [u8]) {
    for (place, digit) in to.iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (4 * place) & 15) as usize];
    }
}
