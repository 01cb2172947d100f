//! `pointgate._core`: the judge as a Python extension. It only converts; rules are in
//! `pointgate-core`.
//!
//! Bytes and small immutable objects cross the boundary, one call for each burst. The interpreter
//! lock is released only around work that takes longer than acquiring it again
//! (`validator::RELEASE_BYTES`). Nothing here calls Python code, except that
//! `arrow_import` asks an argument for its Arrow arrays.
//!
//! Doc comments of classes and methods are the docstrings that Python shows; `_core.pyi` has the
//! same (`tests/catalog/test_api.py` compares them).

#![allow(clippy::doc_markdown, reason = "doc comments of classes and methods are Python docstrings")]
#![allow(clippy::needless_pass_by_value, reason = "PyO3 hands extracted arguments over by value")]

mod arguments;
mod arrow_import;
mod burst;
mod catalog;
mod counters;
mod devices;
mod histogram;
mod instants;
mod judge_arrow;
mod lines;
mod load;
mod mqtt;
mod offenders;
mod order;
mod points;
mod products;
mod report;
mod tap;
mod validator;

use pyo3::prelude::*;

/// The judge, compiled: everything that looks at a payload's bytes (Rust crate `pointgate-core`).
#[pymodule]
mod _core {
    use pyo3::prelude::*;
    use pyo3::types::PyTuple;

    #[pymodule_export]
    use crate::burst::{Burst, Request};
    #[pymodule_export]
    use crate::catalog::{Catalog, Model, Product};
    #[pymodule_export]
    use crate::counters::Counters;
    #[pymodule_export]
    use crate::devices::Devices;
    #[pymodule_export]
    use crate::judge_arrow::Verdicts;
    #[pymodule_export]
    use crate::lines::Lines;
    #[pymodule_export]
    use crate::load::MqttLoad;
    #[pymodule_export]
    use crate::mqtt::MqttCodec;
    #[pymodule_export]
    use crate::offenders::Offender;
    #[pymodule_export]
    use crate::order::unique_order;
    #[pymodule_export]
    use crate::points::Points;
    #[pymodule_export]
    use crate::report::{Fault, Report};
    #[pymodule_export]
    use crate::tap::TapFilter;
    #[pymodule_export]
    use crate::validator::Validator;

    /// The packet ids of replies: the first and the last one.
    #[pymodule_export]
    const FIRST_REPLY_ID: u16 = *pointgate_core::mqtt::REPLY_IDS.start();
    #[pymodule_export]
    const LAST_REPLY_ID: u16 = *pointgate_core::mqtt::REPLY_IDS.end();

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
