"""Means, spreads and paired intervals over seeds."""

from __future__ import annotations

from math import sqrt
from statistics import fmean, stdev
from typing import Any

STUDENT = {3: 4.303, 10: 2.262}
"""Two-sided 95 % quantiles of Student's t by number of pairs."""

Runs = list[dict[str, Any]]


def values(runs: Runs, mark: int = 130) -> list[float]:
    """Return unallocated GPU in % by seed when arrivals reach `mark` % of GPU capacity."""
    return [float(run["unallocated"][str(mark)]) for run in runs]


def mean(runs: Runs, mark: int = 130) -> float:
    """Return the mean over seeds."""
    return fmean(values(runs, mark))


def spread(runs: Runs, mark: int = 130) -> float:
    """Return the standard deviation over seeds."""
    return stdev(values(runs, mark))


def paired(ours: Runs, theirs: Runs) -> dict[str, float]:
    """Return the mean difference by seed and its 95 % interval, in points."""
    apart = [a - b for a, b in zip(values(ours), values(theirs), strict=True)]
    half = STUDENT[len(apart)] * stdev(apart) / sqrt(len(apart))
    middle = fmean(apart)
    return {
        "mean": round(middle, 4),
        "low": round(middle - half, 4),
        "high": round(middle + half, 4),
    }
