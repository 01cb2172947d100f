//! `pointgate._core`: the judge as a Python extension. Conversion only; no rule lives here.
//!
//! Bytes and small frozen objects cross, one call a burst. The interpreter lock is given up only around work
//! that takes long enough to be worth it (`validator::RELEASE_BYTES`). Nothing here calls back into Python code.

#![allow(clippy::needless_pass_by_value, reason = "PyO3 hands extracted arguments over by value")]

mod catalog;
mod counters;
mod histogram;
mod points;
mod report;
mod validator;

use pyo3::prelude::*;

#[pymodule]
mod _core {
    use pyo3::prelude::*;
    use pyo3::types::PyTuple;

    #[pymodule_export]
    use crate::catalog::{Catalog, Devices, DocumentError, Model, Product};
    #[pymodule_export]
    use crate::counters::Counters;
    #[pymodule_export]
    use crate::points::Points;
    #[pymodule_export]
    use crate::report::{Fault, Report};
    #[pymodule_export]
    use crate::validator::Validator;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("build_profile", if cfg!(debug_assertions) { "debug" } else { "release" })?;
        let reasons = pointgate_core::Reason::ALL.map(pointgate_core::Reason::name);
        module.add("reasons", PyTuple::new(py, reasons)?)?;
        let codes = pointgate_core::Code::ALL.map(pointgate_core::Code::number);
        module.add("codes", PyTuple::new(py, codes)?)
    }
}
