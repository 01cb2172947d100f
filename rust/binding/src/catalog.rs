//! Models, products and the catalog: Python objects around shared immutable ones.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use pointgate_core as core;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyMapping, PyTuple, PyType};

use crate::devices::Devices;

/// A `pointgate.errors.DocumentError`: the tree of exceptions is written in Python.
pub(crate) fn document_error(py: Python<'_>, problems: Vec<core::Problem>) -> PyErr {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let text = problems.first().map(ToString::to_string).unwrap_or_default();
    let made = CLASS.import(py, "pointgate.errors", "DocumentError").and_then(|class| {
        let error = class.call1((text,))?;
        error.setattr("problems", pairs(problems))?;
        Ok(error)
    });
    made.map_or_else(|error| error, PyErr::from_value)
}

pub(crate) fn pairs(problems: Vec<core::Problem>) -> Vec<(String, String)> {
    problems.into_iter().map(|problem| (problem.location, problem.reason)).collect()
}

/// A thing model, compiled. Immutable; any number of products can share one.
///
/// It keeps its document: two models are equal if their documents are, and a pickle holds the
/// document, which is compiled again when it is loaded.
#[pyclass(frozen, module = "pointgate._core")]
pub(crate) struct Model {
    document: Py<PyBytes>,
    compiled: Arc<core::ThingModel>,
}

#[pymethods]
impl Model {
    /// Compile a model document in either shape that EnOS writes (contract 6.1).
    ///
    /// Args:
    ///     document: JSON in UTF-8, such as `json.dumps(model).encode()`.
    ///
    /// Raises:
    ///     DocumentError: The document cannot be understood; `problems` has JSON pointers.
    #[staticmethod]
    fn compile(document: Bound<'_, PyBytes>) -> PyResult<Self> {
        let (py, bytes) = (document.py(), document.as_bytes());
        let compiled = py.detach(|| core::ThingModel::compile(bytes));
        let compiled = Arc::new(compiled.map_err(|problems| document_error(py, problems))?);
        Ok(Self { document: document.unbind(), compiled })
    }

    fn __len__(&self) -> usize {
        self.compiled.len()
    }

    /// The points' identifiers, in the order of the document.
    #[getter]
    fn identifiers(&self) -> Vec<&str> {
        self.compiled.identifiers().collect()
    }

    /// What is legal and probably a mistake: `(JSON pointer, reason)` (contract 6.1).
    #[getter]
    fn warnings(&self) -> Vec<(String, String)> {
        pairs(self.compiled.warnings().to_vec())
    }

    fn __eq__(&self, py: Python<'_>, other: &Self) -> bool {
        self.document.as_bytes(py) == other.document.as_bytes(py)
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        self.document.bind(py).hash()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Py<PyBytes>,))> {
        let py = slf.py();
        Ok((slf.get_type().getattr("compile")?, (slf.get().document.clone_ref(py),)))
    }
}

/// How many there are in a catalog.
struct Size {
    devices: usize,
    models: usize,
    without_devices: usize,
    /// The products that are not enforced, and their modes.
    not_enforced: Vec<(String, core::Mode)>,
}

impl Catalog {
    /// Counted once: with ten thousand products that takes a millisecond.
    fn size(&self, py: Python<'_>) -> PyResult<&Size> {
        if let Some(size) = self.size.get() {
            return Ok(size);
        }
        let mut models = Vec::new();
        let mut size = Size { devices: 0, models: 0, without_devices: 0, not_enforced: Vec::new() };
        for (key, product) in self.products.bind(py) {
            let product = product.cast::<Product>()?.get();
            let devices = product.devices.get().table.len();
            size.devices += devices;
            size.without_devices += usize::from(devices == 0);
            if product.settings.mode != core::Mode::Enforce {
                size.not_enforced.push((key.extract()?, product.settings.mode));
            }
            models.push(Arc::as_ptr(&product.model.get().compiled));
        }
        models.sort_unstable();
        models.dedup();
        size.models = models.len();
        Ok(self.size.get_or_init(|| size))
    }
}

