//! The order of points for the sinks that store them by key.

use arrow_buffer::Buffer;
use pointgate_core as core;
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// A column to sort by, as Python gives it.
#[derive(FromPyObject)]
pub(crate) enum SortColumn {
    Numbers(PyBuffer<i64>),
    Names((PyBuffer<i32>, PyBuffer<i64>)),
}

/// The same, copied, so that the interpreter lock can be released.
enum Copied {
    Numbers(Vec<i64>),
    Names(Vec<i32>, Vec<i64>),
}

/// Sort rows by columns, and keep one row of each key.
///
/// Args:
///     columns: As many rows each, the most significant one first: a buffer of signed 64-bit
///         numbers; or for names two buffers, of each row's 32-bit index and of each name's 64-bit
///         rank among all, from 0 or 1.
///     keep_last: Whether the last one of rows with the same key stays; else the first one.
///
/// Returns:
///     The numbers of the rows that stay, 32 bits each; None if a key and the number of its row do
///     not fit in 128 bits.
///
/// Raises:
///     TypeError: A column is something else.
#[pyfunction]
#[pyo3(signature = (columns, *, keep_last))]
pub(crate) fn unique_order(
    py: Python<'_>,
    columns: Vec<SortColumn>,
    keep_last: bool,
) -> PyResult<Option<Bound<'_, PyBytes>>> {
    let copied = |column: SortColumn| match column {
        SortColumn::Numbers(numbers) => numbers.to_vec(py).map(Copied::Numbers),
        SortColumn::Names((indices, ranks)) => Ok(Copied::Names(indices.to_vec(py)?, ranks.to_vec(py)?)),
    };
    let columns = columns.into_iter().map(copied).collect::<PyResult<Vec<_>>>()?;
    let order = py.detach(|| {
        let columns = columns.iter().map(|column| match column {
            Copied::Numbers(numbers) => core::SortColumn::Numbers(numbers),
            Copied::Names(indices, ranks) => core::SortColumn::Names { indices, ranks },
        });
        core::unique_order(&columns.collect::<Vec<_>>(), keep_last)
    });
    Ok(order.map(|order| PyBytes::new(py, Buffer::from_vec(order).as_slice())))
}
