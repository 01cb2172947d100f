//! Who fails, and why: the most frequent faults and devices of rejected requests, and when a log
//! line is due.
//!
//! Only rejected requests come here. The first thousand of a second are counted each; of those
//! beyond that, one in sixteen on average counts sixteen times, at random distances, so that
//! requests in a regular order are sampled evenly. That bounds the cost: see `Offenders::reject`.
//!
//! Everything a sender can choose (product keys that no catalog has, devices, identifiers, texts)
//! is truncated, and counted in a bounded number of places.

use pointgate_core as core;
use pyo3::prelude::*;

/// How many faults and how many devices are counted.
const COUNTED: usize = 256;

/// Seconds after which a count weighs half.
const HALF_LIFE: f64 = 300.0;

/// Requests of a second that are counted each.
const COUNTED_EACH: u32 = 1000;

/// Of further requests one in so many is counted, for all of them.
const SAMPLED: u64 = 16;

/// Seconds after which a later request replaces an example.
const EXAMPLE_SECONDS: f64 = 60.0;

/// Seconds after which what no longer fails stands below what does.
const LIVE_SECONDS: f64 = 60.0;

/// Bytes of an identifier or a device key, as many as a valid one has.
const MOST_KEY: usize = 128;

/// Bytes of a pointer or a text.
const MOST_TEXT: usize = 256;

/// A fault or a device that requests were rejected for.
#[pyclass(frozen, get_all, module = "pointgate._core")]
#[derive(Clone)]
pub(crate) struct Offender {
    /// The product key, as posted.
    product: String,
    /// The reason.
    reason: &'static str,
    /// The device key of the entry, if it has one.
    device_key: Option<String>,
    /// The identifier of the point, for faults inside `measurepoints`.
    identifier: Option<String>,
    /// Of the example: where its fault is, RFC 6901.
    pointer: Option<String>,
    /// Of the example: what was required.
    expected: Option<String>,
    /// Of the example: what came instead.
    got: Option<String>,
    /// Whether the requests were answered 200, because of their product's mode (contract 11).
    shadowed: bool,
    /// How many requests since `since`; above a thousand a second an estimate.
    requests: u64,
    /// Requests a second, of the last minutes.
    rate: f64,
    /// When the first of them was answered, in seconds of the clock that `settle` got.
    ///
    /// After ten minutes without one the next one is the first.
    since: f64,
    /// When the last of them was.
    last: f64,
}

impl Offender {
    pub(crate) fn new(product: &str, fault: &core::Fault, requests: u64, now: f64) -> Self {
        Self::of(product, fault, false, requests, now)
    }

    /// The same; `shadowed`: the requests were answered 200.
    pub(crate) fn of(product: &str, fault: &core::Fault, shadowed: bool, requests: u64, now: f64) -> Self {
        let key = |text: &Option<String>| text.as_deref().map(|text| cut(text, MOST_KEY).to_owned());
        let text = |text: Option<&str>| text.map(|text| cut(text, MOST_TEXT).to_owned());
        Self {
            product: product.to_owned(),
            reason: fault.reason.name(),
            device_key: key(&fault.device_key),
            identifier: key(&fault.identifier),
            pointer: text(fault.pointer().as_deref()),
            expected: text(fault.expected.as_deref()),
            got: text(fault.got_in_message.as_deref().or(fault.got.as_deref())),
            shadowed,
            requests,
            rate: 0.0,
            since: now,
            last: now,
        }
    }
}

/// The beginning of a text, on the border of a character.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or_default()]
}

/// The example of a counted key, and when it was made.
#[derive(Clone, Default)]
struct Example(Option<(Offender, f64)>);

type Counted = core::HeavyHitters<Example>;

pub(crate) struct Offenders {
    /// By product, reason and identifier.
    faults: Counted,
    /// By product and device.
    devices: Counted,
    key: String,
    now: f64,
    second: f64,
    left: u32,
    skip: u64,
    random: u64,
}

impl Offenders {
    pub(crate) fn new() -> Self {
        Self {
            faults: Counted::new(COUNTED, HALF_LIFE),
            devices: Counted::new(COUNTED, HALF_LIFE),
            key: String::new(),
            now: 0.0,
            second: 0.0,
            left: COUNTED_EACH,
            skip: 1,
            random: 0x9E37_79B9_7F4A_7C15,
        }
    }