pub(crate) fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A product: its model, its devices and its settings (contract 6.4).
///
/// Args:
///     model: What the product's points must be.
///     devices: The devices that may post.
///     default_device: The device of entries without `deviceKey`.
///     numbers_as_strings: Whether a string that is exactly a JSON number counts as that number.
///     null_points: `reject` a request with a point that is null, or `ignore` the point.
///     unknown_points: `reject` a request with a point that the model lacks, or `ignore` the
///         point; None leaves it to the model.
///     time_min: The earliest time that is accepted, UTC milliseconds.
///     time_max_past: How many milliseconds before now a time may be.
///     time_max_future: How many milliseconds after now a time may be.
///     mode: What a service replies to requests that are rejected: `enforce`, `lenient` or `shadow`
///         (contract 11). Verdicts are the same in each.
///
/// Raises:
///     ValueError: `null_points`, `unknown_points` or `mode` is none of the words.
#[pyclass(frozen, module = "pointgate._core")]
pub(crate) struct Product {
    model: Py<Model>,
    devices: Py<Devices>,
    compiled: Arc<core::Product>,
    settings: core::ProductSettings,
}

/// The positional and the keyword arguments of a new product.
type NewArguments<'py> = ((Py<Model>, Py<Devices>), Bound<'py, PyDict>);

#[pymethods]
impl Product {
    #[new]
    #[pyo3(signature = (model, devices, *, default_device=None, numbers_as_strings=false,
        null_points="reject", unknown_points=None, time_min=None, time_max_past=None, time_max_future=None,
        mode="enforce"))]
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
        mode: &str,
    ) -> PyResult<Self> {
        let settings = core::ProductSettings {
            default_device,
            numbers_as_strings,
            ignore_null_points: ignores(null_points)?,
            unknown_points: unknown_points.map(ignores).transpose()?.map(|ignores| {
                if ignores { core::UnknownPoints::Ignore } else { core::UnknownPoints::Reject }
            }),
            time_min,
            time_max_past,
            time_max_future,
            mode: mode_of(mode)?,
        };
        let (compiled, table) = (model.get().compiled.clone(), devices.get().table.clone());
        let compiled = Arc::new(core::Product::new(compiled, table, settings.clone()));
        Ok(Self { model: model.unbind(), devices: devices.unbind(), compiled, settings })
    }

    /// The model that it was made with.
    #[getter]
    fn model(&self, py: Python<'_>) -> Py<Model> {
        self.model.clone_ref(py)
    }

    /// The devices that it was made with.
    #[getter]
    fn devices(&self, py: Python<'_>) -> Py<Devices> {
        self.devices.clone_ref(py)
    }

    /// What a service replies to requests that are rejected (contract 11).
    #[getter]
    fn mode(&self) -> &'static str {
        self.settings.mode.name()
    }

    /// The same product with another device table.
    fn with_devices(&self, py: Python<'_>, devices: Bound<'_, Devices>) -> Self {
        let (model, settings) = (self.model.clone_ref(py), self.settings.clone());
        let (compiled, table) = (model.get().compiled.clone(), devices.get().table.clone());
        let compiled = Arc::new(core::Product::new(compiled, table, settings.clone()));
        Self { model, devices: devices.unbind(), compiled, settings }
    }

    fn __eq__(&self, py: Python<'_>, other: &Self) -> PyResult<bool> {
        Ok(self.settings == other.settings
            && self.model.bind(py).eq(other.model.bind(py))?
            && self.devices.bind(py).eq(other.devices.bind(py))?)
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        self.model.bind(py).hash()
    }

    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<NewArguments<'py>> {
        let word = |ignores| if ignores { "ignore" } else { "reject" };
        let settings = &self.settings;
        let unknown_points =
            settings.unknown_points.map(|policy| word(policy == core::UnknownPoints::Ignore));
        let keywords = PyDict::new(py);
        keywords.set_item("default_device", settings.default_device.as_deref())?;
        keywords.set_item("numbers_as_strings", settings.numbers_as_strings)?;
        keywords.set_item("null_points", word(settings.ignore_null_points))?;
        keywords.set_item("unknown_points", unknown_points)?;
        keywords.set_item("time_min", settings.time_min)?;
        keywords.set_item("time_max_past", settings.time_max_past)?;
        keywords.set_item("time_max_future", settings.time_max_future)?;
        keywords.set_item("mode", settings.mode.name())?;
        Ok(((self.model.clone_ref(py), self.devices.clone_ref(py)), keywords))
    }
}

