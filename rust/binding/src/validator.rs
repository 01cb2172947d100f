//! The validator: a burst of requests in, a list of reports out.

mod judging;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pointgate_core as core;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::arguments::{Arguments, Arrival};
use crate::burst::Burst;
use crate::catalog::Catalog;
use crate::judge_arrow::{Requests, Verdicts, internal};
use crate::lines::{Block, Lines};
use crate::points::Points;
use crate::report::Fault;

/// From this many bytes on a call releases the interpreter lock. Below, acquiring it again can cost
/// more than the work: five milliseconds a call while another thread computes.
const RELEASE_BYTES: usize = 200_000;

// Spelled out in the signature, so that Python can show it.
const _: () = assert!(core::DEFAULT_PAYLOAD_BYTES == 8_388_608);

/// Judges requests against a catalog. Can be called from several threads at once.
///
/// Args:
///     catalog: The products, their models and devices.
///     payload_bytes: Larger payloads get code 1008 without being read; 1 to 4,294,967,295.
///     reply_detail: Whether replies carry the fault (`full`), all faults that fit (`all`), or only
///         code and text (`none`).
///
/// Raises:
///     ValueError: `payload_bytes` is out of range, or `reply_detail` none of the words.
#[pyclass(frozen, module = "pointgate._core")]
pub(crate) struct Validator {
    catalog: Mutex<Py<Catalog>>,
    limits: core::Limits,
    detail: core::Detail,
    /// Workspaces that no call uses now: as many as the most calls at one time.
    workspaces: Mutex<Vec<Workspace>>,
}

/// The buffers of one call, kept for later ones, so that a small call allocates only its results.
#[derive(Default)]
struct Workspace {
    scratch: core::Scratch,
    reply: Vec<u8>,
}

#[pymethods]
impl Validator {
    #[new]
    #[pyo3(signature = (catalog, *, payload_bytes=8_388_608, reply_detail="full"))]
    fn new(catalog: Py<Catalog>, payload_bytes: usize, reply_detail: &str) -> PyResult<Self> {
        if !(1..=core::MAX_PAYLOAD_BYTES).contains(&payload_bytes) {
            let most = core::MAX_PAYLOAD_BYTES;
            return Err(PyValueError::new_err(format!(
                "expected payload_bytes from 1 to {most}, got {payload_bytes}"
            )));
        }
        let detail = match reply_detail {
            "full" => core::Detail::Full,
            "all" => core::Detail::All,
            "none" => core::Detail::None,
            _ => {
                return Err(PyValueError::new_err(format!(
                    "expected reply_detail full, all or none, got {reply_detail}"
                )));
            }
        };
        Ok(Self {
            catalog: Mutex::new(catalog),
            limits: core::Limits { payload_bytes },
            detail,
            workspaces: Mutex::default(),
        })
    }

    /// The catalog in force. Assigning replaces it between calls, never in one (contract 6.3).
    #[getter]
    fn catalog(&self, py: Python<'_>) -> Py<Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner).clone_ref(py)
    }

    #[setter]
    fn set_catalog(&self, catalog: Py<Catalog>) {
        let mut current = self.catalog.lock().unwrap_or_else(PoisonError::into_inner);
        let former = std::mem::replace(&mut *current, catalog);
        // Dropping a catalog can run Python code, which could deadlock on the lock.
        drop(current);
        drop(former);
    }

