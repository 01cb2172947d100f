//! The result of judging one request.

use std::ops::Range;

use crate::fault::{Code, Fault};

/// The result of judging one request: accepted, or the first fault.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Verdict {
    /// Why it was not accepted.
    pub fault: Option<Box<Fault>>,
    /// Number of accepted points; 0 unless the code is 200.
    pub points: u64,
    /// Number of null points that were ignored (contract 5.3); 0 unless the code is 200.
    pub null_points: u64,
    /// Number of times before 1971 (contract 3.5); 0 unless the code is 200.
    pub early_times: u64,
    /// Range of the id token in the payload, which the reply echoes (contract 2.3).
    pub id: Option<Range<usize>>,
}

impl Verdict {
    pub(crate) fn refused(fault: Box<Fault>, id: Option<Range<usize>>) -> Self {
        Self { fault: Some(fault), points: 0, null_points: 0, early_times: 0, id }
    }

    /// The code of the reply.
    pub fn code(&self) -> Code {
        self.fault.as_ref().map_or(Code::Ok, |fault| fault.code())
    }
}
