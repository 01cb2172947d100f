//! Integers and strings as MQTT writes them, and a cursor that reads them.

use std::collections::TryReserveError;
use std::error::Error;
use std::fmt;

/// The continuation bit of a variable byte integer.
const MORE: u8 = 0x80;

/// The longest variable byte integer.
const VARIABLE_BYTES: usize = 4;

/// Why the bytes of a read could not be taken. The connection cannot be used further.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a caller handles each one in its own way")]
pub enum FeedError {
    /// The broker sent bytes that are not MQTT, and why.
    Malformed(String),
    /// An allocation failed.
    OutOfMemory,
}

impl fmt::Display for FeedError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Malformed(reason) => reason,
            Self::OutOfMemory => "out of memory",
        })
    }
}

impl Error for FeedError {}

impl From<TryReserveError> for FeedError {
    fn from(_: TryReserveError) -> Self {
        Self::OutOfMemory
    }
}

#[cold]
pub(super) fn malformed<T>(reason: impl Into<String>) -> Result<T, FeedError> {
    Err(FeedError::Malformed(reason.into()))
}

#[cold]
fn ends_early() -> FeedError {
    FeedError::Malformed("a packet from the broker ends too early".to_owned())
}

/// Reads the bytes of one packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn is_empty(self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn take(&mut self, size: usize) -> Result<&'a [u8], FeedError> {
        let (taken, rest) = self.rest.split_at_checked(size).ok_or_else(ends_early)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, FeedError> {
        let (&byte, rest) = self.rest.split_first().ok_or_else(ends_early)?;
        self.rest = rest;
        Ok(byte)
    }

    pub(super) fn integer(&mut self) -> Result<u16, FeedError> {
        let (&bytes, rest) = self.rest.split_first_chunk().ok_or_else(ends_early)?;
        self.rest = rest;
        Ok(u16::from_be_bytes(bytes))
    }

    /// A string or binary data: a length of two bytes, and as many bytes.
    pub(super) fn string(&mut self) -> Result<&'a [u8], FeedError> {
        let size = self.integer()?;
        self.take(size.into())
    }

    pub(super) fn variable(&mut self) -> Result<usize, FeedError> {
        let (value, size) = variable(self.rest)?.ok_or_else(ends_early)?;
        self.take(size)?;
        Ok(value)
    }
}

/// The variable byte integer at the beginning of `data`, and how many bytes it has; `None` if it is
/// incomplete.
pub(super) fn variable(data: &[u8]) -> Result<Option<(usize, usize)>, FeedError> {
    let mut value = 0;
    for (place, &byte) in data.iter().take(VARIABLE_BYTES).enumerate() {
        value |= usize::from(byte & !MORE) << (7 * place);
        if byte & MORE == 0 {
            return Ok(Some((value, place + 1)));
        }
    }
    if data.len() < VARIABLE_BYTES {
        return Ok(None);
    }
    malformed("a length from the broker has more than four bytes")
}

/// Appends a variable byte integer.
pub(super) fn push_variable(mut value: usize, to: &mut Vec<u8>) {
    while value >= usize::from(MORE) {
        to.push(value as u8 | MORE);
        value >>= 7;
    }
    to.push(value as u8);
}

/// How many bytes a variable byte integer has.
pub(super) fn variable_size(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}