    /// Judge a burst of requests: one report for each, in order.
    ///
    /// A request that is not valid is no exception: its report has a fault.
    ///
    /// Args:
    ///     topics: The topics of the requests, a sequence of str.
    ///     payloads: Their payloads, a sequence of bytes, as many as topics.
    ///     now_ms: The present, for the products' time windows, UTC milliseconds; the system clock
    ///         if None.
    ///     observed_us: For each request the `time` of its entries that have none, UTC
    ///         microseconds; None is the instant of its arrival, which is within every window.
    ///
    /// Returns:
    ///     A list with one report for each request, in order.
    ///
    /// Raises:
    ///     ValueError: `topics`, `payloads` and `observed_us` differ in length.
    ///     TypeError: `topics` or `payloads` is no sequence, or an element is no str or no bytes.
    #[pyo3(signature = (topics, payloads, *, now_ms=None, observed_us=None))]
    fn validate<'py>(
        &self,
        py: Python<'py>,
        topics: &Bound<'py, PyAny>,
        payloads: &Bound<'py, PyAny>,
        now_ms: Option<i64>,
        observed_us: Option<Vec<Option<i64>>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let catalog = self.catalog(py);
        let arrival = Arrival { now_ms, arrived_us: None, observed_us };
        let burst = Arguments::new(topics, payloads, arrival, &catalog.get().snapshot)?;
        self.judge(py, &catalog, &burst, core::judge)
    }

    /// Judge a burst as `validate` does, and return the points of its accepted requests, too.
    ///
    /// Each request arrives at an instant of its own: `received` of its points, and `time` of
    /// those that have none (contract 3.5).
    ///
    /// Besides the payloads it takes at most 56 bytes a point, 48 an entry, and twice the texts
    /// and device keys; the export and `pyarrow.table(points)` are included.
    ///
    /// Args:
    ///     topics: The topics of the requests, a sequence of str.
    ///     payloads: Their payloads, a sequence of bytes, as many as topics.
    ///     now_ms: The present, for the products' time windows, UTC milliseconds; if None that of
    ///         `arrived_us`, or the system clock.
    ///     arrived_us: When the first request arrived, UTC microseconds; each further one arrived
    ///         one microsecond later. If None `now_ms`; without that the system clock, but later
    ///         than every instant that was given before in this process.
    ///     observed_us: For each request the `time` of its entries that have none, UTC
    ///         microseconds; None is the instant of its arrival.
    ///
    /// Returns:
    ///     The reports, as `validate` returns them, and the points of the accepted requests.
    ///
    /// Raises:
    ///     ValueError: `topics`, `payloads` and `observed_us` differ in length.
    ///     TypeError: `topics` or `payloads` is no sequence, or an element is no str or no bytes.
    #[pyo3(signature = (topics, payloads, *, now_ms=None, arrived_us=None, observed_us=None))]
    fn collect<'py>(
        &self,
        py: Python<'py>,
        topics: &Bound<'py, PyAny>,
        payloads: &Bound<'py, PyAny>,
        now_ms: Option<i64>,
        arrived_us: Option<i64>,
        observed_us: Option<Vec<Option<i64>>>,
    ) -> PyResult<(Bound<'py, PyList>, Points)> {
        let arrival = Arrival { now_ms, arrived_us, observed_us };
        let catalog = self.catalog(py);
        let mut burst = Arguments::new(topics, payloads, arrival, &catalog.get().snapshot)?;
        burst.take_instants();
        let mut points = core::Points::for_payloads(burst.bytes);
        let reports = self.judge(py, &catalog, &burst, |catalog, limits, request, scratch| {
            core::collect(catalog, limits, request, scratch, &mut points)
        })?;
        Ok((reports, Points::new(points)))
    }

    /// All faults of a request, in the contract's order: the first one is that of `validate`.
    ///
    /// Args:
    ///     topic: Its topic.
    ///     payload: Its payload. One that is no JSON has one fault.
    ///     now_ms: The present, for the products' time windows, UTC milliseconds; the system clock
    ///         if None.
    ///     observed_us: The `time` of its entries that have none, UTC microseconds.
    ///     most: How many faults are returned.
    ///
    /// Returns:
    ///     The faults, none if the request is accepted; and whether there are more.
    #[pyo3(signature = (topic, payload, *, now_ms=None, observed_us=None, most=100))]
    fn all_faults(
        &self,
        py: Python<'_>,
        topic: &str,
        payload: Bound<'_, PyBytes>,
        now_ms: Option<i64>,
        observed_us: Option<i64>,
        most: usize,
    ) -> (Vec<Fault>, bool) {
        let now_ms = now_ms.unwrap_or_else(|| crate::instants::now_us() / 1000);
        let catalog = self.catalog(py);
        let mut workspace = self.workspaces().pop().unwrap_or_default();
        let mut request = core::Request::new(topic, payload.as_bytes(), now_ms);
        request.observed_us = observed_us;
        let (faults, more) =
            core::all_faults(&catalog.get().snapshot, &self.limits, &request, &mut workspace.scratch, most);
        self.workspaces().push(workspace);
        (faults.into_iter().map(Fault::new).collect(), more)
    }

    /// Judge requests that are columns of Arrow, as `collect` does, without objects for each.
    ///
    /// The interpreter lock is released meanwhile.
    ///
    /// Args:
    ///     payloads: An Arrow array of binary or string, of pyarrow, polars or any library with
    ///         Arrow's PyCapsule interface; a null is an empty payload.
    ///     topics: The same with a topic for each request, or one str for all.
    ///     now_ms: The present, for the products' time windows, UTC milliseconds; if None that of
    ///         `arrived_us`, or the system clock. Set it once for a job that may repeat parts.
    ///     arrived_us: When the first request arrived, UTC microseconds; see `collect`.
    ///     plain: Whether names of points are strings instead of dictionaries, which some engines,
    ///         such as Spark, refuse.
    ///
    /// Returns:
    ///     The verdicts, a row for each request, and the points of the accepted requests, with an
    ///     additional column `request`: the row of the request.
    ///
    /// Raises:
    ///     TypeError: `payloads` or `topics` is no Arrow array, or of another type.
    ///     ValueError: `payloads` and `topics` differ in length.
    #[pyo3(signature = (payloads, topics, *, now_ms=None, arrived_us=None, plain=false))]
    fn judge_arrow(
        &self,
        py: Python<'_>,
        payloads: &Bound<'_, PyAny>,
        topics: &Bound<'_, PyAny>,
        now_ms: Option<i64>,
        arrived_us: Option<i64>,
        plain: bool,
    ) -> PyResult<(Verdicts, Points)> {
        let requests = Requests::import(payloads, topics, now_ms, arrived_us)?;
        let snapshot = self.catalog(py).get().snapshot.clone();
        let mut workspace = self.workspaces().pop().unwrap_or_default();
        let judged = py.detach(|| requests.judge(&snapshot, self.limits, &mut workspace.scratch));
        self.workspaces().push(workspace);
        let (verdicts, points, counts) = judged.map_err(internal)?;
        Ok((verdicts, Points::with_requests(points, counts, plain)))
    }

    /// Judge the lines of a block, each of which is a request, without objects for each.
    ///
    /// The interpreter lock is released meanwhile. A line ends with LF or CR LF; one of whitespace
    /// is no request.
    ///
    /// Args:
    ///     data: Whole lines.
    ///     topic: The topic of every request.
    ///     now_ms: The present, for the products' time windows, UTC milliseconds; the system clock
    ///         if None.
    ///     arrived_us: When the first line arrived, UTC microseconds; each further one arrived one
    ///         microsecond later. `now_ms` if None.
    ///     collect: Whether to return the points of accepted requests.
    ///     threads: On how many threads they are judged.
    #[expect(clippy::too_many_arguments, reason = "keywords in Python")]
    #[pyo3(signature = (data, topic, *, now_ms=None, arrived_us=None, collect=false, threads=1))]
    fn judge_lines(
        &self,
        py: Python<'_>,
        data: Bound<'_, PyBytes>,
        topic: &str,
        now_ms: Option<i64>,
        arrived_us: Option<i64>,
        collect: bool,
        threads: usize,
    ) -> PyResult<Lines> {
        let now_ms = now_ms.unwrap_or_else(|| crate::instants::now_us() / 1000);
        let arrived_us = arrived_us.unwrap_or_else(|| now_ms.saturating_mul(1000));
        let block = Block { data: data.as_bytes(), topic, now_ms, arrived_us, collect };
        let snapshot = self.catalog(py).get().snapshot.clone();
        let mut workspace = self.workspaces().pop().unwrap_or_default();
        let judged = py.detach(|| block.judge(&snapshot, self.limits, &mut workspace.scratch, threads));
        self.workspaces().push(workspace);
        Lines::new(py, judged)
    }

    /// Judge requests of a burst, which keeps their verdicts and replies; skip retained ones.
    ///
    /// Replies, and the points that are returned, are those of the products' modes (contract 11).
    ///
    /// Args:
    ///     burst: The burst, stamped.
    ///     start: The place of the first request.
    ///     end: The place behind the last one; None for the end of the burst.
    ///     collect: Whether to return the points of accepted requests.
    ///     seconds: The call returns soon after this time, with some requests judged; None for all.
    ///
    /// Returns:
    ///     The place of the first request that was not judged, and the points.
    ///
    /// Raises:
    ///     ValueError: `start` or `end` is outside the burst.
    #[pyo3(signature = (burst, start, *, end=None, collect=false, seconds=None))]
    fn judge_burst(
        &self,
        py: Python<'_>,
        mut burst: PyRefMut<'_, Burst>,
        start: usize,
        end: Option<usize>,
        collect: bool,
        seconds: Option<f64>,
    ) -> PyResult<(usize, Option<Points>)> {
        let end = burst.end(start, end)?;
        let burst = &mut burst.burst;
        let bytes = burst.payload_bytes_in(start..end);
        let catalog = self.catalog(py);
        let seconds = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let mut judge =
            |snapshot: &core::Catalog| self.judge_range(snapshot, burst, start..end, collect, seconds);
        let (end, points) = if bytes < RELEASE_BYTES {
            judge(&catalog.get().snapshot)
        } else {
            let snapshot = catalog.get().snapshot.clone();
            py.detach(|| judge(&snapshot))
        };
        Ok((end, points.map(Points::new)))
    }
}
