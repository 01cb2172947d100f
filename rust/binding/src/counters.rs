//! The service's hot counters: updated once a burst, read when Prometheus scrapes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pointgate_core as core;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::burst::Burst;
use crate::histogram::Histogram;
use crate::offenders::{Offender, Offenders};
use crate::points::Points;
use crate::products::{ProductCounts, Products};

/// Seconds that one call of the judge takes: a burst of one small request up to one of many
/// megabytes.
const JUDGE_BOUNDS: &[f64] =
    &[5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 1.0];

/// Seconds from the arrival of a request to its acknowledgement.
const REPLY_BOUNDS: &[f64] =
    &[1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Seconds from the `time` of a point to its arrival: live data, an hourly or a nightly upload, a
/// device that was offline for weeks, history.
const AGE_BOUNDS: &[f64] =
    &[1.0, 10.0, 60.0, 300.0, 900.0, 3_600.0, 21_600.0, 86_400.0, 604_800.0, 2_592_000.0, 31_536_000.0];

struct Figures {
    products: Products,
    totals: Totals,
    offenders: Offenders,
    /// What the owner has not logged yet.
    due: Vec<Offender>,
}

/// What is not counted by product.
#[derive(Clone)]
struct Totals {
    received: u64,
    received_bytes: u64,
    bursts: u64,
    null_points: u64,
    early_times: u64,
    bad_topic: u64,
    retained: u64,
    connection_lost: u64,
    dead_lettered: u64,
    judge_failed: u64,
    judge: Histogram,
    reply: Histogram,
    age: Histogram,
}

impl Figures {
    /// The number of requests that are no longer in flight.
    fn disposed(&self) -> u64 {
        let Totals { bad_topic, retained, connection_lost, dead_lettered, judge_failed, .. } = self.totals;
        self.products.answered() + bad_topic + retained + connection_lost + dead_lettered + judge_failed
    }

    fn in_flight(&self) -> u64 {
        self.totals.received.saturating_sub(self.disposed())
    }

    #[inline]
    fn settle(&mut self, topic: &str, verdict: &core::Verdict, now: f64) {
        let product = self.products.of_topic(topic);
        product.count(verdict);
        match &verdict.fault {
            Some(fault) if fault.reason == core::Reason::BadTopic => self.totals.bad_topic += 1,
            Some(fault) => {
                self.offenders.reject(topic, fault, false);
                if let Some(requests) = product.due(fault.reason, now) {
                    let product_key = core::Topic::parse(topic).map_or("", |topic| topic.product_key);
                    self.due.push(Offender::new(product_key, fault, requests, now));
                }
            }
            None => {}
        }
        self.totals.null_points += verdict.null_points;
        self.totals.early_times += verdict.early_times;
    }

    /// A settled request was answered 200 in spite of a fault.
    #[cold]
    fn shadow(&mut self, topic: &str, shadowed: &core::Shadowed, now: f64) {
        self.offenders.reject(topic, &shadowed.fault, true);
        if let Some(requests) = self.products.of_topic(topic).shadow(shadowed, now) {
            let product_key = core::Topic::parse(topic).map_or("", |topic| topic.product_key);
            self.due.push(Offender::of(product_key, &shadowed.fault, true, requests, now));
        }
    }
}

/// The service's hot counters: updated once a burst, read when Prometheus scrapes.
///
/// `received = accepted + rejected + ignored + in flight` holds at every moment.
///
/// Args:
///     most_products: How many products are counted by their keys; the others are counted together.
#[pyclass(frozen, module = "pointgate._core")]
pub(crate) struct Counters(Mutex<Figures>);

impl Counters {
    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Counters {
    #[new]
    #[pyo3(signature = (most_products=100))]
    fn new(most_products: usize) -> Self {
        let totals = Totals {
            received: 0,
            received_bytes: 0,
            bursts: 0,
            null_points: 0,
            early_times: 0,
            bad_topic: 0,
            retained: 0,
            connection_lost: 0,
            dead_lettered: 0,
            judge_failed: 0,
            judge: Histogram::new(JUDGE_BOUNDS),
            reply: Histogram::new(REPLY_BOUNDS),
            age: Histogram::new(AGE_BOUNDS),
        };
        let (products, offenders) = (Products::new(most_products), Offenders::new());
        Self(Mutex::new(Figures { products, totals, offenders, due: Vec::new() }))
    }

    /// A catalog becomes active: its products are counted by their keys from here on.
    ///
    /// Args:
    ///     products: Their keys. Beyond `most_products` they are counted as `other`.
    fn serve(&self, products: Vec<String>) {
        self.figures().products.serve(products.into_iter());
    }

    /// A burst has arrived: its requests are in flight from here on.
    fn receive(&self, burst: PyRef<'_, Burst>) {
        let totals = &mut self.figures().totals;
        totals.received += burst.burst.len() as u64;
        totals.received_bytes += burst.burst.payload_bytes() as u64;
        totals.bursts += 1;
    }

    /// Requests of a burst were acknowledged, and answered if they have a reply.
    ///
    /// Stale ones count as ignored (`retained`), as do withdrawn ones (`dead_lettered`), others
    /// without a verdict (`judge_failed`) and those with code 0 (`bad_topic`); these have no reply
    /// latency.
    ///
    /// Args:
    ///     burst: The burst.
    ///     settled: How many of its requests.
    ///     now: The present, on the clock of their arrival, in seconds.
    ///
    /// Returns:
    ///     How many early times they had.
    fn settle(&self, burst: PyRef<'_, Burst>, settled: usize, now: f64) -> u64 {
        let mut figures = self.figures();
        figures.offenders.advance(now);
        let mut replies = 0;
        let early_times = figures.totals.early_times;
        for (place, request) in burst.burst.iter().take(settled).enumerate() {
            if request.retained {
                figures.totals.retained += 1;
            } else if let Some(verdict) = burst.burst.verdict(place) {
                figures.settle(request.topic, verdict, now);
                if let Some(shadowed) = burst.burst.shadowed(place) {
                    figures.shadow(request.topic, shadowed, now);
                }
                replies += u64::from(verdict.code() != core::Code::BadTopic);
            } else if burst.burst.is_withdrawn(place) {
                figures.totals.dead_lettered += 1;
            } else {
                figures.totals.judge_failed += 1;
            }
        }
        figures.totals.reply.observe(now - burst.burst.arrived, replies);
        figures.totals.early_times - early_times
    }

    /// Remove the rejections to log: at most one a minute for a product and a reason.
    ///
    /// Returns:
    ///     The last request of each, with `requests` since the line before.
    fn take_due(&self) -> Vec<Offender> {
        std::mem::take(&mut self.figures().due)
    }

    /// The most frequent faults and devices of rejected requests, of the last minutes.
    ///
    /// Those of the last minute come first.
    ///
    /// Args:
    ///     now: The present, on the clock of `settle`.
    ///     most: How many of each.
    ///
    /// Returns:
    ///     The faults by product, reason and identifier; the devices by product.
    fn offenders(&self, now: f64, most: usize) -> (Vec<Offender>, Vec<Offender>) {
        self.figures().offenders.top(now, most)
    }

    /// The connection ended before these were acknowledged: at QoS 1 they are redelivered.
    fn abandon(&self, requests: u64) {
        self.figures().totals.connection_lost += requests;
    }

    /// One call of the judge took `seconds`.
    fn judged(&self, seconds: f64) {
        self.figures().totals.judge.observe(seconds, 1);
    }

    /// These points were accepted: count their age at arrival, 0 for a time in the future.
    ///
    /// Points that were exported before are not counted.
    fn collected(&self, points: PyRef<'_, Points>) {
        let age = &mut self.figures().totals.age;
        points.with_rows(|rows| {
            for (age_us, count) in rows.ages() {
                age.observe(age_us.max(0) as f64 / 1e6, count as u64);
            }
        });
    }

    /// The number of requests that arrived and are not settled yet.
    #[getter]
    fn in_flight(&self) -> u64 {
        self.figures().in_flight()
    }

    /// Every figure, consistent with one another.
    ///
    /// Returns:
    ///     `received`, `received_bytes`, `bursts`, `in_flight`, `null_points`, `early_times`: int;
    ///     `products`: dict of label to a dict with `codes` (dict of code to int, without 0),
    ///     `reasons` (dict of reason to int), `points` (int), `shadowed` (requests answered 200 in
    ///     spite of a fault, dict of reason to its code and int) and `skipped` (their points that
    ///     were not stored, int); labels are product keys, `unknown` for products that no catalog
    ///     has had, and `other` for those beyond `most_products`;
    ///     `ignored`: dict with `bad_topic`, `retained`, `connection_lost`, `dead_lettered`,
    ///     `judge_failed`;
    ///     `judge_seconds`, `reply_seconds`, `age_seconds`: dict with `bounds` (list of float),
    ///     `buckets` (cumulative counts, one more than bounds: +Inf last) and `sum` (float).
    fn read<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        // A copy: creating Python objects can run Python code, which could deadlock on the lock.
        let (totals, slots, in_flight) = {
            let figures = self.figures();
            (figures.totals.clone(), figures.products.slots().to_vec(), figures.in_flight())
        };
        let products = PyDict::new(py);
        for slot in &slots {
            products.set_item(&slot.label, counts_of(py, slot)?)?;
        }
        let ignored = PyDict::new(py);
        ignored.set_item("bad_topic", totals.bad_topic)?;
        ignored.set_item("retained", totals.retained)?;
        ignored.set_item("connection_lost", totals.connection_lost)?;
        ignored.set_item("dead_lettered", totals.dead_lettered)?;
        ignored.set_item("judge_failed", totals.judge_failed)?;

        let read = PyDict::new(py);
        read.set_item("received", totals.received)?;
        read.set_item("received_bytes", totals.received_bytes)?;
        read.set_item("bursts", totals.bursts)?;
        read.set_item("in_flight", in_flight)?;
        read.set_item("null_points", totals.null_points)?;
        read.set_item("early_times", totals.early_times)?;
        read.set_item("products", products)?;
        read.set_item("ignored", ignored)?;
        read.set_item("judge_seconds", totals.judge.read(py)?)?;
        read.set_item("reply_seconds", totals.reply.read(py)?)?;
        read.set_item("age_seconds", totals.age.read(py)?)?;
        Ok(read)
    }
}

fn counts_of<'py>(py: Python<'py>, counts: &ProductCounts) -> PyResult<Bound<'py, PyDict>> {
    let codes = PyDict::new(py);
    for (code, count) in core::Code::ALL.iter().zip(counts.codes) {
        if *code != core::Code::BadTopic {
            codes.set_item(code.number(), count)?;
        }
    }
    let reasons = PyDict::new(py);
    for (reason, count) in core::Reason::ALL.iter().zip(counts.reasons) {
        reasons.set_item(reason.name(), count)?;
    }
    let read = PyDict::new(py);
    read.set_item("codes", codes)?;
    read.set_item("reasons", reasons)?;
    read.set_item("points", counts.points)?;
    let shadowed = PyDict::new(py);
    for (reason, count) in core::Reason::ALL.iter().zip(counts.shadowed) {
        // Faults of the envelope are answered in each mode.
        if matches!(reason.code(), core::Code::DeviceNotFound | core::Code::ModelValidateFailed) {
            shadowed.set_item(reason.name(), (reason.code().number(), count))?;
        }
    }
    read.set_item("shadowed", shadowed)?;
    read.set_item("skipped", counts.skipped)?;
    Ok(read)
}
