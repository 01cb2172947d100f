//! Why a check ended early.

use crate::json::Syntax;

use super::{Fault, Segment};

/// Why a check ended without a valid value.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The payload is not JSON here.
    Syntax(Syntax),
    /// It is JSON that the model refuses.
    Fault(Box<Fault>),
    /// The point is null, which the product ignores; the cursor stands behind it.
    NullPoint,
}

impl Stop {
    /// Adds a path segment to a fault; a syntax error has no path.
    #[cold]
    pub(crate) fn inside(self, segment: impl Into<Segment>) -> Self {
        match self {
            Self::Fault(fault) => Self::Fault(fault.inside(segment)),
            other => other,
        }
    }
}

impl From<Syntax> for Stop {
    fn from(syntax: Syntax) -> Self {
        Self::Syntax(syntax)
    }
}

impl From<Box<Fault>> for Stop {
    fn from(fault: Box<Fault>) -> Self {
        Self::Fault(fault)
    }
}
