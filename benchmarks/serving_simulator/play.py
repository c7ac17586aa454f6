"""Playing workloads: one run's figures, and the ratio of two policies' figures seed by seed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from fairstow.serving.cost_model import A10_7B, Profile
from fairstow.serving.policies import POLICIES, Settings
from fairstow.serving.simulator.arrivals import Arrival
from fairstow.serving.simulator.outcome import outcome
from fairstow.serving.simulator.run import Setup, Simulation

Json = dict[str, Any]


def play(
    policy: str,
    workload: Sequence[Arrival],
    *,
    profiles: Sequence[Profile] = (A10_7B,) * 16,
    headroom: Mapping[int, int] | None = None,
    scaling: bool = False,
) -> Json:
    """Return a run's figures, flat, and how fast it was simulated."""
    begun = time.process_time()
    setup = Setup(
        policy=POLICIES[policy](Settings(headroom=headroom or {})),
        profiles=profiles,
        scaling=scaling,
    )
    found = outcome(Simulation(workload, setup).run())
    spent = time.process_time() - begun
    flat = flattened(found)
    if headroom:
        flat["byPriority"] = {p: flattened(figures) for p, figures in found["byPriority"].items()}
    for name in ("migrations", "preemptions", "instanceSeconds", "requests"):
        flat[name] = found[name]
    flat["requests_per_s"] = round(len(workload) / spent)
    return flat


def flattened(figures: Json) -> Json:
    """Return figures under the names of the published points."""
    flat = {
        f"{part}_{key}": figures[part][key]
        for part in ("request", "prefill", "decode", "downtime")
        for key in ("mean_s", "p50_s", "p99_s")
    }
    flat["preemption_loss_s"] = figures["preemptionLoss_s"]
    return flat


def ratio(ours: Sequence[Json], theirs: Sequence[Json], metric: str) -> tuple[float, float, float]:
    """Return mean, least and largest of ours over theirs, seed by seed."""
    found = [(a[metric] + 1e-4) / (b[metric] + 1e-4) for a, b in zip(ours, theirs, strict=True)]
    return fmean(found), min(found), max(found)
