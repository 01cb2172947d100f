//! Requests as Arrow columns in, verdicts and points as Arrow columns out.

use std::sync::{Arc, OnceLock};

use arrow_array::builder::{Int32Builder, Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use pointgate_core as core;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyString};

use crate::arrow_import::BytesColumn;
use crate::instants::{next_instants, now_us};
use crate::points::stream;

/// A batch of verdicts with more bytes of text is complete: Arrow's offsets have 31 bits.
const BATCH_BYTES: usize = 1 << 30;

/// The requests of one call.
pub(crate) struct Requests {
    payloads: BytesColumn,
    topics: Topics,
    now_ms: i64,
    arrived_us: i64,
}

/// A topic for each request, or one for all.
enum Topics {
    Each(BytesColumn),
    All(String),
}

impl Requests {
    pub(crate) fn import(
        payloads: &Bound<'_, PyAny>,
        topics: &Bound<'_, PyAny>,
        now_ms: Option<i64>,
        arrived_us: Option<i64>,
    ) -> PyResult<Self> {
        let payloads = BytesColumn::import(payloads, "payloads")?;
        let topics = if let Ok(topic) = topics.cast::<PyString>() {
            // A str with lone surrogates has no UTF-8; such a topic is not served.
            Topics::All(topic.to_str().unwrap_or_default().to_owned())
        } else {
            let topics = BytesColumn::import(topics, "topics")?;
            if topics.len() != payloads.len() {
                let (topics, payloads) = (topics.len(), payloads.len());
                return Err(PyValueError::new_err(format!(
                    "expected as many payloads as topics, got {payloads} payloads and {topics} topics"
                )));
            }
            Topics::Each(topics)
        };
        let count = i64::try_from(payloads.len()).unwrap_or(i64::MAX);
        let first = || now_ms.map_or_else(|| next_instants(count), |now_ms| now_ms.saturating_mul(1000));
        let of_arrival = || arrived_us.map_or_else(|| now_us() / 1000, |first| first.div_euclid(1000));
        let now_ms_or = now_ms.unwrap_or_else(of_arrival);
        Ok(Self { now_ms: now_ms_or, arrived_us: arrived_us.unwrap_or_else(first), payloads, topics })
    }

    /// Judges all of them.
    pub(crate) fn judge(
        &self,
        catalog: &core::Catalog,
        limits: core::Limits,
        scratch: &mut core::Scratch,
    ) -> Result<(Verdicts, core::Points, Vec<u64>), ArrowError> {
        let mut points = core::Points::for_payloads(self.payloads.bytes());
        let mut counts = Vec::with_capacity(self.payloads.len());
        let mut rows = Rows::default();
        let mut verdicts = Verdicts { len: self.payloads.len(), batches: Vec::new() };
        let mut each = match &self.topics {
            Topics::Each(topics) => Some(topics.iter()),
            Topics::All(_) => None,
        };
        for (place, payload) in self.payloads.iter().enumerate() {
            let topic = match (&self.topics, &mut each) {
                (Topics::All(topic), _) => topic.as_str(),
                (_, Some(topics)) => {
                    let topic = topics.next().flatten().unwrap_or_default();
                    std::str::from_utf8(topic).unwrap_or_default()
                }
                (Topics::Each(_), None) => unreachable!("these topics have an iterator"),
            };
            let request = core::Request {
                topic,
                payload: payload.unwrap_or_default(),
                now_ms: self.now_ms,
                arrived_us: self.arrived_us.saturating_add(place as i64),
                observed_us: None,
            };
            let verdict = core::collect(catalog, &limits, &request, scratch, &mut points);
            counts.push(verdict.points);
            rows.push(&verdict, request.payload);
            if rows.text_bytes > BATCH_BYTES {
                verdicts.batches.push(std::mem::take(&mut rows).finish()?);
            }
        }
        verdicts.batches.push(rows.finish()?);
        Ok((verdicts, points, counts))
    }
}

