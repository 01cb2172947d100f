//! The validator: a burst of requests in, a list of reports out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use pointgate_core as core;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

use crate::catalog::Catalog;
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
    /// One for each call under way, kept for the next ones.
    scratches: Mutex<Vec<core::Scratch>>,
}

/// The requests of a call, borrowed from Python objects that the call holds on to.
type Requests<'a> = Vec<(&'a str, &'a [u8])>;

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
            scratches: Mutex::default(),
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

    #[pyo3(signature = (topics, payloads, *, now_ms=None))]
    fn validate<'py>(
        &self,
        py: Python<'py>,
        topics: Vec<Bound<'py, PyString>>,
        payloads: Vec<Bound<'py, PyBytes>>,
        now_ms: Option<i64>,
    ) -> PyResult<Bound<'py, PyList>> {
        if topics.len() != payloads.len() {
            let (topics, payloads) = (topics.len(), payloads.len());
            return Err(PyValueError::new_err(format!(
                "expected as many payloads as topics, got {payloads} payloads and {topics} topics"
            )));
        }
        // A topic that is no text cannot be one that is served.
        let topics = topics.iter().map(|topic| topic.to_str().unwrap_or_default());
        let requests: Requests<'_> =
            topics.zip(payloads.iter().map(pyo3::types::PyBytesMethods::as_bytes)).collect();
        let catalog = self.catalog(py);
        let snapshot = catalog.get().snapshot.clone();
        let now_ms = now_ms.unwrap_or_else(now);

        let bytes: usize = requests.iter().map(|(_, payload)| payload.len()).sum();
        let (verdicts, replies) = if bytes < RELEASE_BYTES {
            self.judge(&snapshot, &requests, now_ms)
        } else {
            py.detach(|| self.judge(&snapshot, &requests, now_ms))
        };

        let mut start = 0;
        let mut reports = Vec::with_capacity(verdicts.len());
        for (verdict, end) in verdicts {
            let reply = replies.get(start..end).unwrap_or_default();
            reports.push(Bound::new(py, Report::new(py, verdict, reply))?);
            start = end;
        }
        PyList::new(py, reports)
    }
}

impl Validator {
    /// Judges every request; returns each verdict with the end of its reply in the bytes beside them.
    fn judge(
        &self,
        catalog: &Arc<core::Catalog>,
        requests: &Requests<'_>,
        now_ms: i64,
    ) -> (Vec<(core::Verdict, usize)>, Vec<u8>) {
        let scratches = || self.scratches.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scratch = scratches().pop().unwrap_or_default();
        let mut replies = Vec::with_capacity(64 * requests.len());
        let mut verdicts = Vec::with_capacity(requests.len());
        for &(topic, payload) in requests {
            let request = core::Request { topic, payload, now_ms };
            let verdict = core::judge(catalog, &self.limits, &request, &mut scratch);
            core::render(&verdict, payload, self.detail, &mut replies);
            verdicts.push((verdict, replies.len()));
        }
        scratches().push(scratch);
        (verdicts, replies)
    }
}

/// UTC milliseconds by the system clock.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
