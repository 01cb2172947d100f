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
    /// The bucket of the last duration, and the bounds of that bucket: the next duration usually
    /// belongs to the same one.
    last: usize,
    above: f64,
    up_to: f64,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        let up_to = bounds.first().copied().unwrap_or(f64::INFINITY);
        let counts = vec![0; bounds.len() + 1];
        Self { bounds, counts, sum: 0.0, last: 0, above: f64::NEG_INFINITY, up_to }
    }

    #[inline]
    pub(crate) fn observe(&mut self, seconds: f64, times: u64) {
        if !(self.above < seconds && seconds <= self.up_to) {
            self.find_bucket(seconds);
        }
        self.counts[self.last] += times;
        self.sum += seconds * times as f64;
    }

    fn find_bucket(&mut self, seconds: f64) {
        self.last = self.bounds.partition_point(|&bound| bound < seconds);
        let before = self.last.checked_sub(1).and_then(|before| self.bounds.get(before));
        self.above = before.copied().unwrap_or(f64::NEG_INFINITY);
        self.up_to = self.bounds.get(self.last).copied().unwrap_or(f64::INFINITY);
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
