//! Devices of a large table: looked up while the next entries are read.
//!
//! A look-up in a table that no cache holds waits for memory twice, longer than an entry takes to be
//! judged. So its three steps ([`Devices::begin`]) are made with other entries between them:
//!
//! ```text
//! entry            0        1        2        …   DEPTH / 2       …   DEPTH
//! of its device    begin                          locate              finish
//! ```
//!
//! An unknown device is noticed at most [`DEPTH`] entries later, or when a fault or the end of the
//! entries asks for it.

use crate::devices::{Devices, Lookup};

/// Number of devices that are looked up at a time.
const DEPTH: usize = 8;

/// The look-ups of a request that are not finished, in the order of its entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct PendingDevices {
    ring: [PendingDevice; DEPTH],
    /// Numbers of look-ups that were begun, located, finished; `begun - finished` is at most
    /// [`DEPTH`].
    begun: usize,
    located: usize,
    finished: usize,
}

/// A device that is being looked up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PendingDevice {
    lookup: Lookup,
    /// Index of its entry.
    pub(super) index: usize,
    /// Offset of the key's opening quote.
    pub(super) start: usize,
    length: usize,
}

impl PendingDevice {
    /// The key, which has no escapes.
    pub(super) fn key(self, payload: &[u8]) -> &[u8] {
        &payload[self.start + 1..][..self.length]
    }
}

impl PendingDevices {
    /// Forgets the look-ups of another request.
    #[inline]
    pub(super) fn clear(&mut self) {
        (self.begun, self.located, self.finished) = (0, 0, 0);
    }

    /// Begins to look up the key of entry `index`, whose opening quote is at `start`. Returns an
    /// earlier entry's device if that turns out to be unknown.
    #[inline]
    pub(super) fn begin(
        &mut self,
        devices: &Devices,
        payload: &[u8],
        (index, start): (usize, usize),
        key: &[u8],
    ) -> Option<PendingDevice> {
        let unknown = if self.begun - self.finished == DEPTH { self.finish(devices, payload) } else { None };
        if self.begun - self.located == DEPTH / 2 {
            self.locate(devices);
        }
        let lookup = devices.begin(key);
        self.ring[self.begun % DEPTH] = PendingDevice { lookup, index, start, length: key.len() };
        self.begun += 1;
        unknown
    }

    /// Whether there are none.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.finished == self.begun
    }

    /// The first unknown device among those of the entries before `end`.
    pub(super) fn first_unknown(
        &mut self,
        devices: &Devices,
        payload: &[u8],
        end: usize,
    ) -> Option<PendingDevice> {
        while self.located < self.begun {
            self.locate(devices);
        }
        while self.finished < self.begun && self.ring[self.finished % DEPTH].index < end {
            let unknown = self.finish(devices, payload);
            if unknown.is_some() {
                return unknown;
            }
        }
        None
    }

    #[inline]
    fn locate(&mut self, devices: &Devices) {
        devices.locate(&mut self.ring[self.located % DEPTH].lookup);
        self.located += 1;
    }

    #[inline]
    fn finish(&mut self, devices: &Devices, payload: &[u8]) -> Option<PendingDevice> {
        let oldest = self.ring[self.finished % DEPTH];
        self.finished += 1;
        (!devices.finish(oldest.lookup, oldest.key(payload))).then_some(oldest)
    }
}
