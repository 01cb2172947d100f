//! Instants of arrival by the system clock (contract 3.5).

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// UTC microseconds by the system clock.
pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// The first of `count` successive instants: by the system clock, but later than all that were
/// given before in this process.
pub(crate) fn next_instants(count: i64) -> i64 {
    static NEXT: AtomicI64 = AtomicI64::new(0);
    let now = now_us();
    let taken = NEXT
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| Some(next.max(now).saturating_add(count)));
    taken.unwrap_or_default().max(now)
}
