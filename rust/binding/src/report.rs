//! Reports and faults: what Python sees of a verdict.

use std::sync::Arc;

use pointgate_core as core;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// What became of one request.
#[pyclass(frozen, module = "pointgate._core")]
pub(crate) struct Report {
    pub(crate) code: core::Code,
    pub(crate) points: u64,
    pub(crate) null_points: u64,
    pub(crate) early_times: u64,
    reply: Option<Py<PyBytes>>,
    pub(crate) fault: Option<Arc<core::Fault>>,
}

impl Report {
    /// A reply without bytes means that nothing may be answered.
    pub(crate) fn new(py: Python<'_>, verdict: core::Verdict, reply: &[u8]) -> Self {
        Self {
            code: verdict.code(),
            points: verdict.points,
            null_points: verdict.null_points,
            early_times: verdict.early_times,
            reply: (!reply.is_empty()).then(|| PyBytes::new(py, reply).unbind()),
            fault: verdict.fault.map(Arc::from),
        }
    }
}

#[pymethods]
impl Report {
    #[getter]
    fn code(&self) -> u16 {
        self.code.number()
    }

    #[getter]
    fn points(&self) -> u64 {
        self.points
    }

    #[getter]
    fn null_points(&self) -> u64 {
        self.null_points
    }

    #[getter]
    fn early_times(&self) -> u64 {
        self.early_times
    }

    #[getter]
    fn reply(&self, py: Python<'_>) -> Option<Py<PyBytes>> {
        self.reply.as_ref().map(|reply| reply.clone_ref(py))
    }

    #[getter]
    fn fault(&self) -> Option<Fault> {
        self.fault.clone().map(Fault)
    }

    fn __repr__(&self) -> String {
        let reason = self.fault.as_ref().map_or("", |fault| fault.reason.name());
        format!("Report(code={}, points={}, reason={reason:?})", self.code.number(), self.points)
    }
}

/// Why a request was not accepted.
#[pyclass(frozen, module = "pointgate._core")]
pub(crate) struct Fault(Arc<core::Fault>);

#[pymethods]
impl Fault {
    #[getter]
    fn index(&self) -> Option<usize> {
        self.0.index
    }

    #[getter]
    fn device_key(&self) -> Option<&str> {
        self.0.device_key.as_deref()
    }

    #[getter]
    fn identifier(&self) -> Option<&str> {
        self.0.identifier.as_deref()
    }

    #[getter]
    fn pointer(&self) -> Option<String> {
        self.0.pointer()
    }

    #[getter]
    fn reason(&self) -> &'static str {
        self.0.reason.name()
    }

    #[getter]
    fn expected(&self) -> Option<&str> {
        self.0.expected.as_deref()
    }

    #[getter]
    fn got(&self) -> Option<&str> {
        self.0.got.as_deref()
    }

    #[getter]
    fn did_you_mean(&self) -> Option<&str> {
        self.0.did_you_mean.as_deref()
    }

    #[getter]
    fn offset(&self) -> usize {
        self.0.offset
    }

    #[getter]
    fn message(&self) -> String {
        core::message(&self.0)
    }

    fn __repr__(&self) -> String {
        format!(
            "Fault(reason={:?}, pointer={:?}, offset={})",
            self.0.reason.name(),
            self.0.pointer().unwrap_or_default(),
            self.0.offset
        )
    }
}