/// Columns of verdicts that are being filled.
#[derive(Default)]
struct Rows {
    code: Int32Builder,
    points: Int32Builder,
    reason: StringBuilder,
    pointer: StringBuilder,
    message: StringBuilder,
    device: StringBuilder,
    identifier: StringBuilder,
    index: Int32Builder,
    offset: Int64Builder,
    id: StringBuilder,
    text_bytes: usize,
}

impl Rows {
    fn push(&mut self, verdict: &core::Verdict, payload: &[u8]) {
        self.code.append_value(i32::from(verdict.code().number()));
        self.points.append_value(i32::try_from(verdict.points).unwrap_or(i32::MAX));
        let id = verdict.id.clone().and_then(|range| payload.get(range));
        let id = id.and_then(|id| std::str::from_utf8(id).ok());
        self.id.append_option(id);
        let Some(fault) = verdict.fault.as_deref() else {
            for column in self.texts() {
                column.append_null();
            }
            self.index.append_null();
            self.offset.append_null();
            self.text_bytes += id.map_or(0, str::len);
            return;
        };
        let (pointer, message) = (fault.pointer(), core::message(fault));
        self.reason.append_value(fault.reason.name());
        self.pointer.append_option(pointer.as_deref());
        self.device.append_option(fault.device_key.as_deref());
        self.identifier.append_option(fault.identifier.as_deref());
        self.index.append_option(fault.index.map(|index| index as i32));
        self.offset.append_value(fault.offset as i64);
        let texts = [pointer.as_deref(), Some(message.as_str()), fault.device_key.as_deref(), id];
        self.text_bytes += texts.into_iter().flatten().map(str::len).sum::<usize>();
        self.message.append_value(message);
    }

    /// The columns that are null in the row of an accepted request.
    fn texts(&mut self) -> [&mut StringBuilder; 5] {
        [&mut self.reason, &mut self.pointer, &mut self.message, &mut self.device, &mut self.identifier]
    }

    fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.code.finish()),
            Arc::new(self.points.finish()),
            Arc::new(self.reason.finish()),
            Arc::new(self.pointer.finish()),
            Arc::new(self.message.finish()),
            Arc::new(self.device.finish()),
            Arc::new(self.identifier.finish()),
            Arc::new(self.index.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.id.finish()),
        ];
        RecordBatch::try_new(schema(), columns)
    }
}

fn schema() -> SchemaRef {
    static SCHEMA: OnceLock<SchemaRef> = OnceLock::new();
    let make = || {
        let text = |name| Field::new(name, DataType::Utf8, true);
        Arc::new(Schema::new(vec![
            Field::new("code", DataType::Int32, false),
            Field::new("points", DataType::Int32, false),
            text("reason"),
            text("pointer"),
            text("message"),
            text("device"),
            text("identifier"),
            Field::new("index", DataType::Int32, true),
            Field::new("offset", DataType::Int64, true),
            text("id"),
        ]))
    };
    SCHEMA.get_or_init(make).clone()
}

/// The verdicts of `judge_arrow`, a row for each request in order: an Arrow stream.
///
/// Columns: `code` and `points` (int32); `reason`, `pointer`, `message`, `device`, `identifier`
/// (utf8), `index` (int32) and `offset` (int64) of the fault, null if the request is accepted or
/// the fault has none; `id` (utf8), the request's id as JSON, with the quotes of a string. It can
/// be read any number of times.
#[pyclass(frozen, module = "pointgate._core")]
pub(crate) struct Verdicts {
    len: usize,
    batches: Vec<RecordBatch>,
}

#[pymethods]
impl Verdicts {
    fn __len__(&self) -> usize {
        self.len
    }

    /// Arrow's PyCapsule interface: what `pyarrow.table(verdicts)` and others call.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // There is one schema; consumers that request another one cast to it themselves.
        drop(requested_schema);
        stream(py, self.batches.clone(), schema())
    }
}

/// An error of Arrow, which no input can cause.
pub(crate) fn internal(error: ArrowError) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}
