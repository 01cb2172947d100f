//! MQTT's requests, replies and acknowledgements of one connection.

use pointgate_core::mqtt;
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyType};

use crate::burst::Burst;

/// The window of replies until the broker has said its own: the usual default of MQTT 3.1.1.
const WINDOW: usize = 20;

/// A `MalformedPacketError` of `pointgate.sources.mqtt.packets`, or Python's own for memory.
pub(crate) fn feed_error(py: Python<'_>, error: &mqtt::FeedError) -> PyErr {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let mqtt::FeedError::Malformed(reason) = error else {
        return PyMemoryError::new_err("no memory for bytes of the broker");
    };
    let made = CLASS.import(py, "pointgate.sources.mqtt.packets", "MalformedPacketError");
    made.and_then(|class| class.call1((reason,))).map_or_else(|error| error, PyErr::from_value)
}

/// MQTT's frequent packets on one connection: requests in, replies and acknowledgements out.
///
/// PUBLISH and its acknowledgements are read and written here; every other packet is for the client
/// library (`take_control`). It does no I/O.
///
/// Args:
///     protocol: The level of the protocol, 4 or 5.
///     frame_limit: A longer PUBLISH is truncated to this many bytes, at least `HEADER_BYTES`. If
///         this is `HEADER_BYTES` over `limits.payload_bytes`, the judge still detects that the
///         payload is too large.
///     burst_requests: The most requests of a burst.
///     burst_bytes: Their most bytes; a single request may be larger.
///     reply_qos: The QoS of every reply; None for each request's own.
///
/// Raises:
///     ValueError: `protocol` is neither 4 nor 5.
#[pyclass(module = "pointgate._core")]
pub(crate) struct MqttCodec {
    splitter: mqtt::Splitter,
    replies: mqtt::Replies,
    rejected: Vec<(u8, String)>,
}

#[pymethods]
impl MqttCodec {
    #[new]
    #[pyo3(signature = (*, protocol, frame_limit, burst_requests, burst_bytes, reply_qos=None))]
    fn new(
        protocol: u8,
        frame_limit: usize,
        burst_requests: usize,
        burst_bytes: usize,
        reply_qos: Option<u8>,
    ) -> PyResult<Self> {
        let protocol = match protocol {
            4 => mqtt::Protocol::V3,
            5 => mqtt::Protocol::V5,
            _ => return Err(PyValueError::new_err(format!("expected protocol 4 or 5, got {protocol}"))),
        };
        let limits = mqtt::BurstLimits { requests: burst_requests, bytes: burst_bytes };
        Ok(Self {
            splitter: mqtt::Splitter::new(protocol, frame_limit, limits),
            replies: mqtt::Replies::new(protocol, reply_qos, WINDOW),
            rejected: Vec::new(),
        })
    }

    /// Parse the bytes of one read.
    ///
    /// Args:
    ///     data: The bytes, in the order of arrival.
    ///     now: When they arrived, on the monotonic clock, in seconds.
    ///
    /// Returns:
    ///     How many requests were completed, their memory in bytes, and the number of
    ///     acknowledgements.
    ///
    /// Raises:
    ///     MalformedPacketError: They are not MQTT.
    ///     MemoryError: An allocation failed. After either error the connection must be closed.
    fn feed(&mut self, py: Python<'_>, data: &[u8], now: f64) -> PyResult<(usize, usize, usize)> {
        let splitter = &mut self.splitter;
        let (requests, bytes, released) = (splitter.requests, splitter.bytes, splitter.released.len());
        splitter.feed(data, now).map_err(|error| feed_error(py, &error))?;
        let acknowledged = splitter.acknowledged.len() + splitter.released.len() - released;
        for one in splitter.acknowledged.drain(..) {
            if self.replies.acknowledge(one.packet_id) && one.reason >= mqtt::REFUSED {
                self.rejected.push((one.reason, one.explained));
            }
        }
        Ok((splitter.requests - requests, splitter.bytes - bytes, acknowledged))
    }

    /// Remove the requests that arrived first, at most a burst; None if there are none.
    fn take_burst(&mut self) -> Option<Burst> {
        self.splitter.take().map(|burst| Burst { burst })
    }

    /// Remove the complete packets that are for the client library.
    fn take_control<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let control = PyBytes::new(py, &self.splitter.control);
        self.splitter.control.clear();
        control
    }

    /// Remove the packets that must be sent at once: the PUBCOMP of each PUBREL.
    fn take_pubcomps<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let mut packets = Vec::new();
        self.splitter.released.drain(..).for_each(|packet_id| mqtt::push_pubcomp(packet_id, &mut packets));
        PyBytes::new(py, &packets)
    }

    /// Remove the replies that the broker rejected: reason code and Reason String.
    fn take_rejected(&mut self) -> Vec<(u8, String)> {
        std::mem::take(&mut self.rejected)
    }

    /// From now on ignore requests: at QoS 1 they are redelivered.
    fn ignore_requests(&mut self) {
        self.splitter.ignore_requests();
    }

    /// Apply the broker's limits, from its CONNACK.
    ///
    /// Args:
    ///     window: The most replies at QoS 1 that it has not acknowledged.
    ///     best_qos: The highest QoS of a reply.
    ///     packet_limit: The most bytes of a packet; None without a limit.
    fn allow(&mut self, window: usize, best_qos: u8, packet_limit: Option<usize>) {
        self.replies.allow(window, best_qos, packet_limit);
    }

    /// Whether no reply at QoS 1 may be sent before the broker acknowledges one.
    #[getter]
    fn window_is_full(&self) -> bool {
        self.replies.window_is_full()
    }

    /// The broker's limit of a packet, in bytes.
    #[getter]
    fn packet_limit(&self) -> Option<usize> {
        self.replies.packet_limit()
    }

    /// How many replies at QoS 1 the broker has not acknowledged.
    #[getter]
    fn unacknowledged(&self) -> usize {
        self.replies.unacknowledged()
    }

    /// Whether the reply to the request at this place must wait for the window.
    fn must_wait(&self, burst: PyRef<'_, Burst>, place: usize) -> bool {
        self.replies.must_wait(&burst.burst, place)
    }

    /// Write replies and acknowledgements until a reply must wait.
    ///
    /// Those of the request at `start` are written in any case.
    ///
    /// Args:
    ///     burst: A judged burst.
    ///     start: The place of the first request.
    ///     with_ends: Whether to return where packets end.
    ///
    /// Returns:
    ///     The packets, each reply before its request's acknowledgement; the place of the first
    ///     request that is not settled by them; the sizes of replies over the broker's limit, which
    ///     are left out; for each settled request where its reply and its acknowledgement end.
    #[pyo3(signature = (burst, start, *, with_ends=false))]
    fn write<'py>(
        &mut self,
        py: Python<'py>,
        burst: PyRef<'_, Burst>,
        start: usize,
        with_ends: bool,
    ) -> Written<'py> {
        let mut packets = Vec::new();
        let mqtt::Written { end, too_large, ends, .. } =
            self.replies.write(&burst.burst, start, &mut packets);
        (PyBytes::new(py, &packets), end, too_large, if with_ends { ends } else { Vec::new() })
    }
}

/// What [`MqttCodec::write`] returns.
type Written<'py> = (Bound<'py, PyBytes>, usize, Vec<usize>, Vec<(usize, usize)>);
