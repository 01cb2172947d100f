//! Why a request is not accepted (contract 2.5 and 3).
//!
//! | file | content |
//! | --- | --- |
//! | `code`, `reason` | the two closed lists: codes of replies, reasons of faults |
//! | `record` | [`Fault`]: one fault with its path |
//! | `stop` | [`Stop`]: what a check returns instead of success, a fault or a syntax error |
//! | `list` | all faults of a request, where they are wanted |
//! | `at_value` | constructors of faults that describe the JSON value at a cursor |

pub(crate) mod at_value;
mod code;
pub(crate) mod list;
mod reason;
mod record;
mod stop;

pub use code::Code;
pub use reason::Reason;
pub use record::{Fault, Segment};
pub(crate) use stop::Stop;
