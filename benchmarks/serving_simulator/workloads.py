"""The workloads of Llumnix (OSDI'24) fig. 11, and the points it published.

S, M, L as in its artifact (`arrivals.lengths`). Of ShareGPT and BurstGPT it publishes mean and
percentiles of the lengths (table 1), from which they are drawn here, so these two rows resemble the
data sets and are not them: between two percentiles x^λ is linear in the share, with the λ at which
the mean is the published one. The published latencies bear these means of outputs out: at the
lowest rates, where little waits, (request − prefill) ÷ time per token is 497–499 tokens for
ShareGPT and 273–274 for BurstGPT, as it is within 7 % of the known mean in the other five rows.
"""

from __future__ import annotations

import csv
import math
from functools import cache
from pathlib import Path

import numpy as np

from fairstow.serving.simulator.arrivals import LENGTHS_SEED, Arrival, drawn, times

QUANTILES = (0.0, 0.5, 0.8, 0.95, 0.99, 1.0)
PERCENTILES = {
    "ShareGPT": ((4, 74, 348, 1484, 3388, 4096), (1, 487, 781, 988, 1234, 2048)),
    "BurstGPT": ((4, 582, 1427, 2345, 3549, 4096), (1, 243, 434, 669, 964, 2048)),
}
MEANS = {"ShareGPT": (306, 500), "BurstGPT": (830, 271)}
"""Prompt and output."""

ROWS = ("ShareGPT", "BurstGPT", "S-S", "M-M", "L-L", "S-L", "L-S")
METRICS = (
    "request_mean_s",
    "request_p99_s",
    "prefill_mean_s",
    "prefill_p99_s",
    "decode_mean_s",
    "decode_p99_s",
    "preemption_loss_s",
)

Points = dict[tuple[str, str, str, float], float]
"""(row, metric, system, rate) to the published figure."""


def workload(row: str, rate: float, *, seed: int, count: int) -> list[Arrival]:
    """Draw one: lengths are always the same, arrivals are the seed's."""
    if row not in PERCENTILES:
        return drawn(row, count, rate, seed=seed, lengths_seed=LENGTHS_SEED)
    generator = np.random.default_rng(LENGTHS_SEED)
    prompts, outputs = (
        _from(points, mean, generator.random(count))
        for points, mean in zip(PERCENTILES[row], MEANS[row], strict=True)
    )
    return [
        Arrival(at=at, prompt=prompt, output=output)
        for at, prompt, output in zip(times(count, rate, seed=seed), prompts, outputs, strict=True)
    ]


def _from(points: tuple[int, ...], mean: int, shares: np.ndarray) -> list[int]:
    return [math.ceil(n) for n in _between(points, _power(points, mean), shares)]


@cache
def _power(points: tuple[int, ...], mean: int) -> float:
    """Return λ by bisection; a larger one has a larger mean."""
    evenly = (np.arange(10_000) + 0.5) / 10_000
    low, high = -1.0, 3.0
    for _ in range(40):
        middle = (low + high) / 2
        if _between(points, middle, evenly).mean() < mean:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _between(points: tuple[int, ...], power: float, shares: np.ndarray) -> np.ndarray:
    if abs(power) < 1e-6:  # the limit
        return np.asarray(np.exp(np.interp(shares, QUANTILES, np.log(points))))
    powers = np.asarray(points, float) ** power
    return np.asarray(np.interp(shares, QUANTILES, powers) ** (1 / power))


@cache
def published(folder: Path) -> Points:
    """Read the points."""
    with (folder / "llm" / "llumnix_fig11_points.csv").open(encoding="utf-8") as lines:
        return {
            (r["row"], r["metric"], r["system"], float(r["x"])): float(r["y"])
            for r in csv.DictReader(lines)
        }


def rates(points: Points, row: str) -> list[float]:
    """Return the rates that were published for a row."""
    return sorted({rate for name, _, _, rate in points if name == row})