    /// Sets the time.
    pub(crate) fn advance(&mut self, now: f64) {
        self.now = self.now.max(now);
        if self.now >= self.second + 1.0 {
            (self.second, self.left) = (self.now, COUNTED_EACH);
        }
    }

    /// Counts a request of a topic that is served, which was rejected, or would have been (`shadowed`).
    #[inline]
    pub(crate) fn reject(&mut self, topic: &str, fault: &core::Fault, shadowed: bool) {
        if self.left > 0 {
            self.left -= 1;
            return self.count(topic, fault, shadowed, 1);
        }
        self.skip -= 1;
        if self.skip == 0 {
            self.skip = 1 + self.next_random() % (2 * SAMPLED - 1);
            self.count(topic, fault, shadowed, SAMPLED);
        }
    }

    /// Xorshift: enough to keep distances from following a pattern.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn count(&mut self, topic: &str, fault: &core::Fault, shadowed: bool, times: u64) {
        let Some(topic) = core::Topic::parse(topic) else { return };
        let Self { faults, devices, key, now, .. } = self;
        let mut count = |counted: &mut Counted, parts: [&str; 3]| {
            key.clear();
            for part in parts {
                key.push_str(cut(part, MOST_KEY));
                key.push('\0'); // no product key and no reason has one
            }
            if shadowed {
                key.push('\0');
            }
            counted.advance(*now);
            // A key that replaces another one gets its example the second time: where all keys
            // differ, examples would cost more than all else.
            let has_room = counted.len() < COUNTED;
            let hitter = counted.add(key, times);
            let is_first = hitter.additions == times;
            let example = &mut hitter.detail.0;
            let is_due = match example {
                None => has_room || !is_first,
                Some((_, at)) => *now >= *at + EXAMPLE_SECONDS,
            };
            if is_due {
                *example = Some((Offender::of(topic.product_key, fault, shadowed, 0, *now), *now));
            }
        };
        let identifier = fault.identifier.as_deref().unwrap_or_default();
        count(faults, [topic.product_key, fault.reason.name(), identifier]);
        if let Some(device_key) = &fault.device_key {
            count(devices, [topic.product_key, device_key, ""]);
        }
    }

    /// The most frequent faults and devices, those of the last minute first.
    pub(crate) fn top(&mut self, now: f64, most: usize) -> (Vec<Offender>, Vec<Offender>) {
        self.advance(now);
        let now = self.now;
        let list = |counted: &mut Counted| {
            counted.advance(now);
            let mut hitters = counted.top(COUNTED);
            hitters.sort_by_key(|hitter| now - hitter.last > LIVE_SECONDS);
            hitters
                .into_iter()
                .filter_map(|hitter| {
                    let (example, _) = hitter.detail.0.as_ref()?;
                    let (requests, rate) = (hitter.additions, counted.rate(hitter));
                    Some(Offender {
                        requests,
                        rate,
                        since: hitter.since,
                        last: hitter.last,
                        ..example.clone()
                    })
                })
                .take(most)
                .collect()
        };
        (list(&mut self.faults), list(&mut self.devices))
    }
}

/// Seconds between two log lines of a product and a reason.
const LEAST_SECONDS: f64 = 60.0;

/// Seconds after which the next rejection is logged, however few there were.
const MOST_SECONDS: f64 = 3600.0;

/// How many times as many requests as at the last line are logged before that.
const STEP: u64 = 10;

/// When a product's requests with one reason were last logged.
#[derive(Clone, Copy, Default)]
pub(crate) struct Logged {
    at: Option<f64>,
    /// How many there had been.
    total: u64,
    /// How many of them the line was about.
    requests: u64,
}

impl Logged {
    /// How many requests a line is about, if one is due. `total` are all so far, with the present one.
    ///
    /// The first one is logged. Then there is at most one line a minute, if it is about ten times as
    /// many requests as the last one, and after an hour in any case: so a few requests that are
    /// always rejected make a line an hour, and many at once are in the log within a minute.
    #[inline]
    pub(crate) fn due(&mut self, now: f64, total: u64) -> Option<u64> {
        let requests = total - self.total;
        let is_due = self.at.is_none_or(|at| {
            now >= at + LEAST_SECONDS && (requests >= STEP * self.requests || now >= at + MOST_SECONDS)
        });
        is_due.then(|| {
            *self = Self { at: Some(now), total, requests };
            requests
        })
    }
}
