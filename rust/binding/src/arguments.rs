//! The requests of one call: its arguments, checked.

use pointgate_core as core;
use pyo3::PyTypeCheck;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PySequence, PyString};

use crate::instants::{next_instants, now_us};

/// When the requests of one call arrived; None where the caller leaves it to the system clock.
pub(crate) struct Arrival {
    pub(crate) now_ms: Option<i64>,
    /// Of the first request; each one after it arrives a microsecond later.
    pub(crate) arrived_us: Option<i64>,
    pub(crate) observed_us: Option<Vec<Option<i64>>>,
}

/// The requests of one call.
pub(crate) struct Arguments<'py> {
    pub(crate) topics: Bound<'py, PyList>,
    pub(crate) payloads: Bound<'py, PyList>,
    /// The size of all payloads together.
    pub(crate) bytes: usize,
    now_ms: i64,
    arrival: Arrival,
}

impl<'py> Arguments<'py> {
    pub(crate) fn new(
        topics: &Bound<'py, PyAny>,
        payloads: &Bound<'py, PyAny>,
        arrival: Arrival,
        catalog: &core::Catalog,
    ) -> PyResult<Self> {
        let (topics, payloads) = (as_list(topics, TOPICS)?, as_list(payloads, PAYLOADS)?);
        if topics.len() != payloads.len() {
            let (topics, payloads) = (topics.len(), payloads.len());
            return Err(PyValueError::new_err(format!(
                "expected as many payloads as topics, got {payloads} payloads and {topics} topics"
            )));
        }
        if let Some(observed) = arrival.observed_us.as_ref().filter(|list| list.len() != topics.len()) {
            let (topics, observed) = (topics.len(), observed.len());
            return Err(PyValueError::new_err(format!(
                "expected as many observed_us as topics, got {observed} observed_us and {topics} topics"
            )));
        }
        let mut bytes = 0;
        for (index, payload) in payloads.iter().enumerate() {
            bytes += element::<PyBytes>(&payload, PAYLOADS, index)?.as_bytes().len();
        }
        let of_arrival = || match arrival.arrived_us {
            Some(first) => first.div_euclid(1000),
            // Reading the clock takes a tenth of the time of a small call.
            None if !catalog.needs_now() => 0,
            None => now_us() / 1000,
        };
        let now_ms = arrival.now_ms.unwrap_or_else(of_arrival);
        Ok(Self { topics, payloads, bytes, now_ms, arrival })
    }

    /// Gives each request an instant of its own, if the caller has given none.
    pub(crate) fn take_instants(&mut self) {
        let Arrival { now_ms, arrived_us, .. } = &mut self.arrival;
        let count = i64::try_from(self.payloads.len()).unwrap_or(i64::MAX);
        let first = || now_ms.map_or_else(|| next_instants(count), |now_ms| now_ms.saturating_mul(1000));
        arrived_us.get_or_insert_with(first);
    }

    /// The elements of both lists. Other threads can change the lists while the interpreter lock is
    /// released, but not these objects.
    pub(crate) fn held(&self) -> PyResult<Vec<(Bound<'py, PyString>, Bound<'py, PyBytes>)>> {
        let held = self.topics.iter().zip(self.payloads.iter()).enumerate();
        held.map(|(place, (topic, payload))| {
            let topic = element::<PyString>(&topic, TOPICS, place)?.clone();
            Ok((topic, element::<PyBytes>(&payload, PAYLOADS, place)?.clone()))
        })
        .collect()
    }

    /// The request at a place of the lists.
    pub(crate) fn request<'a>(
        &self,
        place: usize,
        topic: &'a Bound<'py, PyString>,
        payload: &'a Bound<'py, PyBytes>,
    ) -> core::Request<'a> {
        let Arrival { arrived_us, observed_us, .. } = &self.arrival;
        core::Request {
            // A str with lone surrogates has no UTF-8; such a topic is not served.
            topic: topic.to_str().unwrap_or_default(),
            payload: payload.as_bytes(),
            now_ms: self.now_ms,
            // `validate` gives no instants: it stores no points.
            arrived_us: arrived_us.unwrap_or_default().saturating_add(place as i64),
            observed_us: observed_us.as_ref().and_then(|list| list.get(place).copied().flatten()),
        }
    }
}

/// An argument that is a sequence, and the type of its elements.
#[derive(Clone, Copy)]
pub(crate) struct Argument {
    name: &'static str,
    of: &'static str,
}

pub(crate) const TOPICS: Argument = Argument { name: "topics", of: "str" };
pub(crate) const PAYLOADS: Argument = Argument { name: "payloads", of: "bytes" };

/// The argument as a list. A lone `str` or `bytes` is refused, although Python counts both as
/// sequences.
fn as_list<'py>(sequence: &Bound<'py, PyAny>, argument: Argument) -> PyResult<Bound<'py, PyList>> {
    if let Ok(list) = sequence.cast::<PyList>() {
        return Ok(list.clone());
    }
    let is_one = sequence.is_instance_of::<PyString>() || sequence.is_instance_of::<PyBytes>();
    match sequence.cast::<PySequence>() {
        Ok(sequence) if !is_one => sequence.to_list(),
        _ => {
            let hint = if is_one { ": for one request write ([topic], [payload])" } else { "" };
            let (Argument { name, of }, got) = (argument, sequence.get_type().name()?);
            Err(PyTypeError::new_err(format!("expected {name} as a sequence of {of}, got {got}{hint}")))
        }
    }
}

/// An element of an argument.
pub(crate) fn element<'a, 'py, T: PyTypeCheck>(
    element: &'a Bound<'py, PyAny>,
    argument: Argument,
    index: usize,
) -> PyResult<&'a Bound<'py, T>> {
    element.cast().map_err(|_| wrong_element(element, argument, index))
}

#[cold]
fn wrong_element(element: &Bound<'_, PyAny>, Argument { name, of }: Argument, index: usize) -> PyErr {
    match element.get_type().name() {
        Ok(got) => PyTypeError::new_err(format!("expected {name}[{index}] as {of}, got {got}")),
        Err(error) => error,
    }
}
