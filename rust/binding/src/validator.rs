//! The validator: a burst of requests in, a list of reports out.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use pointgate_core as core;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PySequence, PyString};

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

    #[pyo3(signature = (topics, payloads, *, now_ms=None))]
    fn validate<'py>(
        &self,
        py: Python<'py>,
        topics: &Bound<'py, PyAny>,
        payloads: &Bound<'py, PyAny>,
        now_ms: Option<i64>,
    ) -> PyResult<Bound<'py, PyList>> {
        let (topics, payloads) = (as_list(topics)?, as_list(payloads)?);
        if topics.len() != payloads.len() {
            let (topics, payloads) = (topics.len(), payloads.len());
            return Err(PyValueError::new_err(format!(
                "expected as many payloads as topics, got {payloads} payloads and {topics} topics"
            )));
        }
        let catalog = self.catalog(py);
        let now_ms = now_ms.unwrap_or_else(now);
        let mut requests = Vec::with_capacity(topics.len());
        let mut bytes = 0;
        for (topic, payload) in topics.iter().zip(payloads.iter()) {
            let (topic, payload) = (topic.cast_into::<PyString>()?, payload.cast_into::<PyBytes>()?);
            bytes += payload.as_bytes().len();
            requests.push((topic, payload));
        }
        // A topic that is no text cannot be one that is served.
        let requests = requests.iter().map(|(topic, payload)| core::Request {
            topic: topic.to_str().unwrap_or_default(),
            payload: payload.as_bytes(),
            now_ms,
        });

        let mut workspace = self.workspaces().pop().unwrap_or_default();
        let mut reports = Vec::with_capacity(topics.len());
        if bytes < RELEASE_BYTES {
            for request in requests {
                let verdict = self.judge(&catalog.get().snapshot, &request, &mut workspace);
                reports.push(Bound::new(py, Report::new(py, verdict, &workspace.reply))?);
            }
        } else {
            let snapshot = catalog.get().snapshot.clone();
            let requests: Vec<_> = requests.collect();
            let judged: Vec<_> = py.detach(|| {
                let judged = requests.iter().map(|request| {
                    let verdict = self.judge(&snapshot, request, &mut workspace);
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

impl Validator {
    fn workspaces(&self) -> MutexGuard<'_, Vec<Workspace>> {
        self.workspaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Judges one request and leaves the reply in the workspace.
    fn judge(
        &self,
        catalog: &core::Catalog,
        request: &core::Request<'_>,
        workspace: &mut Workspace,
    ) -> core::Verdict {
        let verdict = core::judge(catalog, &self.limits, request, &mut workspace.scratch);
        workspace.reply.clear();
        core::render(&verdict, request.payload, self.detail, &mut workspace.reply);
        verdict
    }
}

fn as_list<'py>(sequence: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    match sequence.cast::<PyList>() {
        Ok(list) => Ok(list.clone()),
        Err(_) => sequence.cast::<PySequence>()?.to_list(),
    }
}

/// UTC milliseconds by the system clock.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
