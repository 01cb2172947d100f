//! Models, device tables and the catalog, as Python objects around shared immutable ones.

use std::sync::Arc;

use pointgate_core as core;
use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping};

create_exception!(pointgate._core, DocumentError, PyValueError, "A catalog file that cannot be understood.");

fn document_error(py: Python<'_>, problems: Vec<core::Problem>) -> PyErr {
    let text = problems.first().map(ToString::to_string).unwrap_or_default();
    let error = DocumentError::new_err(text);
    match error.value(py).setattr("problems", pairs(problems)) {
        Ok(()) => error,
        Err(error) => error,
    }
}

fn pairs(problems: Vec<core::Problem>) -> Vec<(String, String)> {
    problems.into_iter().map(|problem| (problem.location, problem.reason)).collect()
}

/// A thing model, compiled.
#[pyclass(frozen, module = "pointgate._core")]
pub(crate) struct Model(Arc<core::ThingModel>);

#[pymethods]
impl Model {
    #[staticmethod]
    fn compile(py: Python<'_>, document: &[u8]) -> PyResult<Self> {
        let model = py.detach(|| core::ThingModel::compile(document));
        model.map(|model| Self(Arc::new(model))).map_err(|problems| document_error(py, problems))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    #[getter]
    fn identifiers(&self) -> Vec<&str> {
        self.0.identifiers().collect()
    }

    #[getter]
    fn warnings(&self) -> Vec<(String, String)> {
        pairs(self.0.warnings().to_vec())
    }
}

/// A product's device keys.
#[pyclass(frozen, module = "pointgate._core")]
pub(crate) struct Devices {
    table: Arc<core::DeviceTable>,
    warnings: Vec<(String, String)>,
}

#[pymethods]
impl Devices {
    #[staticmethod]
    fn parse(py: Python<'_>, data: &[u8], format: &str) -> PyResult<Self> {
        let format = match format {
            "txt" => core::DeviceFormat::Lines,
            "csv" => core::DeviceFormat::Csv,
            "jsonl" => core::DeviceFormat::JsonLines,
            _ => return Err(PyValueError::new_err(format!("expected txt, csv or jsonl, got {format}"))),
        };
        let file = py.detach(|| core::DeviceFile::parse(data, format));
        let file = file.map_err(|problems| document_error(py, problems))?;
        Ok(Self { table: Arc::new(file.table), warnings: pairs(file.warnings) })
    }

    fn __len__(&self) -> usize {
        self.table.len()
    }

    fn __contains__(&self, device_key: &str) -> bool {
        self.table.contains(device_key)
    }

    #[getter]
    fn warnings(&self) -> Vec<(String, String)> {
        self.warnings.clone()
    }
}

/// A product: model, devices, settings.
#[pyclass(frozen, module = "pointgate._core")]
pub(crate) struct Product {
    model: Py<Model>,
    devices: Py<Devices>,
    judged_by: core::Product,
}

#[pymethods]
impl Product {
    #[new]
    #[pyo3(signature = (model, devices, *, default_device=None, numbers_as_strings=false,
        null_points="reject", unknown_points=None, time_min=None, time_max_past=None, time_max_future=None))]
    #[expect(clippy::too_many_arguments, reason = "keywords in Python")]
    fn new(
        model: Bound<'_, Model>,
        devices: Bound<'_, Devices>,
        default_device: Option<String>,
        numbers_as_strings: bool,
        null_points: &str,
        unknown_points: Option<&str>,
        time_min: Option<i64>,
        time_max_past: Option<i64>,
        time_max_future: Option<i64>,
    ) -> PyResult<Self> {
        let unknown_points = match unknown_points {
            None => None,
            Some("reject") => Some(core::UnknownPoints::Reject),
            Some("ignore") => Some(core::UnknownPoints::Ignore),
            Some(other) => {
                return Err(PyValueError::new_err(format!("expected reject or ignore, got {other}")));
            }
        };
        let ignore_null_points = match null_points {
            "reject" => false,
            "ignore" => true,
            other => return Err(PyValueError::new_err(format!("expected reject or ignore, got {other}"))),
        };
        let settings = core::ProductSettings {
            default_device,
            numbers_as_strings,
            ignore_null_points,
            unknown_points,
            time_min,
            time_max_past,
            time_max_future,
        };
        let judged_by = core::Product::new(model.get().0.clone(), devices.get().table.clone(), settings);
        Ok(Self { model: model.unbind(), devices: devices.unbind(), judged_by })
    }

    #[getter]
    fn model(&self, py: Python<'_>) -> Py<Model> {
        self.model.clone_ref(py)
    }

    #[getter]
    fn devices(&self, py: Python<'_>) -> Py<Devices> {
        self.devices.clone_ref(py)
    }
}

/// An immutable snapshot of products.
#[pyclass(frozen, subclass, module = "pointgate._core")]
pub(crate) struct Catalog {
    pub(crate) snapshot: Arc<core::Catalog>,
    products: Py<PyDict>,
}

#[pymethods]
impl Catalog {
    #[new]
    fn new(py: Python<'_>, products: &Bound<'_, PyMapping>) -> PyResult<Self> {
        let kept = PyDict::new(py);
        let mut snapshot = Vec::new();
        for item in products.items()? {
            let (key, product): (String, Bound<'_, Product>) = item.extract()?;
            if !core::is_product_key(&key) {
                return Err(PyValueError::new_err(format!(
                    "expected a product key of 1 to 64 of A-Z a-z 0-9 _ -, got {key:?}"
                )));
            }
            kept.set_item(&key, &product)?;
            snapshot.push((key, product.get().judged_by.clone()));
        }
        Ok(Self { snapshot: Arc::new(snapshot.into_iter().collect()), products: kept.unbind() })
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.products.bind(py).len()
    }

    #[getter]
    fn products<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.products.bind(py).copy()
    }

    #[getter]
    fn devices(&self, py: Python<'_>) -> PyResult<usize> {
        let mut devices = 0;
        for (_, product) in self.products.bind(py) {
            devices += product.cast::<Product>()?.get().devices.get().table.len();
        }
        Ok(devices)
    }

    #[getter]
    fn models(&self, py: Python<'_>) -> PyResult<usize> {
        let mut models = Vec::new();
        for (_, product) in self.products.bind(py) {
            models.push(Arc::as_ptr(&product.cast::<Product>()?.get().model.get().0));
        }
        models.sort_unstable();
        models.dedup();
        Ok(models.len())
    }
}
