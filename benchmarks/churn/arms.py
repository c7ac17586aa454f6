"""One arm of one seed, from its arrivals to its figures; played in processes of `__main__`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.churn.cluster import Scheduler
from benchmarks.churn.day import arrivals, read
from benchmarks.churn.packer import Packer, policy
from benchmarks.churn.simulate import HOUR, Day

MOVED = 0.03
EFFORT = 1
"""Of one search, in seconds of a core or so."""
_WARM_UP = 0.25
"""Hours before the measured ones, as a share of those."""

Json = dict[str, Any]


def play(path: Path, arm: str, seed: int, hours: float, load: float) -> Json:
    """Play one arm of one seed and return what was measured."""
    trace = read(path)
    since = hours * _WARM_UP * HOUR
    until = since + hours * HOUR
    came = arrivals(trace, load, until, seed)
    scheduler = Scheduler.of(trace.hosts, seed, extender=arm != "stock")
    moves = int(MOVED * trace.rate(load) * HOUR)
    packer = Packer(scheduler.live, policy(moves), EFFORT) if arm == "auto" else None
    began = time.process_time()
    tally = Day(scheduler, packer, since).play(came, until)
    return {
        "arm": arm,
        "seed": seed,
        "allocated": round(100 * tally.gpu_hours / (trace.gpus * hours), 3),
        "podHours": {str(g): round(h, 2) for g, h in sorted(tally.pod_hours.items())},
        "gpuHours": round(sum(g * h for g, h in tally.pod_hours.items()), 1),
        "pods": len(tally.ran),
        "moves": tally.moves,
        "plans": tally.plans,
        "runs": dict(packer.outcomes) if packer else {},
        "cpuSeconds": round(time.process_time() - began, 1),
    }
