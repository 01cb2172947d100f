//! Lines of an archive as requests: found, judged and counted, without an object for each.
//!
//! ```text
//! block of whole lines ─► one part a thread, cut behind a line end ─► lines ─► verdicts ─► counts
//! ```
//!
//! A line ends with LF or CR LF, which are no part of its payload. A line of whitespace is counted
//! as a line and is no request. Only rejected requests are named, by their line and place.

use std::ops::Range;
use std::thread;

use pointgate_core as core;
use pyo3::prelude::*;

use crate::points::Points;

/// What the lines of a block have in common.
pub(crate) struct Block<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) topic: &'a str,
    pub(crate) now_ms: i64,
    pub(crate) arrived_us: i64,
    pub(crate) collect: bool,
}

/// A rejected request: the number of its line, its place in the block, code and reason.
type Rejected = (usize, usize, usize, u16, &'static str);

/// The verdicts on some lines, summed.
#[derive(Default)]
pub(crate) struct Judged {
    lines: usize,
    accepted: usize,
    points: u64,
    rejected: Vec<Rejected>,
    collected: Vec<core::Points>,
}

impl Block<'_> {
    /// Judges all lines, on so many threads.
    pub(crate) fn judge(
        &self,
        catalog: &core::Catalog,
        limits: core::Limits,
        scratch: &mut core::Scratch,
        threads: usize,
    ) -> Judged {
        let parts = parts(self.data, threads);
        let [first, others @ ..] = parts.as_slice() else { return Judged::default() };
        if others.is_empty() {
            return self.judge_part(catalog, limits, scratch, first.clone(), 0);
        }
        // The number of the first line of each part, which instants of arrival depend on.
        let mut begin = 0;
        let begins: Vec<usize> = parts
            .iter()
            .map(|part| {
                let here = begin;
                begin += self.data.get(part.clone()).map_or(0, count_lines);
                here
            })
            .collect();
        let judged = thread::scope(|scope| {
            let running: Vec<_> = others
                .iter()
                .zip(begins.iter().skip(1))
                .map(|(part, begin)| {
                    scope.spawn(|| {
                        let mut scratch = core::Scratch::default();
                        self.judge_part(catalog, limits, &mut scratch, part.clone(), *begin)
                    })
                })
                .collect();
            let mut all = vec![self.judge_part(catalog, limits, scratch, first.clone(), 0)];
            for one in running {
                all.push(one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            all
        });
        judged.into_iter().fold(Judged::default(), Judged::with)
    }

    fn judge_part(
        &self,
        catalog: &core::Catalog,
        limits: core::Limits,
        scratch: &mut core::Scratch,
        part: Range<usize>,
        begin: usize,
    ) -> Judged {
        let mut judged = Judged::default();
        let mut points = self.collect.then(|| core::Points::for_payloads(part.len()));
        let mut start = part.start;
        while let Some(rest) = self.data.get(start..part.end).filter(|rest| !rest.is_empty()) {
            let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let line = rest.get(..length).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let number = begin + judged.lines;
            judged.lines += 1;
            if !line.iter().all(|byte| matches!(byte, b' ' | 9..=13)) {
                let request = core::Request {
                    topic: self.topic,
                    payload: line,
                    now_ms: self.now_ms,
                    arrived_us: self.arrived_us.saturating_add(number as i64),
                    observed_us: None,
                };
                let verdict = match &mut points {
                    Some(points) => core::collect(catalog, &limits, &request, scratch, points),
                    None => core::judge(catalog, &limits, &request, scratch),
                };
                judged.count(&verdict, number, start..start + line.len());
            }
            start += length + 1;
        }
        judged.collected.extend(points);
        judged
    }
}

impl Judged {
    fn count(&mut self, verdict: &core::Verdict, number: usize, place: Range<usize>) {
        self.points += verdict.points;
        match verdict.fault.as_deref() {
            None => self.accepted += 1,
            Some(fault) => {
                let (code, reason) = (verdict.code().number(), fault.reason.name());
                self.rejected.push((number, place.start, place.end, code, reason));
            }
        }
    }

    fn with(mut self, other: Self) -> Self {
        self.lines += other.lines;
        self.accepted += other.accepted;
        self.points += other.points;
        self.rejected.extend(other.rejected);
        self.collected.extend(other.collected);
        self
    }
}

/// At most so many parts of about the same size, of whole lines.
fn parts(data: &[u8], threads: usize) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut start = 0;
    for left in (1..=threads.max(1)).rev() {
        let rest = data.len() - start;
        let near = start + rest / left;
        let end = match data.get(near..).and_then(|rest| memchr::memchr(b'\n', rest)) {
            Some(length) if left > 1 => near + length + 1,
            _ => data.len(),
        };
        if end > start {
            parts.push(start..end);
        }
        start = end;
    }
    parts
}

fn count_lines(part: &[u8]) -> usize {
    let ends = memchr::memchr_iter(b'\n', part).count();
    ends + usize::from(part.last().is_some_and(|last| *last != b'\n'))
}

/// The verdicts on the lines of a block, summed: what `Validator.judge_lines` returns.
#[pyclass(frozen, module = "pointgate._core")]
pub(crate) struct Lines {
    /// The number of lines, with those of whitespace.
    #[pyo3(get, name = "lines")]
    count: usize,
    /// The number of accepted requests.
    #[pyo3(get)]
    accepted: usize,
    /// The number of points in them.
    #[pyo3(get)]
    points: u64,
    /// The other requests: number of the line, begin and end in the block, code, reason.
    #[pyo3(get)]
    rejected: Vec<Rejected>,
    /// The points of the accepted requests, if they were asked for: a table for each thread.
    #[pyo3(get)]
    collected: Vec<Py<Points>>,
}

impl Lines {
    pub(crate) fn new(py: Python<'_>, judged: Judged) -> PyResult<Self> {
        let collected = judged.collected.into_iter().map(|points| Py::new(py, Points::new(points)));
        Ok(Self {
            count: judged.lines,
            accepted: judged.accepted,
            points: judged.points,
            rejected: judged.rejected,
            collected: collected.collect::<PyResult<_>>()?,
        })
    }
}
