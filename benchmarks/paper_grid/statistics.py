"""Shares with their uncertainty."""

from math import sqrt

Z = 1.96
"""Two-sided 95 % quantile of the normal distribution."""


def wilson(good: int, of: int) -> tuple[float, float]:
    """Return the 95 % interval of a share by Wilson's score, in per cent; (0, 100) of none."""
    if not of:
        return 0.0, 100.0
    share = good / of
    middle = (share + Z * Z / (2 * of)) / (1 + Z * Z / of)
    half = Z / (1 + Z * Z / of) * sqrt(share * (1 - share) / of + Z * Z / (4 * of * of))
    return 100 * max(0.0, middle - half), 100 * min(1.0, middle + half)
