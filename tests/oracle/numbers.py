"""Decimal numbers, exactly: integral or not, as f32, as f64 (contract 4 and 5).

Everything is a fraction, and a binary format is rounded to by its definition: the nearest multiple
of the quantum that the value's exponent gives, ties to even. f32 is rounded to directly; going
through f64 rounds twice and is wrong for some values.

A JSON number of a few characters can stand for more digits than a machine has memory
(`1e999999999`). Magnitudes beyond 10**±2000 are therefore clamped to 10**±2000, which lies on the
same side of every limit and every bound that a model can state and rounds the same in both formats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

INT32_MIN: Final = -(2**31)
INT32_MAX: Final = 2**31 - 1

# A token has at most 1,024 characters, so a value that needs no exponent never reaches the clamp.
_CLAMP: Final = 2000


@dataclass(frozen=True)
class Decimal:
    """The exact value of a JSON number, clamped as the module says, and whether it is integral."""

    value: Fraction
    integral: bool


@dataclass(frozen=True)
class BinaryFormat:
    """An IEEE 754 binary format: bits of precision, and the exponents of its normal numbers."""

    precision: int
    min_exponent: int
    max_exponent: int


F32: Final = BinaryFormat(precision=24, min_exponent=-126, max_exponent=127)
F64: Final = BinaryFormat(precision=53, min_exponent=-1022, max_exponent=1023)


def decimal(token: str) -> Decimal:
    """Return what a JSON number stands for."""
    mantissa, _, exponent_text = token.lower().partition("e")
    whole, _, fraction = mantissa.removeprefix("-").partition(".")
    digits = (whole + fraction).lstrip("0")
    exponent = int(exponent_text or "0") - len(fraction)
    significant = digits.rstrip("0")
    exponent += len(digits) - len(significant)
    if not significant:
        return Decimal(Fraction(0), integral=True)
    # Without trailing zeros the value is integral exactly when no digit stands behind the point.
    integral = exponent >= 0
    magnitude = exponent + len(significant)
    if magnitude > _CLAMP:
        value = Fraction(10) ** _CLAMP
    elif magnitude < -_CLAMP:
        value = Fraction(10) ** -_CLAMP
    else:
        value = int(significant) * Fraction(10) ** exponent
    return Decimal(-value if token.startswith("-") else value, integral)


def rounded(value: Fraction, target: BinaryFormat) -> Fraction | float:
    """Round to the nearest number of a binary format; infinity (a float) beyond its range."""
    if value < 0:
        return -rounded(-value, target)
    if value == 0:
        return value
    exponent = max(_floor_log2(value), target.min_exponent)
    quantum = Fraction(2) ** (exponent - target.precision + 1)
    nearest = round(value / quantum) * quantum
    return math.inf if nearest >= Fraction(2) ** (target.max_exponent + 1) else nearest


def _floor_log2(value: Fraction) -> int:
    """Return the e with 2**e <= value < 2**(e + 1)."""
    exponent = value.numerator.bit_length() - value.denominator.bit_length()
    return exponent if Fraction(2) ** exponent <= value else exponent - 1
