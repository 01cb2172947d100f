//! Mistakes in model documents and device files.

use std::fmt;

/// One mistake in a catalog file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// A JSON pointer, `line N`, or empty for the whole file.
    pub location: String,
    /// What was expected and what was found.
    pub reason: String,
}

impl Problem {
    pub(crate) fn new(location: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { location: location.into(), reason: reason.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.location.is_empty() {
            return f.write_str(&self.reason);
        }
        write!(f, "{}: {}", self.location, self.reason)
    }
}

impl std::error::Error for Problem {}
