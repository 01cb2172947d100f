//! The service's hot counters: updated once a burst, read when Prometheus scrapes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pointgate_core as core;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::burst::Burst;
use crate::histogram::Histogram;

/// Seconds that one call of the judge takes: a burst of one small request up to one of many
/// megabytes.
const JUDGE_BOUNDS: &[f64] =
    &[5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 1.0];

/// Seconds from the arrival of a request to its acknowledgement.
const REPLY_BOUNDS: &[f64] =
    &[1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Clone)]
struct Figures {
    received: u64,
    received_bytes: u64,
    bursts: u64,
    points: u64,
    null_points: u64,
    early_times: u64,
    codes: [u64; core::Code::ALL.len()],
    reasons: [u64; core::Reason::ALL.len()],
    bad_topic: u64,
    retained: u64,
    connection_lost: u64,
    judge_failed: u64,
    judge: Histogram,
    reply: Histogram,
}

impl Figures {
    /// The number of requests that are no longer in flight.
    fn disposed(&self) -> u64 {
        self.codes.iter().sum::<u64>()
            + self.bad_topic
            + self.retained
            + self.connection_lost
            + self.judge_failed
    }

    fn settle(&mut self, verdict: &core::Verdict) {
        if verdict.code() == core::Code::BadTopic {
            self.bad_topic += 1;
        } else {
            count(&mut self.codes, &core::Code::ALL, &verdict.code());
        }
        self.points += verdict.points;
        self.null_points += verdict.null_points;
        self.early_times += verdict.early_times;
        if let Some(fault) = &verdict.fault {
            count(&mut self.reasons, &core::Reason::ALL, &fault.reason);
        }
    }
}

fn count<T: PartialEq>(counts: &mut [u64], labels: &[T], label: &T) {
    let index = labels.iter().position(|known| known == label);
    let index = index.unwrap_or_else(|| unreachable!("`ALL` has every code and every reason"));
    counts[index] += 1;
}

/// The service's hot counters: updated once a burst, read when Prometheus scrapes.
///
/// `received = accepted + rejected + ignored + in flight` holds at every moment.
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
    fn new() -> Self {
        Self(Mutex::new(Figures {
            received: 0,
            received_bytes: 0,
            bursts: 0,
            points: 0,
            null_points: 0,
            early_times: 0,
            codes: [0; core::Code::ALL.len()],
            reasons: [0; core::Reason::ALL.len()],
            bad_topic: 0,
            retained: 0,
            connection_lost: 0,
            judge_failed: 0,
            judge: Histogram::new(JUDGE_BOUNDS),
            reply: Histogram::new(REPLY_BOUNDS),
        }))
    }

    /// A burst has arrived: its requests are in flight from here on.
    fn receive(&self, burst: PyRef<'_, Burst>) {
        let mut figures = self.figures();
        figures.received += burst.burst.len() as u64;
        figures.received_bytes += burst.burst.payload_bytes() as u64;
        figures.bursts += 1;
    }

    /// Requests of a burst were acknowledged, and answered if they have a reply.
    ///
    /// Stale ones count as ignored (`retained`), as do those without a verdict (`judge_failed`) and
    /// those with code 0 (`bad_topic`); these have no reply latency.
    ///
    /// Args:
    ///     burst: The burst.
    ///     settled: How many of its requests.
    ///     seconds: How long ago they arrived.
    ///
    /// Returns:
    ///     How many early times they had.
    fn settle(&self, burst: PyRef<'_, Burst>, settled: usize, seconds: f64) -> u64 {
        let mut figures = self.figures();
        let mut replies = 0;
        let early_times = figures.early_times;
        for (place, request) in burst.burst.iter().take(settled).enumerate() {
            if request.stale {
                figures.retained += 1;
            } else if let Some(verdict) = burst.burst.verdict(place) {
                figures.settle(verdict);
                replies += u64::from(verdict.code() != core::Code::BadTopic);
            } else {
                figures.judge_failed += 1;
            }
        }
        figures.reply.observe(seconds, replies);
        figures.early_times - early_times
    }

    /// The connection ended before these were acknowledged: at QoS 1 they are redelivered.
    fn abandon(&self, requests: u64) {
        self.figures().connection_lost += requests;
    }

    /// One call of the judge took `seconds`.
    fn judged(&self, seconds: f64) {
        self.figures().judge.observe(seconds, 1);
    }

    /// The number of requests that arrived and are not settled yet.
    #[getter]
    fn in_flight(&self) -> u64 {
        let figures = self.figures();
        figures.received.saturating_sub(figures.disposed())
    }

    /// Every figure, consistent with one another.
    ///
    /// Returns:
    ///     `received`, `received_bytes`, `bursts`, `in_flight`, `points`, `null_points`,
    ///     `early_times`: int;
    ///     `codes`: dict of code to int, without 0; `reasons`: dict of reason to int;
    ///     `ignored`: dict with `bad_topic`, `retained`, `connection_lost`,
    ///     `judge_failed`;
    ///     `judge_seconds`, `reply_seconds`: dict with `bounds` (list of float), `buckets`
    ///     (cumulative counts, one more than bounds: +Inf last) and `sum` (float).
    fn read<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        // A copy: creating Python objects can run Python code, which could deadlock on the lock.
        let figures = self.figures().clone();
        let codes = PyDict::new(py);
        for (code, count) in core::Code::ALL.iter().zip(figures.codes) {
            if *code != core::Code::BadTopic {
                codes.set_item(code.number(), count)?;
            }
        }
        let reasons = PyDict::new(py);
        for (reason, count) in core::Reason::ALL.iter().zip(figures.reasons) {
            reasons.set_item(reason.name(), count)?;
        }
        let ignored = PyDict::new(py);
        ignored.set_item("bad_topic", figures.bad_topic)?;
        ignored.set_item("retained", figures.retained)?;
        ignored.set_item("connection_lost", figures.connection_lost)?;
        ignored.set_item("judge_failed", figures.judge_failed)?;

        let read = PyDict::new(py);
        read.set_item("received", figures.received)?;
        read.set_item("received_bytes", figures.received_bytes)?;
        read.set_item("bursts", figures.bursts)?;
        read.set_item("in_flight", figures.received.saturating_sub(figures.disposed()))?;
        read.set_item("points", figures.points)?;
        read.set_item("null_points", figures.null_points)?;
        read.set_item("early_times", figures.early_times)?;
        read.set_item("codes", codes)?;
        read.set_item("reasons", reasons)?;
        read.set_item("ignored", ignored)?;
        read.set_item("judge_seconds", figures.judge.read(py)?)?;
        read.set_item("reply_seconds", figures.reply.read(py)?)?;
        Ok(read)
    }
}
