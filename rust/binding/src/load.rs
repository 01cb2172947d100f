//! The requests of a load generator, and the check of their replies.

use pointgate_core::mqtt;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::mqtt::feed_error;

/// Topic, payload, where its id begins, where its times begin, the code of its reply.
type Template = (String, Vec<u8>, usize, Vec<usize>, u16);

/// The requests of a load generator on some connections, and the check of their replies.
///
/// It speaks MQTT 3.1.1, and does no I/O. Instants are nanoseconds of one clock.
///
/// Args:
///     good: The requests that must be accepted: topic, payload, the place of the 16 digits of its
///         id, the places of the 13 digits of its times, and the code of its reply.
///     bad: Those that must be rejected.
///     bad_share: The share of the latter, 0 to 1.
///     qos: 0 or 1.
///     connections: The number of connections.
///     mark: The first half of every id, which tells replies from those to other senders.
///     first_ms: The first time in a payload, UTC milliseconds.
///     span_ms: After so many milliseconds times begin anew.
///     timeout_ns: How long after it was due a request without a reply is lost.
///
/// Raises:
///     ValueError: There is no request of a kind, or a place is outside of a payload.
#[pyclass(module = "pointgate._core")]
pub(crate) struct MqttLoad {
    load: mqtt::Load,
}

#[pymethods]
impl MqttLoad {
    #[new]
    #[pyo3(signature = (good, bad, *, bad_share, qos, connections, mark, first_ms, span_ms, timeout_ns))]
    #[expect(clippy::too_many_arguments, reason = "keywords in Python")]
    fn new(
        good: Vec<Template>,
        bad: Vec<Template>,
        bad_share: f64,
        qos: u8,
        connections: usize,
        mark: u32,
        first_ms: u64,
        span_ms: u64,
        timeout_ns: u64,
    ) -> PyResult<Self> {
        let templates = |templates: Vec<Template>| {
            let template = |(topic, payload, id_at, times_at, code)| mqtt::Template {
                topic,
                payload,
                id_at,
                times_at,
                code,
            };
            templates.into_iter().map(template).collect()
        };
        let plan = mqtt::Plan {
            good: templates(good),
            bad: templates(bad),
            bad_share,
            acknowledged: qos > 0,
            mark,
            first_ms,
            span_ms,
            timeout_ns,
        };
        let load = mqtt::Load::new(plan, connections);
        load.map(|load| Self { load })
            .ok_or_else(|| PyValueError::new_err("expected requests of each kind, with places inside them"))
    }

    /// Make requests; fewer if the broker has not acknowledged those before.
    ///
    /// Args:
    ///     connection: The number of the connection that they are for.
    ///     count: How many.
    ///     due_ns: When the first one was due, from which its latency counts.
    ///     interval_ns: The time from one to the next.
    ///
    /// Returns:
    ///     Their packets, to be sent in order.
    #[pyo3(signature = (connection, count, due_ns, interval_ns=0.0))]
    fn publish<'py>(
        &mut self,
        py: Python<'py>,
        connection: usize,
        count: usize,
        due_ns: u64,
        interval_ns: f64,
    ) -> Bound<'py, PyBytes> {
        let mut packets = Vec::new();
        self.load.publish(connection, count, (due_ns, interval_ns), &mut packets);
        PyBytes::new(py, &packets)
    }

    /// Parse the bytes of one read, and count the replies in it.
    ///
    /// Args:
    ///     connection: The number of the connection.
    ///     data: The bytes, in the order of arrival.
    ///     now_ns: When they arrived.
    ///
    /// Returns:
    ///     The acknowledgements of the replies, to be sent.
    ///
    /// Raises:
    ///     MalformedPacketError: They are not MQTT.
    ///     MemoryError: An allocation failed. After either error the connection must be closed.
    fn feed<'py>(
        &mut self,
        py: Python<'py>,
        connection: usize,
        data: &[u8],
        now_ns: u64,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let mut packets = Vec::new();
        let fed = self.load.feed(connection, data, now_ns, &mut packets);
        fed.map_err(|error| feed_error(py, &error))?;
        Ok(PyBytes::new(py, &packets))
    }

    /// Give up the requests whose reply has not arrived in time.
    fn expire(&mut self, now_ns: u64) {
        self.load.expire(now_ns);
    }

    /// How many requests were sent.
    #[getter]
    fn sent(&self) -> u64 {
        self.load.tally().sent
    }

    /// How many of them have no reply, and are not lost.
    #[getter]
    fn outstanding(&self) -> usize {
        self.load.outstanding()
    }

    /// A quantile of the latencies so far, in nanoseconds; 1.0 is the longest.
    fn latency_ns(&self, share: f64) -> u64 {
        let latencies = &self.load.tally().latencies;
        if share < 1.0 { latencies.quantile_ns(share) } else { latencies.most_ns() }
    }

    /// Every figure.
    ///
    /// Returns:
    ///     `sent`, `sent_bytes`, `answered`, `lost`, `repeated`, `foreign`: int;
    ///     `codes`: dict of expected and actual code to requests.
    fn read<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let tally = self.load.tally();
        let figures = PyDict::new(py);
        figures.set_item("sent", tally.sent)?;
        figures.set_item("sent_bytes", tally.sent_bytes)?;
        figures.set_item("answered", tally.codes.values().sum::<u64>())?;
        figures.set_item("lost", tally.lost)?;
        figures.set_item("repeated", tally.repeated)?;
        figures.set_item("foreign", tally.foreign)?;
        let codes = PyDict::new(py);
        for (expected_and_actual, requests) in &tally.codes {
            codes.set_item(expected_and_actual, requests)?;
        }
        figures.set_item("codes", codes)?;
        Ok(figures)
    }
}
