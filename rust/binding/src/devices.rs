//! Device tables: Python objects around shared immutable ones.

use pointgate_core as core;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::catalog::{document_error, hash_of, pairs};

/// The exact set of a product's device keys: 12 bytes each, and the key.
///
/// Args:
///     keys: The keys, such as a column of a database. They are not cleaned as those of a file
///         are: a key is what the devices send as `deviceKey`, byte for byte.
///
/// Raises:
///     DocumentError: A key is empty, longer than 128 bytes, or has control characters.
///
/// Two tables are equal if they have the same keys. A pickle holds the keys.
#[pyclass(frozen, module = "pointgate._core")]
pub(crate) struct Devices {
    pub(crate) table: core::Devices,
    warnings: Vec<(String, String)>,
}

/// `_restore` of [`Devices`] and its arguments.
type ReducedDevices<'py> = (Bound<'py, PyAny>, (String, Vec<(String, String)>));

#[pymethods]
impl Devices {
    #[new]
    fn new(py: Python<'_>, keys: &Bound<'_, PyAny>) -> PyResult<Self> {
        if keys.is_instance_of::<PyString>() {
            let reason = "expected keys as several str, got one str: for one device write Devices([key])";
            return Err(pyo3::exceptions::PyTypeError::new_err(reason));
        }
        let keys = keys.try_iter()?.map(|key| key?.extract::<String>()).collect::<PyResult<Vec<_>>>()?;
        let table =
            core::DeviceTable::from_keys(keys).map_err(|problem| document_error(py, vec![problem]))?;
        Ok(Self { table: table.into(), warnings: Vec::new() })
    }

    /// Read a device file (contract 6.4). The interpreter lock is released meanwhile.
    ///
    /// Args:
    ///     data: The bytes of the file.
    ///     format: `txt` for a key a line, `csv` for a column `deviceKey`, `jsonl` for objects;
    ///         `keys` for a key a line, byte for byte: nothing is cleaned, nothing is a comment.
    ///
    /// Raises:
    ///     DocumentError: A line cannot be understood; `problems` has the line numbers.
    ///     ValueError: `format` is none of these.
    #[staticmethod]
    fn parse(py: Python<'_>, data: &[u8], format: &str) -> PyResult<Self> {
        if format == "keys" {
            let table = py.detach(|| core::DeviceTable::from_lines(data));
            let table = table.map_err(|problem| document_error(py, vec![problem]))?;
            return Ok(Self { table: table.into(), warnings: Vec::new() });
        }
        let format = match format {
            "txt" => core::DeviceFormat::Lines,
            "csv" => core::DeviceFormat::Csv,
            "jsonl" => core::DeviceFormat::JsonLines,
            _ => {
                return Err(PyValueError::new_err(format!("expected txt, csv, jsonl or keys, got {format}")));
            }
        };
        let file = py.detach(|| core::DeviceFile::parse(data, format));
        let file = file.map_err(|problems| document_error(py, problems))?;
        Ok(Self { table: file.table.into(), warnings: pairs(file.warnings) })
    }

    #[staticmethod]
    fn _restore(py: Python<'_>, keys: &str, warnings: Vec<(String, String)>) -> PyResult<Self> {
        let keys = keys.split_terminator('\n');
        let table =
            core::DeviceTable::from_keys(keys).map_err(|problem| document_error(py, vec![problem]))?;
        Ok(Self { table: table.into(), warnings })
    }

    /// The table after some changes; this one stays as it is.
    ///
    /// Both share their keys: a change of a table of ten million takes microseconds.
    ///
    /// Args:
    ///     added: Keys that are devices from then on.
    ///     removed: Keys that are not, applied first.
    ///
    /// Raises:
    ///     DocumentError: No device can have such a key.
    #[pyo3(signature = (*, added=None, removed=None))]
    fn with_changes(
        &self,
        py: Python<'_>,
        added: Option<Vec<String>>,
        removed: Option<Vec<String>>,
    ) -> PyResult<Self> {
        let of = |change, keys: Option<Vec<String>>| {
            keys.unwrap_or_default().into_iter().map(move |key| (change, key))
        };
        let changes = of(core::Change::Remove, removed).chain(of(core::Change::Add, added));
        let table = self.table.with_changes(changes);
        let table = table.map_err(|problem| document_error(py, vec![problem]))?;
        Ok(Self { table, warnings: self.warnings.clone() })
    }

    /// The table after the changes of a text: `+KEY` and `-KEY`, one a line, in order.
    ///
    /// Args:
    ///     data: Whole lines of a file of changes. The interpreter lock is released meanwhile.
    ///     first_line: The number of the first one, for errors.
    ///     exact: Whether keys are taken byte for byte, and no line is a comment.
    ///
    /// Raises:
    ///     DocumentError: A line cannot be understood; `problems` has the line numbers.
    #[pyo3(signature = (data, *, first_line=1, exact=false))]
    fn with_lines(&self, py: Python<'_>, data: &[u8], first_line: u64, exact: bool) -> PyResult<Self> {
        let table = py.detach(|| {
            if exact {
                self.table.with_exact_lines(data).map_err(|problem| vec![problem])
            } else {
                self.table.with_lines(data, first_line)
            }
        });
        let table = table.map_err(|problems| document_error(py, problems))?;
        Ok(Self { table, warnings: self.warnings.clone() })
    }

    /// The number of keys that were added or removed since the table was made or folded.
    #[getter]
    fn changed(&self) -> usize {
        self.table.changed()
    }

    /// The same keys without the overhead of changes: 0.1 µs and 12 bytes a key, and the key.
    ///
    /// The interpreter lock is released meanwhile.
    fn folded(&self, py: Python<'_>) -> Self {
        Self { table: py.detach(|| self.table.folded()), warnings: self.warnings.clone() }
    }

    /// The same keys, on top of a folded table.
    ///
    /// Args:
    ///     folded: `original.folded()`.
    ///     original: An earlier version of this table.
    ///
    /// Returns:
    ///     None if this table was not made of `original` by changes.
    fn rebased(&self, folded: &Self, original: &Self) -> Option<Self> {
        let table = self.table.rebased(&folded.table, &original.table)?;
        Some(Self { table, warnings: self.warnings.clone() })
    }

    fn __len__(&self) -> usize {
        self.table.len()
    }

    fn __contains__(&self, key: &str) -> bool {
        self.table.contains(key)
    }

    /// What is suspicious about the file, a bounded number: `(location, reason)`.
    #[getter]
    fn warnings(&self) -> Vec<(String, String)> {
        self.warnings.clone()
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.table.len() == other.table.len() && self.table.keys().all(|key| other.table.contains(key))
    }

    fn __hash__(&self) -> u64 {
        // Independent of the order of keys, as equality is.
        self.table.keys().map(|key| hash_of(&key)).fold(0, u64::wrapping_add)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<ReducedDevices<'py>> {
        let devices = slf.get();
        // No key has a line feed: `DeviceTable` refuses control characters.
        let keys = devices.table.keys().flat_map(|key| [key, "\n"]).collect();
        Ok((slf.get_type().getattr("_restore")?, (keys, devices.warnings.clone())))
    }
}
