//! A histogram of durations whose quantiles are exact to a 128th.

/// The bits of a duration in microseconds that are counted.
const LATENCY_BITS: u32 = 8;

/// Durations, counted in buckets of a microsecond up to 256, then of less than a 128th of the value.
///
/// A value of `v` µs with `b` bits, `b` > 8, is shifted by `b - 8`: 1000 (10 bits) by 2 to 250, and
/// counted in bucket 2 × 128 + 250, which has 1000 to 1003.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    counts: Vec<u64>,
    total: u64,
    most_ns: u64,
}

impl Latencies {
    pub(super) fn add(&mut self, nanoseconds: u64) {
        let value = nanoseconds / 1000;
        let shift = (u64::BITS - value.leading_zeros()).saturating_sub(LATENCY_BITS);
        let bucket = (u64::from(shift) << (LATENCY_BITS - 1)) + (value >> shift);
        let bucket = bucket as usize;
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.total += 1;
        self.most_ns = self.most_ns.max(nanoseconds);
    }

    /// The longest one, in nanoseconds.
    pub fn most_ns(&self) -> u64 {
        self.most_ns
    }

    /// The least duration that this share of all does not exceed, in nanoseconds, rounded up to the
    /// end of its bucket; 0 if there are none.
    pub fn quantile_ns(&self, share: f64) -> u64 {
        let mut left = (self.total as f64 * share).ceil() as u64;
        for (bucket, &count) in self.counts.iter().enumerate() {
            if left <= count && count > 0 {
                let half = 1 << (LATENCY_BITS - 1);
                let shift = (bucket / half).saturating_sub(1);
                let end = ((bucket - shift * half + 1) << shift) as u64 * 1000;
                return end.min(self.most_ns);
            }
            left = left.saturating_sub(count);
        }
        0
    }
}
