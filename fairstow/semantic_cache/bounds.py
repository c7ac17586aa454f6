"""Exact bounds on a share that was counted.

Clopper and Pearson (1934): of n independent trials k were hits. The upper bound at confidence 1 − α
is the p at which so few hits have probability α,  P[Bin(n, p) ≤ k] = α; the lower one by symmetry.
For k = 0 it is 1 − α^(1/n), about 3/n at 95 %: no claim of 2 % from fewer than 149 trials.
Called by `calibration`, `error_budget` and benchmarks.
"""

from __future__ import annotations

import math

_STEPS = 60
_NEGLIGIBLE = 1e-18


def upper(hits: int, trials: int, confidence: float) -> float:
    """Return the largest share that is consistent with so few hits; 1 without a trial."""
    if hits >= trials:
        return 1.0
    low, high = hits / trials, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _at_most(hits, trials, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def lower(hits: int, trials: int, confidence: float) -> float:
    """Return the smallest share that is consistent with so many hits; 0 without a trial."""
    return 1 - upper(trials - hits, trials, confidence)


def _at_most(hits: int, trials: int, share: float) -> float:
    """Return P[Bin(trials, share) ≤ hits] for a share between 0 and 1."""
    log, other = math.log(share), math.log1p(-share) if share < 1 else -math.inf
    if other == -math.inf:
        return 0.0
    found, term = (
        0.0,
        math.exp(
            math.lgamma(trials + 1)
            - math.lgamma(hits + 1)
            - math.lgamma(trials - hits + 1)
            + hits * log
            + (trials - hits) * other
        ),
    )
    odds = (1 - share) / share
    for k in range(hits, -1, -1):  # from the largest term down, while any adds something
        found += term
        if term <= found * _NEGLIGIBLE:
            break
        term *= k / (trials - k + 1) * odds
    return found
