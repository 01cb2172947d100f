//! The entries of a request: judged while they are read (contract 3.2 to 3.6).
//!
//! Members come in any order but are judged in one: shape, `deviceKey`, points, `time`. So each
//! fault has a [rank](entries::Rank), and an entry keeps the fault of the lowest one. Where a check
//! stops, the reader goes back to the beginning of that member and skips it as plain JSON, so that
//! the rest is still checked. This happens at most once for each member of one entry; the request's
//! fault is then known, and what follows is only checked as JSON.
//!
//! | file | content |
//! | --- | --- |
//! | `entries` | `params`: the loop over entries and over an entry's members |
//! | `points` | the loop over an entry's points |
//! | `device_key`, `time` | the other two members |
//! | `pending` | devices of a large table, looked up while the next entries are read |

mod device_key;
mod entries;
mod pending;
mod points;
mod time;

pub(crate) use entries::Entries;
pub(crate) use pending::PendingDevices;
