//! Numbers: the grammar is checked first, then the type of the point decides (contract 4 and 5).
//!
//! | file | content |
//! | --- | --- |
//! | `digits` | eight digits at a time: how many there are, and their value |
//! | `short` | the fast path: numbers as gateways write them, read from one window |
//! | `scan` | the general path: `'-'? digits ('.' digits)? ([eE] [+-]? digits)?` |
//! | `value` | [`Number`], which `scan` finds, and its value as f64, f32 or [`Integer`] |
//! | `decimal` | the exact value of any number, for the few that `value` cannot represent |
//! | `numeric` | [`Numeric`]: the types that both paths can read |

mod decimal;
mod digits;
mod numeric;
mod scan;
mod short;
mod value;

pub(crate) use numeric::{Float, Numeric};
pub use value::{Integer, Number};
