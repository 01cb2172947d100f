//! A burst as one Python object, and its requests as objects for those who ask.

use pointgate_core as core;
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::report::Report;

/// Requests that arrived together, in the order of arrival, and what became of them.
///
/// It holds them as one buffer: only those who ask get an object for each request.
#[pyclass(module = "pointgate._core")]
pub(crate) struct Burst {
    pub(crate) burst: core::Burst,
}

impl Burst {
    /// The verdict of a request; one that was answered 200 in spite of a fault has that fault.
    pub(crate) fn report(&self, py: Python<'_>, place: usize) -> Option<Report> {
        let verdict = self.burst.verdict(place)?;
        let report = Report::new(py, verdict.clone(), self.burst.reply(place).unwrap_or_default());
        Some(match self.burst.shadowed(place) {
            Some(shadowed) => report.with_fault(&shadowed.fault),
            None => report,
        })
    }

    fn check(&self, place: usize) -> PyResult<()> {
        let len = self.burst.len();
        if place > len {
            return Err(PyValueError::new_err(format!("expected a place of at most {len}, got {place}")));
        }
        Ok(())
    }
}

/// By topic: how many requests, and the payload of the first one.
type EarlyTimes<'py> = Vec<(String, usize, Bound<'py, PyBytes>)>;

/// Rejected requests: topics, payloads, reports and instants.
type Rejected<'py> = (Vec<String>, Vec<Bound<'py, PyBytes>>, Vec<Report>, Vec<i64>);

#[pymethods]
impl Burst {
    /// Make a burst of requests that are acknowledged by nobody, such as those of a test.
    ///
    /// Args:
    ///     topics: The topics of the requests.
    ///     payloads: Their payloads, as many as topics.
    ///     arrived: When the first one arrived, on the monotonic clock, in seconds.
    ///     retained: The places of those that are acknowledged without being judged.
    ///     observed: By place, when a request first arrived, UTC microseconds.
    ///
    /// Raises:
    ///     ValueError: `topics` and `payloads` differ in length.
    #[staticmethod]
    #[pyo3(signature = (topics, payloads, *, arrived=0.0, retained=Vec::new(), observed=Vec::new()))]
    fn of(
        topics: Vec<String>,
        payloads: Vec<Bound<'_, PyBytes>>,
        arrived: f64,
        retained: Vec<usize>,
        observed: Vec<(usize, i64)>,
    ) -> PyResult<Self> {
        if topics.len() != payloads.len() {
            let (topics, payloads) = (topics.len(), payloads.len());
            return Err(PyValueError::new_err(format!(
                "expected as many payloads as topics, got {payloads} payloads and {topics} topics"
            )));
        }
        let mut burst = core::Burst::default();
        burst.arrived = arrived;
        for (place, (topic, payload)) in topics.iter().zip(&payloads).enumerate() {
            let observed_us = observed.iter().find(|one| one.0 == place).map(|one| one.1);
            let request = core::Arrived {
                topic,
                payload: payload.as_bytes(),
                retained: retained.contains(&place),
                observed_us,
                delivery: core::Delivery::default(),
            };
            burst.push(&request).map_err(|_| PyMemoryError::new_err("no memory for a request"))?;
        }
        Ok(Self { burst })
    }

    fn __len__(&self) -> usize {
        self.burst.len()
    }

    /// When the first request arrived, on the monotonic clock, in seconds.
    #[getter]
    fn arrived(&self) -> f64 {
        self.burst.arrived
    }

    /// Their memory in bytes, for every limit in bytes.
    #[getter]
    fn size(&self) -> usize {
        self.burst.size()
    }

    /// The size of all payloads.
    #[getter]
    fn payload_bytes(&self) -> usize {
        self.burst.payload_bytes()
    }

    /// The number of requests that are judged: those that are not retained.
    #[getter]
    fn fresh(&self) -> usize {
        self.burst.fresh()
    }

