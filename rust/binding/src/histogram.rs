//! A histogram of durations in seconds, in the form that Prometheus scrapes.

use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Counts of durations by upper bound.
#[derive(Clone)]
pub(crate) struct Histogram {
    bounds: &'static [f64],
    /// One more than bounds: the last bucket has no upper bound.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    pub(crate) fn observe(&mut self, seconds: f64, times: u64) {
        let bucket = self.bounds.partition_point(|&bound| bound < seconds);
        self.counts[bucket] += times;
        self.sum += seconds * times as f64;
    }

    /// `bounds`, cumulative `buckets` and `sum`.
    pub(crate) fn read<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let mut total = 0;
        let cumulative = self.counts.iter().map(|count| {
            total += count;
            total
        });
        let figures = PyDict::new(py);
        figures.set_item("bounds", self.bounds.to_vec())?;
        figures.set_item("buckets", cumulative.collect::<Vec<u64>>())?;
        figures.set_item("sum", self.sum)?;
        Ok(figures)
    }
}