fn ignores(policy: &str) -> PyResult<bool> {
    match policy {
        "reject" => Ok(false),
        "ignore" => Ok(true),
        other => Err(PyValueError::new_err(format!("expected reject or ignore, got {other}"))),
    }
}

fn mode_of(word: &str) -> PyResult<core::Mode> {
    let found = core::Mode::ALL.into_iter().find(|mode| mode.name() == word);
    found.ok_or_else(|| PyValueError::new_err(format!("expected enforce, lenient or shadow, got {word}")))
}

/// An immutable snapshot: product key to product (contract 6.3).
///
/// Args:
///     products: The products by their keys.
///     base: A catalog whose other products are in the new one, too; they are shared, not copied.
///
/// Raises:
///     ValueError: No topic can have such a product key (contract 1.3).
///
/// Two catalogs are equal if their products are. A pickle holds each model's document and the
/// device keys, once however many products share them. Loading it compiles them again: about
/// 1.3 µs for each point of a model and 0.2 µs for each key.
#[pyclass(frozen, subclass, module = "pointgate._core")]
pub(crate) struct Catalog {
    pub(crate) snapshot: Arc<core::Catalog>,
    products: Py<PyDict>,
    size: OnceLock<Size>,
}

#[pymethods]
impl Catalog {
    #[new]
    #[pyo3(signature = (products, *, base=None))]
    fn new(py: Python<'_>, products: &Bound<'_, PyMapping>, base: Option<&Self>) -> PyResult<Self> {
        let kept = base.map_or_else(|| Ok(PyDict::new(py)), |base| base.products.bind(py).copy())?;
        let mut changed = Vec::new();
        for item in products.items()? {
            let (key, product): (String, Bound<'_, Product>) = item.extract()?;
            if !core::is_product_key(&key) {
                return Err(PyValueError::new_err(format!(
                    "expected a product key of 1 to 64 of A-Z a-z 0-9 _ -, got {key:?}"
                )));
            }
            kept.set_item(&key, &product)?;
            changed.push((key, product.get().compiled.clone()));
        }
        let snapshot = base.map_or_else(
            || changed.iter().cloned().collect(),
            |base| base.snapshot.with_products(changed.iter().cloned()),
        );
        Ok(Self { snapshot: Arc::new(snapshot), products: kept.unbind(), size: OnceLock::new() })
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.products.bind(py).len()
    }

    /// A copy of the mapping from product keys to products.
    #[getter]
    fn products<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.products.bind(py).copy()
    }

    /// The product with this key; None if there is none.
    fn product<'py>(&self, py: Python<'py>, key: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.products.bind(py).get_item(key)
    }

    /// The number of device keys of all products together.
    #[getter]
    fn devices(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.size(py)?.devices)
    }

    /// The number of distinct models.
    #[getter]
    fn models(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.size(py)?.models)
    }

    /// The modes of the products whose mode is not `enforce`, by product key (contract 11).
    #[getter]
    fn not_enforced<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let modes = PyDict::new(py);
        for (key, mode) in &self.size(py)?.not_enforced {
            modes.set_item(key, mode.name())?;
        }
        Ok(modes)
    }

    /// The number of products with an empty device table.
    #[getter]
    fn products_without_devices(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.size(py)?.without_devices)
    }

    fn __eq__(&self, py: Python<'_>, other: &Self) -> PyResult<bool> {
        self.products.bind(py).eq(other.products.bind(py))
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<u64> {
        let keys = self.products.bind(py).keys().extract::<Vec<String>>()?;
        Ok(keys.iter().map(hash_of).fold(0, u64::wrapping_add))
    }

    fn __getnewargs__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, [self.products(py)?])
    }
}