    /// The requests, an object for each.
    #[getter]
    fn requests<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let requests: Vec<_> = self.burst.iter().map(|request| Request::new(py, &request)).collect();
        PyList::new(
            py,
            requests.into_iter().map(|request| Bound::new(py, request)).collect::<PyResult<Vec<_>>>()?,
        )
    }

    /// The report of each request; None for a retained one and where the judge failed.
    ///
    /// An enforced product rejects a request with code 200 and a fault (contract 11).
    #[getter]
    fn reports(&self, py: Python<'_>) -> Vec<Option<Report>> {
        (0..self.burst.len()).map(|place| self.report(py, place)).collect()
    }

    /// The reply to each request; None for a request that is only acknowledged.
    #[getter]
    fn replies<'py>(&self, py: Python<'py>) -> Vec<Option<Bound<'py, PyBytes>>> {
        let reply = |place| self.burst.reply(place).map(|reply| PyBytes::new(py, reply));
        (0..self.burst.len()).map(reply).collect()
    }

    /// The instant of each request: `time` of its entries that have none (contract 3.5).
    #[getter]
    fn instants(&self) -> Vec<i64> {
        (0..self.burst.len()).map(|place| self.burst.instant_us(place)).collect()
    }

    /// How many points each request with accepted points has: native four-byte integers.
    #[getter]
    fn counts<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        // Points of a request are bounded by its payload, which has at most 4 GiB.
        let counts: Vec<u8> = self.burst.counts().flat_map(|count| (count as u32).to_ne_bytes()).collect();
        PyBytes::new(py, &counts)
    }

    /// The rejected requests: their topics, payloads, reports and instants.
    ///
    /// Also those that an enforced product rejects: their reports have code 200 and a fault.
    #[getter]
    fn rejected<'py>(&self, py: Python<'py>) -> Rejected<'py> {
        let mut found = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (place, request) in self.burst.iter().enumerate() {
            let Some(verdict) = self.burst.verdict(place) else { continue };
            let is_accepted = verdict.code() == core::Code::Ok && self.burst.shadowed(place).is_none();
            if is_accepted || verdict.code() == core::Code::BadTopic {
                continue;
            }
            found.0.push(request.topic.to_owned());
            found.1.push(PyBytes::new(py, request.payload));
            found.2.extend(self.report(py, place));
            found.3.push(self.burst.instant_us(place));
        }
        found
    }

    /// The topics of accepted requests with times before 1971, probably seconds (contract 3.5).
    ///
    /// Args:
    ///     settled: How many requests of the burst count.
    ///
    /// Returns:
    ///     For each topic how many of its requests have such times, and the payload of the first.
    fn early_times<'py>(&self, py: Python<'py>, settled: usize) -> EarlyTimes<'py> {
        let mut found: Vec<(&str, usize, &[u8])> = Vec::new();
        for (place, request) in self.burst.iter().enumerate().take(settled) {
            if self.burst.verdict(place).is_none_or(|verdict| verdict.early_times == 0) {
                continue;
            }
            match found.iter_mut().find(|one| one.0 == request.topic) {
                Some(one) => one.1 += 1,
                None => found.push((request.topic, 1, request.payload)),
            }
        }
        let entry = |(topic, count, payload): (&str, usize, &[u8])| {
            (topic.to_owned(), count, PyBytes::new(py, payload))
        };
        found.into_iter().map(entry).collect()
    }

    /// Give each request that is judged its arrival instant (contract 3.5).
    ///
    /// Args:
    ///     first_us: That of the first one, UTC microseconds; each one after it is a microsecond
    ///         later.
    ///     now_ms: The present, for the products' time windows, UTC milliseconds.
    fn stamp(&mut self, first_us: i64, now_ms: i64) {
        self.burst.stamp(first_us, now_ms);
    }

    /// Replace every reply; None for a request that is only acknowledged.
    ///
    /// Raises:
    ///     ValueError: There are not as many replies as requests.
    fn answer(&mut self, replies: Vec<Option<Bound<'_, PyBytes>>>) -> PyResult<()> {
        let len = self.burst.len();
        if replies.len() != len {
            return Err(PyValueError::new_err(format!("expected {len} replies, got {}", replies.len())));
        }
        for (place, reply) in replies.iter().enumerate() {
            self.burst.answer(place, reply.as_ref().map(PyBytesMethods::as_bytes));
        }
        Ok(())
    }

    /// Remove verdict and reply of requests that the store permanently rejected.
    ///
    /// Args:
    ///     numbers: Their places in `counts`.
    fn withdraw(&mut self, numbers: Vec<usize>) {
        self.burst.withdraw(&numbers);
    }
}

impl Burst {
    /// The end of a range of requests: `end`, or that of the burst.
    pub(crate) fn end(&self, start: usize, end: Option<usize>) -> PyResult<usize> {
        let end = end.unwrap_or_else(|| self.burst.len());
        self.check(start)?;
        self.check(end)?;
        Ok(end.max(start))
    }
}

/// One request as it arrived.
#[pyclass(frozen, get_all, module = "pointgate._core")]
pub(crate) struct Request {
    /// Its topic.
    topic: String,
    /// Its payload.
    payload: Py<PyBytes>,
    /// Whether it is acknowledged without being judged (contract 1.5).
    retained: bool,
    /// When it first arrived, UTC microseconds, if it is a replay that states this.
    observed: Option<i64>,
    /// 0, 1 or, in a session that another program created, 2.
    qos: u8,
    /// The packet id of its acknowledgement; 0 at QoS 0.
    packet_id: u16,
    /// MQTT 5 Correlation Data to echo, if present.
    correlation: Option<Py<PyBytes>>,
}

impl Request {
    fn new(py: Python<'_>, request: &core::Arrived<'_>) -> Self {
        let core::Delivery { qos, packet_id, correlation } = request.delivery;
        Self {
            topic: request.topic.to_owned(),
            payload: PyBytes::new(py, request.payload).unbind(),
            retained: request.retained,
            observed: request.observed_us,
            qos,
            packet_id,
            correlation: correlation.map(|data| PyBytes::new(py, data).unbind()),
        }
    }
}
