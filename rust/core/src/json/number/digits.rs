//! Eight ASCII digits at a time, in one 64-bit word (SWAR: SIMD within a register).
//!
//! Words are little-endian: the first character is in the lowest byte.

/// Powers of ten by exponent.
pub(super) const POWERS_U64: [u64; 9] =
    [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The digit zero, eight times.
pub(super) const ZEROS: u64 = 0x3030_3030_3030_3030;

/// How many of the first characters of `word` are ASCII digits.
///
/// ```text
/// word                  12.5,"ab   0x6261_222C_352E_3231
/// value = word ^ 0x30…             0x5251_121C_051E_0201   only digits become 0 to 9
/// value + 0x76…                    0xC8C7_8892_7B94_7877   high bit of 0x0A to 0x89: set
/// … | value                        0xDAD7_9A9E_7F9E_7A77   high bit of 0x80 and above: kept
/// … & 0x80…                        0x8080_8080_0080_0000   23 trailing zeros: 2 digits
/// ```
///
/// An addition can carry into the next byte only from a byte that has its high bit in `value`. So
/// only bytes behind the first character that is no digit can be wrong.
#[inline(always)]
pub(super) const fn leading_digits(word: u64) -> usize {
    let value = word ^ ZEROS;
    let others = value.wrapping_add(0x7676_7676_7676_7676) | value;
    ((others & 0x8080_8080_8080_8080).trailing_zeros() / 8) as usize
}

/// The value of the first `count` digits of `word`, 1 to 8.
///
/// ```text
/// word, count 2         12.5,"ab   0x6261_222C_352E_3231
/// (word ^ 0x30…) << 48             0x0201_0000_0000_0000   missing digits: leading zeros
/// value_of_eight        00000012   12
/// ```
#[inline(always)]
pub(super) const fn digits_value(word: u64, count: usize) -> u64 {
    value_of_eight((word ^ ZEROS) << (64 - 8 * count))
}

/// The value of eight digits, 0 to 9 each, the first one in the lowest byte.
///
/// ```text
/// digits 1 2 3 4 5 6 7 8          0x0807_0605_0403_0201
/// pairs  12 34 56 78              0x004E_0038_0022_000C    first digit of each pair * 10 + second
/// fours  1234 5678                0x0000_162E_0000_04D2    first pair * 100 + second
/// eight  12345678                 0x00BC_614E              first four * 10_000 + second
/// ```
#[inline(always)]
pub(super) const fn value_of_eight(digits: u64) -> u64 {
    let pairs = digits.wrapping_mul(10 << 8 | 1) >> 8 & 0x00FF_00FF_00FF_00FF;
    let fours = pairs.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_FFFF_0000_FFFF;
    fours.wrapping_mul(10_000 << 32 | 1) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_found_and_valued_at_every_length() {
        for (text, count, value) in [
            (b"12345678", 8, 12_345_678),
            (b"1234567,", 7, 1_234_567),
            (b"00000042", 8, 42),
            (b"9.999999", 1, 9),
            (b"99:99999", 2, 99),
            (b"1/234567", 1, 1),
        ] {
            let word = u64::from_le_bytes(*text);
            assert_eq!(leading_digits(word), count);
            assert_eq!(digits_value(word, count), value);
        }
        assert_eq!(leading_digits(u64::from_le_bytes(*b"x1234567")), 0);
        assert_eq!(leading_digits(u64::from_le_bytes([b'1', 0xB1, b'1', 0, 0, 0, 0, 0])), 1);
    }
}
