//! The types that numbers are read as.

use super::short::Short;
/// Powers of ten, and their negatives: dividing by a negative one also gives the sign of -0.0.
const SIGNED_POWERS_F64: [[f64; 8]; 2] =
    [[1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7], [-1e0, -1e1, -1e2, -1e3, -1e4, -1e5, -1e6, -1e7]];

use super::value::{Integer, Number, POWERS_F32};

/// A type that a number can be read as.
pub(crate) trait Numeric: Sized {
    /// The value of a short number; `None` if only [`Self::from_number`] is exact.
    fn from_short(short: Short) -> Option<Self>;

    /// The value of any number.
    fn from_number(number: Number<'_>) -> Self;
}

/// For a number of which only the grammar is checked.
impl Numeric for () {
    #[inline(always)]
    fn from_short(_: Short) -> Option<Self> {
        Some(())
    }

    fn from_number(_: Number<'_>) -> Self {}
}

impl Numeric for f64 {
    #[inline(always)]
    fn from_short(short: Short) -> Option<Self> {
        Some(short.whole as i64 as Self / SIGNED_POWERS_F64[usize::from(short.negative)][short.places & 7])
    }

    #[inline]
    fn from_number(number: Number<'_>) -> Self {
        number.to_f64()
    }
}

impl Numeric for f32 {
    #[inline(always)]
    fn from_short(short: Short) -> Option<Self> {
        if short.whole > 1 << 24 {
            return None;
        }
        let value = short.whole as i32 as Self / POWERS_F32.get(short.places)?;
        Some(Self::from_bits(value.to_bits() | u32::from(short.negative) << 31))
    }

    #[inline]
    fn from_number(number: Number<'_>) -> Self {
        number.to_f32()
    }
}

/// The value of a FLOAT: judged as an f32, and stored as it was sent.
///
/// 50.01 is not an f32. The nearest one, written out as an f64, is 50.0099983215332, which nobody sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Float {
    /// The nearest f32.
    pub judged: f32,
    /// The nearest f64.
    pub sent: f64,
}

impl Numeric for Float {
    #[inline(always)]
    fn from_short(short: Short) -> Option<Self> {
        let judged = f32::from_short(short)?;
        Some(Self { judged, sent: f64::from_short(short)? })
    }

    #[inline]
    fn from_number(number: Number<'_>) -> Self {
        Self { judged: number.to_f32(), sent: number.to_f64() }
    }
}

impl Numeric for Integer {
    #[inline(always)]
    fn from_short(short: Short) -> Option<Self> {
        if short.places > 0 {
            return None;
        }
        let value = short.whole as i64;
        Some(Self::Value(if short.negative { -value } else { value }))
    }

    #[inline]
    fn from_number(number: Number<'_>) -> Self {
        number.to_integer()
    }
}
