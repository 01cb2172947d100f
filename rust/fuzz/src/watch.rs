//! Checks that work is linear in its input, by processor time, which other processes influence
//! little.
//!
//! Fuzzing builds are slow, so the budget is large: it detects quadratic work, not small
//! regressions.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Shorter inputs are not measured: the clock's overhead exceeds their time.
const LEAST_BYTES: usize = 2048;
const BUDGET: Duration = Duration::from_millis(2);
const BUDGET_PER_BYTE: Duration = Duration::from_micros(1);
/// A page fault or an interrupt disturbs one run, not all.
const ATTEMPTS: usize = 4;

/// Does `work` on `bytes` of input.
///
/// # Panics
/// If every attempt exceeds the budget.
pub fn linear<T>(bytes: usize, mut work: impl FnMut() -> T) -> T {
    if bytes < LEAST_BYTES {
        return work();
    }
    let budget = BUDGET + BUDGET_PER_BYTE * u32::try_from(bytes).unwrap_or(u32::MAX);
    let mut least = Duration::MAX;
    for _ in 0..ATTEMPTS {
        let start = processor_time();
        let done = work();
        least = least.min(processor_time().saturating_sub(start));
        if least <= budget {
            return done;
        }
    }
    panic!("{bytes} bytes took {least:?}, budget {budget:?}");
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}
