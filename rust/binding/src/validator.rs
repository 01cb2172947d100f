//! The validator: a burst of requests in, a list of reports out.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use pointgate_core as core;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PySequence, PyString};

use crate::catalog::Catalog;
use crate::points::Points;
use crate::report::Report;

/// From this many bytes a call gives up the interpreter lock. Below, taking it back can cost more
/// than the work: with another thread busy, five milliseconds a call.
const RELEASE_BYTES: usize = 200_000;

// Spelled out in the signature, so that Python can show it.
const _: () = assert!(core::DEFAULT_PAYLOAD_BYTES == 8_388_608);

/// Judges requests against the catalog in force.
#[pyclass(frozen, module = "pointgate._core")]
pub(crate) struct Validator {
    catalog: Mutex<Py<Catalog>>,
    limits: core::Limits,
    detail: core::Detail,
    /// As many as there were ever calls under way at once.
    workspaces: Mutex<Vec<Workspace>>,
}

/// What a call works with; kept from one to the next, so that a small one allocates nothing but its results.
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
            "none" => core::Detail::None,
            _ => {
                return Err(PyValueError::new_err(format!(
                    "expected reply_detail full or none, got {reply_detail}"
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

    #[getter]
    fn catalog(&self, py: Python<'_>) -> Py<Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner).clone_ref(py)
    }

    #[setter]
    fn set_catalog(&self, catalog: Py<Catalog>) {
        let mut current = self.catalog.lock().unwrap_or_else(PoisonError::into_inner);
        let former = std::mem::replace(&mut *current, catalog);
        // Dropping a catalog can run Python code, which must not find the lock held.
        drop(current);
        drop(former);
    }

    #[pyo3(signature = (topics, payloads, *, now_ms=None, observed_us=None))]
    fn validate<'py>(
        &self,
        py: Python<'py>,
        topics: &Bound<'py, PyAny>,
        payloads: &Bound<'py, PyAny>,
        now_ms: Option<i64>,
        observed_us: Option<Vec<Option<i64>>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let burst = Burst::new(topics, payloads, Arrival { now_ms, arrived_us: None, observed_us })?;
        self.judge(py, &burst, core::judge)
    }

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
        let mut burst = Burst::new(topics, payloads, arrival)?;
        burst.take_instants();
        let mut points = core::Points::for_payloads(burst.bytes);
        let reports = self.judge(py, &burst, |catalog, limits, request, scratch| {
            core::collect(catalog, limits, request, scratch, &mut points)
        })?;
        Ok((reports, Points::new(points)))
    }
}

impl Validator {
    fn workspaces(&self) -> MutexGuard<'_, Vec<Workspace>> {
        self.workspaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Judges a burst, one call of `judge` a request.
    fn judge<'py>(
        &self,
        py: Python<'py>,
        burst: &Burst<'py>,
        mut judge: impl FnMut(
            &core::Catalog,
            &core::Limits,
            &core::Request<'_>,
            &mut core::Scratch,
        ) -> core::Verdict
        + Send,
    ) -> PyResult<Bound<'py, PyList>> {
        let catalog = self.catalog(py);
        let mut workspace = self.workspaces().pop().unwrap_or_default();
        let mut judge = |catalog: &core::Catalog, request: &core::Request<'_>, workspace: &mut Workspace| {
            let verdict = judge(catalog, &self.limits, request, &mut workspace.scratch);
            workspace.reply.clear();
            core::render(&verdict, request.payload, self.detail, &mut workspace.reply);
            verdict
        };
        let mut reports = Vec::with_capacity(burst.payloads.len());
        if burst.bytes < RELEASE_BYTES {
            for (place, (topic, payload)) in burst.topics.iter().zip(burst.payloads.iter()).enumerate() {
                let (topic, payload) = (topic.cast::<PyString>()?, payload.cast::<PyBytes>()?);
                let request = burst.request(place, topic, payload);
                let verdict = judge(&catalog.get().snapshot, &request, &mut workspace);
                reports.push(Bound::new(py, Report::new(py, verdict, &workspace.reply))?);
            }
        } else {
            let snapshot = catalog.get().snapshot.clone();
            // The lists may be changed meanwhile, what they hold now may not.
            let held = burst.topics.iter().zip(burst.payloads.iter());
            let held: Vec<_> = held
                .map(|(topic, payload)| Ok((topic.cast_into::<PyString>()?, payload.cast_into::<PyBytes>()?)))
                .collect::<PyResult<_>>()?;
            let requests: Vec<_> =
                held.iter().enumerate().map(|(place, held)| burst.request(place, &held.0, &held.1)).collect();
            let judged: Vec<_> = py.detach(|| {
                let judged = requests.iter().map(|request| {
                    let verdict = judge(&snapshot, request, &mut workspace);
                    (verdict, workspace.reply.clone())
                });
                judged.collect()
            });
            for (verdict, reply) in judged {
                reports.push(Bound::new(py, Report::new(py, verdict, &reply))?);
            }
        }
        self.workspaces().push(workspace);
        PyList::new(py, reports)
    }
}

