"""Means and spreads over seeds."""

from __future__ import annotations

from statistics import fmean, stdev
from typing import Any

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
