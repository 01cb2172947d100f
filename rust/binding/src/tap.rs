//! A filter of answered requests, and a sample of those that match: what `pointgate tap` shows.
//!
//! ```text
//! match      each settled request, by its topic, its verdict and the bytes of its payload
//! sample     at most `most` of the matches, at even distances
//! ```
//!
//! Only requests of the sample become Python objects: a burst that nobody looks at costs nothing, and
//! one that somebody looks at the same whatever it holds. The device is searched for in the payload's
//! text, because the judge does not keep the devices of a request.

use memchr::memmem::Finder;
use pointgate_core as core;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::burst::Burst;
use crate::report::Report;

/// Which answered requests a tap shows; each criterion that is given must hold.
///
/// Args:
///     product: The product key of the topic.
///     code: The code of the verdict.
///     reason: The reason of the fault.
///     device: A device key that the payload holds, as a JSON string, or that the fault names.
///     identifier: The identifier that the fault names.
///
/// Raises:
///     ValueError: There is no such code or reason.
#[pyclass(frozen, module = "pointgate._core")]
pub(crate) struct TapFilter {
    product: Option<String>,
    code: Option<core::Code>,
    reason: Option<core::Reason>,
    device: Option<Device>,
    identifier: Option<String>,
}

struct Device {
    key: String,
    /// Finds the key in a payload, with its quotes. In a box, because its vectors need an alignment of
    /// 32 bytes, and Python allocates its objects with 16.
    text: Box<Finder<'static>>,
}

impl Device {
    fn new(key: String) -> Self {
        Self { text: Box::new(Finder::new(&json_text(&key)).into_owned()), key }
    }

    /// Whether the key is a string of a payload. An escaped quote begins none.
    fn is_in(&self, payload: &[u8]) -> bool {
        self.text.find_iter(payload).any(|at| at == 0 || payload[at - 1] != b'\\')
    }
}

/// A request of a sample: topic, the beginning of its payload, its size, report, and instant.
type Sampled<'py> = (String, Bound<'py, PyBytes>, usize, Report, i64);

#[pymethods]
impl TapFilter {
    #[new]
    #[pyo3(signature = (*, product=None, code=None, reason=None, device=None, identifier=None))]
    fn new(
        product: Option<String>,
        code: Option<u16>,
        reason: Option<&str>,
        device: Option<String>,
        identifier: Option<String>,
    ) -> PyResult<Self> {
        let code = code.map(|number| {
            let found = core::Code::ALL.into_iter().find(|known| known.number() == number);
            found.ok_or_else(|| PyValueError::new_err(format!("there is no code {number}")))
        });
        let reason = reason.map(|name| {
            let found = core::Reason::ALL.into_iter().find(|known| known.name() == name);
            found.ok_or_else(|| PyValueError::new_err(format!("there is no reason {name:?}")))
        });
        let (code, reason, device) = (code.transpose()?, reason.transpose()?, device.map(Device::new));
        Ok(Self { product, code, reason, device, identifier })
    }

    /// Find the requests that match, and take a sample of them.
    ///
    /// Args:
    ///     burst: A burst.
    ///     settled: How many of its requests were answered.
    ///     most: The most requests of the sample.
    ///     first: Which match the sample begins with, counted around the end: a number that varies
    ///         takes requests from all places of bursts.
    ///     payload_bytes: How much of a payload is returned, up to the end of a character.
    ///
    /// Returns:
    ///     How many requests match; those of the sample, in order: topic, payload, size of the
    ///     whole payload, report and instant.
    fn sample<'py>(
        &self,
        py: Python<'py>,
        burst: PyRef<'_, Burst>,
        settled: usize,
        most: usize,
        first: usize,
        payload_bytes: usize,
    ) -> (usize, Vec<Sampled<'py>>) {
        let requests = &burst.burst;
        let settled = settled.min(requests.len());
        let matches: Vec<usize> = (0..settled).filter(|&place| self.matches(requests, place)).collect();
        let sample = spread(&matches, most, first).into_iter().filter_map(|place| {
            let (request, report) = (requests.get(place)?, burst.report(py, place)?);
            let payload = PyBytes::new(py, whole_characters(request.payload, payload_bytes));
            let (size, instant) = (request.payload.len(), requests.instant_us(place));
            Some((request.topic.to_owned(), payload, size, report, instant))
        });
        (matches.len(), sample.collect())
    }
}

impl TapFilter {
    fn matches(&self, requests: &core::Burst, place: usize) -> bool {
        let found = requests.get(place).zip(requests.verdict(place));
        let Some((request, verdict)) = found else { return false };
        let shadowed = || requests.shadowed(place).map(|shadowed| &*shadowed.fault);
        let fault = verdict.fault.as_deref().or_else(shadowed);
        // A shadowed request has two codes: that of its reply, and that of its fault.
        let has_code = |code| verdict.code() == code || fault.is_some_and(|fault| fault.code() == code);
        self.code.is_none_or(has_code)
            && self.reason.is_none_or(|reason| fault.is_some_and(|fault| fault.reason == reason))
            && self.identifier.as_deref().is_none_or(|identifier| {
                fault.is_some_and(|fault| fault.identifier.as_deref() == Some(identifier))
            })
            && self.product.as_deref().is_none_or(|product| {
                core::Topic::parse(request.topic).is_some_and(|topic| topic.product_key == product)
            })
            && self.device.as_ref().is_none_or(|device| {
                fault.is_some_and(|fault| fault.device_key.as_deref() == Some(&device.key))
                    || device.is_in(request.payload)
            })
    }
}

/// A text as the shortest JSON string.
fn json_text(text: &str) -> Vec<u8> {
    let mut json = vec![b'"'];
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            json.push(b'\\');
        }
        json.push(byte);
    }
    json.push(b'"');
    json
}

/// At most `most` of the places, in order, at even distances from the one numbered `first`.
fn spread(places: &[usize], most: usize, first: usize) -> Vec<usize> {
    if places.len() <= most {
        return places.to_vec();
    }
    let number = |taken: usize| (first % places.len() + taken * places.len() / most) % places.len();
    let mut taken: Vec<usize> = (0..most).map(|taken| places[number(taken)]).collect();
    taken.sort_unstable();
    taken
}

/// The beginning of a payload, up to the end of a character if it is cut.
fn whole_characters(payload: &[u8], most: usize) -> &[u8] {
    const LONGEST: usize = 4;
    if payload.len() <= most {
        return payload;
    }
    let is_start = |&end: &usize| payload[end] & 0xC0 != 0x80;
    let end = (most.saturating_sub(LONGEST)..=most).rev().find(is_start).unwrap_or(most);
    &payload[..end]
}
