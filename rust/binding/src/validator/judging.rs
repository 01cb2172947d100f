//! How the validator judges a request, and what its reply is.

use std::ops::Range;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pointgate_core as core;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

use super::{RELEASE_BYTES, Validator, Workspace};
use crate::arguments::{Arguments, PAYLOADS, TOPICS, element};
use crate::catalog::Catalog;
use crate::report::Report;

/// How many faults a reply has at most, if it has all of them.
const REPLY_FAULTS: usize = 16;

/// After so many requests the time is compared with the limit of a call.
const TIMED_REQUESTS: usize = 64;

/// [`core::all_faults`] or [`core::answered_faults`].
type ListFaults = fn(
    &core::Catalog,
    &core::Limits,
    &core::Request<'_>,
    &mut core::Scratch,
    usize,
) -> (Vec<core::Fault>, bool);

impl Validator {
    pub(super) fn workspaces(&self) -> MutexGuard<'_, Vec<Workspace>> {
        self.workspaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn render(
        &self,
        catalog: &core::Catalog,
        request: &core::Request<'_>,
        verdict: &core::Verdict,
        scratch: &mut core::Scratch,
        reply: &mut Vec<u8>,
        list: ListFaults,
    ) {
        if self.detail != core::Detail::All || verdict.fault.is_none() {
            return core::render(verdict, request.payload, self.detail, reply);
        }
        let (faults, more) = list(catalog, &self.limits, request, scratch, REPLY_FAULTS);
        core::render_all(verdict, faults.get(1..).unwrap_or_default(), more, request.payload, reply);
    }

    /// Replaces the verdict of a rejected request by the answer of its product's mode; returns why an
    /// answer of 200 would have been another one.
    #[cold]
    fn tolerate(
        &self,
        catalog: &core::Catalog,
        request: &core::Request<'_>,
        verdict: &mut core::Verdict,
        scratch: &mut core::Scratch,
        points: Option<&mut core::Points>,
    ) -> Option<core::Shadowed> {
        let mut unwanted = core::Points::default();
        let points = points.unwrap_or(&mut unwanted);
        let fault = verdict.fault.as_deref()?;
        let (answer, skipped) = core::tolerate(catalog, &self.limits, request, fault, scratch, points)?;
        let fault = std::mem::replace(verdict, answer).fault?;
        verdict.fault.is_none().then_some(core::Shadowed { fault, skipped })
    }

    /// Judges the requests in `range`, all of them or until `seconds` are over.
    pub(super) fn judge_range(
        &self,
        catalog: &core::Catalog,
        burst: &mut core::Burst,
        range: Range<usize>,
        collect: bool,
        seconds: Option<Duration>,
    ) -> (usize, Option<core::Points>) {
        let mut workspace = self.workspaces().pop().unwrap_or_default();
        let mut points = collect.then(|| core::Points::for_payloads(burst.payload_bytes_in(range.clone())));
        let begun = Instant::now();
        let mut end = range.start;
        while end < range.end {
            let slice = end..range.end.min(end + TIMED_REQUESTS);
            end = slice.end;
            for place in slice {
                let mut shadowed = None;
                burst.judge(place, |request, reply| {
                    let (limits, scratch) = (&self.limits, &mut workspace.scratch);
                    let mut verdict = match &mut points {
                        Some(points) => core::collect(catalog, limits, request, scratch, points),
                        None => core::judge(catalog, limits, request, scratch),
                    };
                    if verdict.fault.is_some() && catalog.is_tolerant() {
                        shadowed = self.tolerate(catalog, request, &mut verdict, scratch, points.as_mut());
                    }
                    self.render(catalog, request, &verdict, scratch, reply, core::answered_faults);
                    verdict
                });
                if let Some(shadowed) = shadowed {
                    burst.shadow(place, shadowed);
                }
            }
            if seconds.is_some_and(|seconds| begun.elapsed() > seconds) {
                break;
            }
        }
        self.workspaces().push(workspace);
        (end, points)
    }

    /// Judges a burst with one call of `judge` for each request.
    pub(super) fn judge<'py>(
        &self,
        py: Python<'py>,
        catalog: &Py<Catalog>,
        burst: &Arguments<'py>,
        mut judge: impl FnMut(
            &core::Catalog,
            &core::Limits,
            &core::Request<'_>,
            &mut core::Scratch,
        ) -> core::Verdict
        + Send,
    ) -> PyResult<Bound<'py, PyList>> {
        let mut workspace = self.workspaces().pop().unwrap_or_default();
        let mut judge = |catalog: &core::Catalog, request: &core::Request<'_>, workspace: &mut Workspace| {
            let verdict = judge(catalog, &self.limits, request, &mut workspace.scratch);
            workspace.reply.clear();
            let Workspace { scratch, reply } = workspace;
            self.render(catalog, request, &verdict, scratch, reply, core::all_faults);
            verdict
        };
        let mut reports = Vec::with_capacity(burst.payloads.len());
        if burst.bytes < RELEASE_BYTES {
            for (place, (topic, payload)) in burst.topics.iter().zip(burst.payloads.iter()).enumerate() {
                let topic = element::<PyString>(&topic, TOPICS, place)?;
                let payload = element::<PyBytes>(&payload, PAYLOADS, place)?;
                let request = burst.request(place, topic, payload);
                let verdict = judge(&catalog.get().snapshot, &request, &mut workspace);
                reports.push(Bound::new(py, Report::new(py, verdict, &workspace.reply))?);
            }
        } else {
            let snapshot = catalog.get().snapshot.clone();
            let held = burst.held()?;
            let requests: Vec<_> =
                held.iter().enumerate().map(|(place, held)| burst.request(place, &held.0, &held.1)).collect();
            let judged: Vec<_> = py.detach(|| {
                let judged = requests.iter().map(|request| {
                    let verdict = judge(&snapshot, request, &mut workspace);
                    (verdict, workspace.reply.clone())
                });
                judged.collect()
            });
            for (verdict, reply) in judged {
                reports.push(Bound::new(py, Report::new(py, verdict, &reply))?);
            }
        }
        self.workspaces().push(workspace);
        PyList::new(py, reports)
    }
}
