//! Every bound on a request that is checked before work is done on it.

/// The default of `limits.payload_bytes`.
pub const DEFAULT_PAYLOAD_BYTES: usize = 8 << 20;

/// What `limits.payload_bytes` can be at most: offsets are held in 32 bits.
pub const MAX_PAYLOAD_BYTES: usize = u32::MAX as usize;

/// How far into an oversize payload the id is looked for (contract 2.3).
pub(crate) const ID_PREFIX: usize = 4096;

/// The longest id token, quotes included (contract 2.6).
pub(crate) const MAX_ID: usize = 256;

/// The limits that a service can set.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Larger payloads are answered 1008 without being read.
    pub payload_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { payload_bytes: DEFAULT_PAYLOAD_BYTES }
    }
}
