//! Buffers that are kept from one request to the next, so that judging allocates nothing.

use crate::entry::PendingDevices;
use crate::generation_set::GenerationSet;
use crate::predictor::OrderPredictor;

/// Buffers for [`crate::judge`] and [`crate::collect()`].
///
/// They have no influence on verdicts: a new one and one that was used for other catalogs give the
/// same.
///
/// ```
/// let mut scratch = pointgate_core::Scratch::default();
/// # let _ = &mut scratch;
/// ```
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// Points of the current entry that have been read.
    pub(crate) points: GenerationSet,
    /// Members of the current STRUCT that have been read.
    pub(crate) members: GenerationSet,
    /// A decoded string.
    pub(crate) buffer: String,
    pub(crate) predictor: OrderPredictor,
    /// Devices of the current request that are being looked up.
    pub(crate) devices: PendingDevices,
}
