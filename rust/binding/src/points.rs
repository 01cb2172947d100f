//! Accepted points as an Arrow stream, by Arrow's interface of Python capsules: the schema of
//! `store/points.py`.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::types::{Float64Type, Int8Type, Int32Type, Int64Type};
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Int32Array, PrimitiveArray, RecordBatch, RecordBatchIterator,
    StringArray, TimestampMicrosecondArray,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use pointgate_core as core;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

/// From this many points on an export releases the interpreter lock: about a millisecond of work.
const RELEASE_POINTS: usize = 100_000;

/// The points of accepted requests: rows of `pointgate.store.points.SCHEMA`, an Arrow stream.
///
/// Those of `judge_arrow` have one more column, `request` (int32): the row of the request.
///
/// In the order of the requests, of their entries and of the points in them; each request has as
/// many rows as its report has points. It can be read any number of times, from any thread.
#[pyclass(frozen, module = "pointgate._core")]
pub(crate) struct Points {
    len: usize,
    size: usize,
    /// Taken by the first export, which turns rows into columns: in the reader's thread, not in the
    /// judge's.
    rows: Mutex<Option<core::Points>>,
    form: Form,
    batches: OnceLock<Result<Vec<RecordBatch>, String>>,
}

/// Which columns there are.
#[derive(Default)]
struct Form {
    /// By request, in order, how many rows it has; with a column `request` if there are any.
    counts: Option<Vec<u64>>,
    /// Names as strings instead of dictionaries.
    plain: bool,
}

impl Points {
    pub(crate) fn new(points: core::Points) -> Self {
        Self::in_form(points, Form::default())
    }

    /// With a column `request`: the number of the request in `counts`.
    pub(crate) fn with_requests(points: core::Points, counts: Vec<u64>, plain: bool) -> Self {
        Self::in_form(points, Form { counts: Some(counts), plain })
    }

    fn in_form(points: core::Points, form: Form) -> Self {
        Self {
            len: points.len(),
            size: points.size(),
            rows: Mutex::new(Some(points)),
            form,
            batches: OnceLock::new(),
        }
    }

    /// Calls with the rows, unless an export has turned them into columns.
    pub(crate) fn with_rows(&self, call: impl FnOnce(&core::Points)) {
        if let Some(rows) = &*self.rows.lock().unwrap_or_else(PoisonError::into_inner) {
            call(rows);
        }
    }

    fn batches(&self) -> PyResult<Vec<RecordBatch>> {
        let batches = self.batches.get_or_init(|| {
            let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(rows) = rows else { unreachable!("only the first export takes the rows") };
            let mut requests = self.form.requests();
            let batches = rows.into_columns().map(|columns| {
                let requests =
                    requests.as_mut().map(|all| all.by_ref().take(columns.product.len()).collect());
                self.form.record_batch(columns, requests)
            });
            let batches = batches.collect::<Result<_, _>>();
            batches.map_err(|error: ArrowError| error.to_string())
        });
        batches.clone().map_err(PyRuntimeError::new_err)
    }
}

#[pymethods]
impl Points {
    fn __len__(&self) -> usize {
        self.len
    }

    /// The points of several, in order, which stay as they are: one export instead of one each.
    ///
    /// None if some were exported before, or have a column `request`.
    #[staticmethod]
    fn joined(parts: Vec<PyRef<'_, Self>>) -> Option<Self> {
        let mut joined = core::Points::default();
        for part in &parts {
            let rows = part.rows.lock().unwrap_or_else(PoisonError::into_inner);
            joined.extend(rows.as_ref().filter(|_| part.form.counts.is_none())?);
        }
        Some(Self::new(joined))
    }

    /// Their size as columns in bytes, without names.
    #[getter]
    fn nbytes(&self) -> usize {
        self.size
    }

    /// Arrow's PyCapsule interface: what `pyarrow.table(points)` and others call.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // There is one schema; consumers that request another one cast to it themselves.
        drop(requested_schema);
        let batches = if self.len < RELEASE_POINTS { self.batches() } else { py.detach(|| self.batches()) }?;
        stream(py, batches, self.form.schema())
    }
}

/// Batches as a stream of Arrow's PyCapsule interface.
pub(crate) fn stream(
    py: Python<'_>,
    batches: Vec<RecordBatch>,
    schema: SchemaRef,
) -> PyResult<Bound<'_, PyCapsule>> {
    let reader = RecordBatchIterator::new(batches.into_iter().map(Ok), schema);
    PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(Box::new(reader)), c"arrow_array_stream")
}

