"""Means of differences by seed, with their intervals: both arms of a comparison see the same seeds.

With d the differences of n seeds, the 95 % interval is mean(d) ± t(n − 1) · stdev(d) / √n, t being
Student's two-sided quantile.
"""

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev

STUDENT = {3: 4.303, 10: 2.262}
"""Two-sided 95 % quantiles of Student's t by number of pairs."""


def paired(ours: Sequence[float], theirs: Sequence[float], *, digits: int) -> dict[str, float]:
    """Return the mean difference by seed and its 95 % interval, rounded."""
    apart = [a - b for a, b in zip(ours, theirs, strict=True)]
    half = STUDENT[len(apart)] * stdev(apart) / sqrt(len(apart))
    middle = fmean(apart)
    named = {"mean": middle, "low": middle - half, "high": middle + half}
    return {name: round(value, digits) for name, value in named.items()}
