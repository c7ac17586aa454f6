"""The main claims of JITServe and HexGen, each against what its paper compares with."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import numpy as np
from msgspec.structs import replace

from benchmarks.serving_simulator.play import Json, plain
from benchmarks.serving_simulator.workloads import workload
from fairstow.serving.cost_model import A10_7B, Profile
from fairstow.serving.model import Kind
from fairstow.serving.policies.protocols import Policy
from fairstow.serving.simulator.arrivals import Arrival
from fairstow.serving.simulator.run import Result, Setup, Simulation


def measure(_data: Path, seeds: int, quick: bool) -> Json:
    """Measure all."""
    count = 1_000 if quick else 3_000
    found = {
        "jitserve": _jitserve(seeds, count),
        "hexgen": _hexgen(seeds, count),
    }
    for name, figures in found.items():
        print(f"{name}: {figures}")
    return {"claims": found}


def _play(policy: Policy, arrivals: list[Arrival], profiles: tuple[Profile, ...]) -> Result:
    return Simulation(arrivals, Setup(policy=policy, profiles=profiles)).run()


def _jitserve(seeds: int, count: int) -> Json:
    """Requests in time, of classes with tight and wide deadlines, on four instances in excess.

    Published: 1.4–6.3 times the goodput.
    """
    rows: Json = {}
    for seed in range(seeds):
        arrivals = _with_deadlines(workload("BurstGPT", 2.6, seed=seed, count=count), seed)
        for name in ("jitserve", "virtual-usage", "least-loaded"):
            result = _play(plain(name), arrivals, (A10_7B,) * 4)
            rows.setdefault(name, []).append({"in_time": _in_time(result)})
    return _means(rows)


def _with_deadlines(arrivals: list[Arrival], seed: int) -> list[Arrival]:
    """Give requests 1.5 to 12 times what they take alone."""
    factors = np.random.default_rng(seed).choice((1.5, 2.5, 5.0, 12.0), size=len(arrivals))
    return [
        replace(a, kind=Kind.DEADLINE, deadline=float(f) * (2.0 + 0.05 * a.output))
        for a, f in zip(arrivals, factors, strict=True)
    ]


def _in_time(result: Result) -> float:
    return fmean(s.finished <= s.view.deadline for s in result.served)


def _hexgen(seeds: int, count: int) -> Json:
    """Two fast and four slow instances; the factor on deadlines at which 95 % are in time.

    Published: 1.41–1.67 times tighter deadlines than with round-robin and first come first served.
    """
    fast = A10_7B.named("a10x2", faster=2.0)
    rows: Json = {}
    for seed in range(seeds):
        arrivals = [
            replace(a, kind=Kind.DEADLINE, deadline=2.0 + 0.1 * a.output)
            for a in workload("BurstGPT", 2.9, seed=seed, count=count)
        ]
        for name in ("hexgen", "round-robin", "least-loaded"):
            served = _play(plain(name), arrivals, (A10_7B,) * 4 + (fast,) * 2).served
            factors = [(s.finished - s.arrival.at) / s.arrival.deadline for s in served]
            rows.setdefault(name, []).append({"p95_factor": float(np.percentile(factors, 95))})
    return _means(rows)


def _means(rows: Json) -> Json:
    """Return mean, least and largest over seeds."""
    return {
        name: {key: [f([run[key] for run in runs]) for f in (fmean, min, max)] for key in runs[0]}
        for name, runs in rows.items()
    }