/// When the requests of one call arrived, as far as the caller says so.
struct Arrival {
    now_ms: Option<i64>,
    /// Of the first request; each one after it arrives a microsecond later.
    arrived_us: Option<i64>,
    observed_us: Option<Vec<Option<i64>>>,
}

/// The requests of one call.
struct Burst<'py> {
    topics: Bound<'py, PyList>,
    payloads: Bound<'py, PyList>,
    /// Of all payloads together.
    bytes: usize,
    now_ms: i64,
    arrival: Arrival,
}

impl<'py> Burst<'py> {
    fn new(topics: &Bound<'py, PyAny>, payloads: &Bound<'py, PyAny>, arrival: Arrival) -> PyResult<Self> {
        let (topics, payloads) = (as_list(topics)?, as_list(payloads)?);
        if topics.len() != payloads.len() {
            let (topics, payloads) = (topics.len(), payloads.len());
            return Err(PyValueError::new_err(format!(
                "expected as many payloads as topics, got {payloads} payloads and {topics} topics"
            )));
        }
        if let Some(observed) = arrival.observed_us.as_ref().filter(|list| list.len() != topics.len()) {
            let (topics, observed) = (topics.len(), observed.len());
            return Err(PyValueError::new_err(format!(
                "expected as many observed_us as topics, got {observed} observed_us and {topics} topics"
            )));
        }
        let mut bytes = 0;
        for payload in payloads.iter() {
            bytes += payload.cast::<PyBytes>()?.as_bytes().len();
        }
        let of_arrival =
            || arrival.arrived_us.map_or_else(|| now_us() / 1000, |first| first.div_euclid(1000));
        let now_ms = arrival.now_ms.unwrap_or_else(of_arrival);
        Ok(Self { topics, payloads, bytes, now_ms, arrival })
    }

    /// Gives each request an instant of its own, where the caller leaves that to us.
    fn take_instants(&mut self) {
        let Arrival { now_ms, arrived_us, .. } = &mut self.arrival;
        let count = i64::try_from(self.payloads.len()).unwrap_or(i64::MAX);
        let first = || now_ms.map_or_else(|| next_instants(count), |now_ms| now_ms.saturating_mul(1000));
        arrived_us.get_or_insert_with(first);
    }

    fn request<'a>(
        &self,
        place: usize,
        topic: &'a Bound<'py, PyString>,
        payload: &'a Bound<'py, PyBytes>,
    ) -> core::Request<'a> {
        let Arrival { arrived_us, observed_us, .. } = &self.arrival;
        core::Request {
            // A topic that is no text cannot be one that is served.
            topic: topic.to_str().unwrap_or_default(),
            payload: payload.as_bytes(),
            now_ms: self.now_ms,
            arrived_us: arrived_us.unwrap_or_default().saturating_add(place as i64),
            observed_us: observed_us.as_ref().and_then(|list| list.get(place).copied().flatten()),
        }
    }
}

fn as_list<'py>(sequence: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    match sequence.cast::<PyList>() {
        Ok(list) => Ok(list.clone()),
        Err(_) => sequence.cast::<PySequence>()?.to_list(),
    }
}

/// UTC microseconds by the system clock.
fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// The first of so many instants in a row: by the system clock, later than all that were given before in this process.
fn next_instants(count: i64) -> i64 {
    static NEXT: AtomicI64 = AtomicI64::new(0);
    let now = now_us();
    let taken = NEXT
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| Some(next.max(now).saturating_add(count)));
    taken.unwrap_or_default().max(now)
}
