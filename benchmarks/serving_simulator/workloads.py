"""The workloads of Llumnix (OSDI'24) fig. 11, and the points it published.

S, M, L as in its artifact (`arrivals.lengths`). Of ShareGPT and BurstGPT it publishes mean and
percentiles of the lengths (table 1); here lengths are drawn from these percentiles, log-linear
between them, so these two rows resemble the data sets and are not them.
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
    prompts, outputs = (_from(points, generator.random(count)) for points in PERCENTILES[row])
    return [
        Arrival(at=at, prompt=prompt, output=output)
        for at, prompt, output in zip(times(count, rate, seed=seed), prompts, outputs, strict=True)
    ]


def _from(points: tuple[int, ...], shares: np.ndarray) -> list[int]:
    logs = np.interp(shares, QUANTILES, [math.log(p) for p in points])
    return [math.ceil(n) for n in np.exp(logs)]


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
