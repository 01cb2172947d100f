//! Reports and faults: verdicts as Python objects.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use pointgate_core as core;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// A reply's bytes. Short ones, such as those of accepted requests, become a Python object only if
/// somebody asks for them.
enum Reply {
    Short { length: u8, bytes: [u8; Reply::SHORT] },
    Long(Py<PyBytes>),
}

impl Reply {
    const SHORT: usize = 79;

    /// `None` if no reply may be sent.
    fn new(py: Python<'_>, reply: &[u8]) -> Option<Self> {
        if reply.is_empty() {
            return None;
        }
        let mut bytes = [0; Self::SHORT];
        let Some(start) = bytes.get_mut(..reply.len()) else {
            return Some(Self::Long(PyBytes::new(py, reply).unbind()));
        };
        start.copy_from_slice(reply);
        Some(Self::Short { length: reply.len() as u8, bytes })
    }

    fn as_bytes<'r>(&'r self, py: Python<'r>) -> &'r [u8] {
        match self {
            Self::Short { length, bytes } => &bytes[..usize::from(*length)],
            Self::Long(bytes) => bytes.as_bytes(py),
        }
    }

    fn to_object(&self, py: Python<'_>) -> Py<PyBytes> {
        match self {
            Self::Short { .. } => PyBytes::new(py, self.as_bytes(py)).unbind(),
            Self::Long(bytes) => bytes.clone_ref(py),
        }
    }
}

/// The result of one request.
///
/// A report can be compared, hashed and pickled.
#[pyclass(frozen, module = "pointgate._core")]
pub(crate) struct Report {
    pub(crate) code: core::Code,
    pub(crate) points: u64,
    pub(crate) null_points: u64,
    pub(crate) early_times: u64,
    reply: Option<Reply>,
    pub(crate) fault: Option<Arc<core::Fault>>,
}

impl Report {
    /// A reply without bytes means that no reply may be sent.
    pub(crate) fn new(py: Python<'_>, verdict: core::Verdict, reply: &[u8]) -> Self {
        Self {
            code: verdict.code(),
            points: verdict.points,
            null_points: verdict.null_points,
            early_times: verdict.early_times,
            reply: Reply::new(py, reply),
            fault: verdict.fault.map(Arc::from),
        }
    }

    /// The report of a request that was answered 200 in spite of this fault.
    pub(crate) fn with_fault(mut self, fault: &core::Fault) -> Self {
        self.fault = Some(Arc::new(fault.clone()));
        self
    }

    fn reply_bytes<'r>(&'r self, py: Python<'r>) -> Option<&'r [u8]> {
        self.reply.as_ref().map(|reply| reply.as_bytes(py))
    }
}

/// `_restore` of [`Report`] and its arguments.
type ReducedReport<'py> =
    (Bound<'py, PyAny>, (u16, u64, u64, u64, Option<Py<PyBytes>>, Option<Bound<'py, Fault>>));

#[pymethods]
impl Report {
    /// The code of the reply (contract 3): 200 if accepted, 0 for a topic that is not served.
    #[getter]
    fn code(&self) -> u16 {
        self.code.number()
    }

    /// The number of points that were accepted; 0 unless the code is 200.
    #[getter]
    fn points(&self) -> u64 {
        self.points
    }

    /// The number of null points that were ignored (contract 5.3); 0 unless the code is 200.
    #[getter]
    fn null_points(&self) -> u64 {
        self.null_points
    }

    /// The number of times before 1971, probably seconds (contract 3.5); 0 unless 200.
    #[getter]
    fn early_times(&self) -> u64 {
        self.early_times
    }

    /// The whole reply payload; None if no reply may be sent (code 0).
    #[getter]
    fn reply(&self, py: Python<'_>) -> Option<Py<PyBytes>> {
        self.reply.as_ref().map(|reply| reply.to_object(py))
    }

    /// Why the request was not accepted; None if it was.
    ///
    /// In a burst, with code 200: why an enforced product rejects it (contract 11).
    #[getter]
    fn fault(&self) -> Option<Fault> {
        self.fault.clone().map(Fault)
    }

    fn __repr__(&self) -> String {
        let reason = self.fault.as_ref().map_or("", |fault| fault.reason.name());
        format!("Report(code={}, points={}, reason={reason:?})", self.code.number(), self.points)
    }

    fn __eq__(&self, py: Python<'_>, other: &Self) -> bool {
        let counts = |report: &Self| (report.code, report.points, report.null_points, report.early_times);
        counts(self) == counts(other)
            && self.reply_bytes(py) == other.reply_bytes(py)
            && self.fault == other.fault
    }

    fn __hash__(&self, py: Python<'_>) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.code, self.points, self.reply_bytes(py)).hash(&mut hasher);
        hasher.finish()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<ReducedReport<'py>> {
        let (py, report) = (slf.py(), slf.get());
        let fault = report.fault().map(|fault| Bound::new(py, fault)).transpose()?;
        let Self { points, null_points, early_times, .. } = report;
        let arguments = (report.code(), *points, *null_points, *early_times, report.reply(py), fault);
        Ok((slf.get_type().getattr("_restore")?, arguments))
    }

