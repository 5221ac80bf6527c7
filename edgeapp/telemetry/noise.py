"""The noise on every released number: exact integer discrete Laplace, and how large it is.

Owns the sampler and the exact figures of its distribution. A value x has the probability
(1 - q) / (1 + q) · q^|x| with q = exp(-1 / scale). Guarantee: the sampler draws from that distribution exactly. It
knows integers and fractions only, because the rounding of floating-point Laplace noise gives the true value away
(Mironov: "On significance of the least significant bits for differential privacy", CCS 2012), and its randomness is the
kernel's, which no seed repeats.

Source of the sampler: Canonne, Kamath, Steinke: "The Discrete Gaussian for Differential Privacy", arXiv 2004.00010,
algorithms 1 and 2.
"""

from __future__ import annotations

import math
import secrets
from fractions import Fraction


def discrete_laplace(scale: Fraction) -> int:
    """One draw of the noise. A count of sensitivity s is ε-differentially private with scale s / ε.

    Raises:
        ValueError: the scale is not above 0.
    """
    if scale <= 0:
        raise ValueError(f"scale: expected above 0, found {scale}")
    numerator, denominator = scale.numerator, scale.denominator
    while True:
        remainder = secrets.randbelow(numerator)
        if not _happens_exp(remainder, numerator):
            continue
        quotient = 0
        while _happens_exp(1, 1):
            quotient += 1
        size = (remainder + numerator * quotient) // denominator
        is_negative = secrets.randbelow(2) == 1
        if size or not is_negative:  # or else 0 would come twice as often
            return -size if is_negative else size


def _happens_exp(numerator: int, denominator: int) -> bool:
    """True with the probability exp(-numerator / denominator), for a fraction from 0 to 1."""
    k = 1
    while secrets.randbelow(denominator * k) < numerator:
        k += 1
    return k % 2 == 1


def standard_deviation(scale: Fraction) -> float:
    """The standard deviation of the noise, in counts."""
    return math.sqrt(2 * math.exp(-1 / scale)) / -math.expm1(-1 / scale)


def tail(scale: Fraction, size: int) -> float:
    """The probability that the noise is larger than `size` (0 or more) in either direction."""
    return 2 * math.exp(-(size + 1) / scale) / (1 + math.exp(-1 / scale))


def half_width(scale: Fraction, coverage: float) -> int:
    """The smallest size that the noise exceeds, in either direction, with a probability of at most 1 - `coverage`.

    Args:
        coverage: above 0 and below 1; 0.95 is nineteen times of twenty.
    """
    beyond = (1 - coverage) * (1 + math.exp(-1 / scale)) / 2
    size = max(0, math.floor(-scale * math.log(beyond)) - 2)
    while tail(scale, size) > 1 - coverage:
        size += 1
    return size
