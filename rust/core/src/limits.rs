//! Limits of a request that are checked before its content.

/// The default of `limits.payload_bytes`.
pub const DEFAULT_PAYLOAD_BYTES: usize = 8 << 20;

/// Maximum of `limits.payload_bytes`: offsets have 32 bits.
pub const MAX_PAYLOAD_BYTES: usize = u32::MAX as usize;

/// The beginning of an oversized payload, in bytes, that is searched for its id (contract 2.3).
pub(crate) const ID_PREFIX: usize = 4096;

/// Maximum length of an id token in bytes, quotes included (contract 2.6).
pub(crate) const MAX_ID: usize = 256;

/// The limits that a service can configure.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a caller that misses a new limit must not compile")]
pub struct Limits {
    /// Larger payloads get code 1008 without being read.
    pub payload_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { payload_bytes: DEFAULT_PAYLOAD_BYTES }
    }
}