    #[staticmethod]
    fn _restore(
        py: Python<'_>,
        code: u16,
        points: u64,
        null_points: u64,
        early_times: u64,
        reply: Option<&[u8]>,
        fault: Option<Bound<'_, Fault>>,
    ) -> PyResult<Self> {
        let code = core::Code::ALL.into_iter().find(|known| known.number() == code);
        let code = code.ok_or_else(|| PyValueError::new_err("expected a code of this version"))?;
        let fault = fault.map(|fault| fault.get().0.clone());
        let reply = reply.and_then(|reply| Reply::new(py, reply));
        Ok(Self { code, points, null_points, early_times, reply, fault })
    }
}

/// Why a request was not accepted: its first fault (contract 2.5, 3).
///
/// A fault can be compared, hashed and pickled.
#[pyclass(frozen, module = "pointgate._core")]
pub(crate) struct Fault(Arc<core::Fault>);

impl Fault {
    pub(crate) fn new(fault: core::Fault) -> Self {
        Self(Arc::new(fault))
    }
}

/// A fault's fields, in order; path segments are names or indexes, the innermost first.
type FaultFields = (
    String,
    usize,
    Option<usize>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<Vec<(Option<String>, usize)>>,
);

#[pymethods]
impl Fault {
    /// The index of the entry in `params`; 0 if `params` is one object.
    #[getter]
    fn index(&self) -> Option<usize> {
        self.0.index
    }

    /// The device key of the entry, decoded.
    #[getter]
    fn device_key(&self) -> Option<&str> {
        self.0.device_key.as_deref()
    }

    /// The identifier of the point, for faults inside `measurepoints`.
    #[getter]
    fn identifier(&self) -> Option<&str> {
        self.0.identifier.as_deref()
    }

    /// RFC 6901, whole. It resolves in the payload unless the fault is a missing member.
    #[getter]
    fn pointer(&self) -> Option<String> {
        self.0.pointer()
    }

    /// The code that a request with this fault gets from an enforced product (contract 3).
    #[getter]
    fn code(&self) -> u16 {
        self.0.code().number()
    }

    /// The kind of fault: one of `reasons`.
    #[getter]
    fn reason(&self) -> &'static str {
        self.0.reason.name()
    }

    /// What the model, the protocol or JSON requires.
    #[getter]
    fn expected(&self) -> Option<&str> {
        self.0.expected.as_deref()
    }

    /// What came instead: a JSON type, or the value, escaped and cut at 64 characters.
    #[getter]
    fn got(&self) -> Option<&str> {
        self.0.got.as_deref()
    }

    /// The identifier of the model that was probably meant.
    #[getter]
    fn did_you_mean(&self) -> Option<&str> {
        self.0.did_you_mean.as_deref()
    }

    /// The byte of the payload where the fault stands; the payload's length for a sudden end.
    #[getter]
    fn offset(&self) -> usize {
        self.0.offset
    }

    /// The sentence of a reply: the code's documented text, where, expected and got.
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

    fn __eq__(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.0.reason, self.0.offset, &self.0.got).hash(&mut hasher);
        hasher.finish()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (FaultFields,))> {
        let fault = &*slf.get().0;
        let segment = |segment: &core::Segment| match segment {
            core::Segment::Name(name) => (Some(name.clone()), 0),
            core::Segment::Index(index) => (None, *index),
            other => unreachable!("a segment is a name or an index, got {other:?}"),
        };
        let fields = (
            fault.reason.name().to_owned(),
            fault.offset,
            fault.index,
            fault.device_key.clone(),
            fault.identifier.clone(),
            fault.expected.as_deref().map(str::to_owned),
            fault.got.as_deref().map(str::to_owned),
            fault.got_in_message.clone(),
            fault.did_you_mean.clone(),
            fault.path.as_ref().map(|path| path.iter().map(segment).collect()),
        );
        Ok((slf.get_type().getattr("_restore")?, (fields,)))
    }

    #[staticmethod]
    fn _restore(fields: FaultFields) -> PyResult<Self> {
        let (reason, offset, index, device_key, identifier, expected, got, got_in_message, meant, path) =
            fields;
        let reason = core::Reason::ALL.into_iter().find(|known| known.name() == reason);
        let reason = reason.ok_or_else(|| PyValueError::new_err("expected a reason of this version"))?;
        let segment = |(name, index): (Option<String>, usize)| {
            name.map_or(core::Segment::Index(index), core::Segment::Name)
        };
        let mut fault = core::Fault::without_place(reason, offset);
        fault.index = index;
        fault.device_key = device_key;
        fault.identifier = identifier;
        fault.expected = expected.map(Into::into);
        fault.got = got.map(Into::into);
        fault.got_in_message = got_in_message;
        fault.did_you_mean = meant;
        fault.path = path.map(|path| path.into_iter().map(segment).collect());
        Ok(Self(Arc::from(fault)))
    }
}