impl Form {
    /// The columns' names and types.
    fn schema(&self) -> SchemaRef {
        static SCHEMAS: [OnceLock<SchemaRef>; 4] = [const { OnceLock::new() }; 4];
        let with_requests = self.counts.is_some();
        let place = usize::from(with_requests) + 2 * usize::from(self.plain);
        SCHEMAS[place].get_or_init(|| schema(with_requests, self.plain)).clone()
    }

    /// The number of the request of each row, in order.
    fn requests(&self) -> Option<impl Iterator<Item = i32>> {
        self.counts.as_ref().map(|counts| {
            let numbered = counts.iter().enumerate();
            numbered.flat_map(|(number, &count)| std::iter::repeat_n(number as i32, count as usize))
        })
    }

    /// Turns columns into Arrow arrays without copying them, but for plain names; only the UTF-8 of
    /// names and texts is checked again.
    fn record_batch(
        &self,
        columns: core::Columns,
        requests: Option<Vec<i32>>,
    ) -> Result<RecordBatch, ArrowError> {
        let len = columns.product.len();
        let bits = |bits: Vec<u8>| BooleanBuffer::new(Buffer::from_vec(bits), 0, len);
        let valid = |valid: Vec<u8>| Some(NullBuffer::new(bits(valid)));
        let scalars = Buffer::from_vec(columns.scalars);
        let doubles = ScalarBuffer::new(scalars.clone(), 0, len);
        let longs = ScalarBuffer::new(scalars, 0, len);
        let instants =
            |times: Vec<i64>| TimestampMicrosecondArray::new(times.into(), None).with_timezone("UTC");
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(12);
        arrays.extend(requests.map(|requests| Arc::new(Int32Array::from(requests)) as ArrayRef));
        let named: [ArrayRef; 11] = [
            self.names(columns.product, columns.products)?,
            self.names(columns.device, columns.devices)?,
            self.names(columns.identifier, columns.identifiers)?,
            Arc::new(instants(columns.time)),
            Arc::new(PrimitiveArray::<Float64Type>::try_new(doubles, valid(columns.is_double))?),
            Arc::new(PrimitiveArray::<Int64Type>::try_new(longs, valid(columns.is_long))?),
            Arc::new(BooleanArray::new(bits(columns.booleans), valid(columns.is_boolean))),
            Arc::new(texts(columns.texts, valid(columns.is_text))?),
            Arc::new(texts(columns.jsons, valid(columns.is_json))?),
            Arc::new(PrimitiveArray::<Int8Type>::try_new(
                columns.quality.into(),
                valid(columns.has_quality),
            )?),
            Arc::new(instants(columns.received)),
        ];
        arrays.extend(named);
        RecordBatch::try_new(self.schema(), arrays)
    }

    fn names(&self, keys: Vec<i32>, names: core::Dictionary) -> Result<ArrayRef, ArrowError> {
        let names = texts(names, None)?;
        if self.plain {
            let bytes: usize = keys.iter().map(|&key| names.value(key as usize).len()).sum();
            if i32::try_from(bytes).is_err() {
                let reason = "names of more than 2 GiB: judge fewer requests at a time, or set plain=False";
                return Err(ArrowError::MemoryError(reason.to_owned()));
            }
            let rows: StringArray = keys.iter().map(|&key| Some(names.value(key as usize))).collect();
            return Ok(Arc::new(rows));
        }
        let keys = PrimitiveArray::new(keys.into(), None);
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(names))?))
    }
}

fn schema(with_requests: bool, plain: bool) -> SchemaRef {
    let name = || {
        if plain {
            return DataType::Utf8;
        }
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
    };
    let instant = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let request = with_requests.then(|| Field::new("request", DataType::Int32, false));
    let fields = [
        Field::new("product", name(), false),
        Field::new("device", name(), false),
        Field::new("identifier", name(), false),
        Field::new("time", instant(), false),
        Field::new("value_double", DataType::Float64, true),
        Field::new("value_long", DataType::Int64, true),
        Field::new("value_bool", DataType::Boolean, true),
        Field::new("value_text", DataType::Utf8, true),
        Field::new("value_json", DataType::Utf8, true),
        Field::new("quality", DataType::Int8, true),
        Field::new("received", instant(), false),
    ];
    Arc::new(Schema::new(request.into_iter().chain(fields).collect::<Vec<_>>()))
}

fn texts(texts: core::Dictionary, valid: Option<NullBuffer>) -> Result<StringArray, ArrowError> {
    StringArray::try_new(OffsetBuffer::new(texts.offsets.into()), Buffer::from_vec(texts.bytes), valid)
}
