"""Playing workloads: one run's figures, and the ratio of two policies' figures seed by seed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace as with_
from statistics import fmean
from typing import Any

from benchmarks.serving_simulator.systems import System
from fairstow.serving.cost_model import A10_7B, Profile
from fairstow.serving.engine import NEVER
from fairstow.serving.policies import POLICIES, Settings
from fairstow.serving.policies.protocols import Policy
from fairstow.serving.simulator.arrivals import Arrival
from fairstow.serving.simulator.outcome import outcome
from fairstow.serving.simulator.run import Result, Setup, Simulation

INSTANCES = (A10_7B,) * 16
"""As published."""

TURN = 0.5
"""Seconds between a policy's turns, where nothing it knows is older."""

Json = dict[str, Any]


def plain(name: str) -> Policy:
    """Return a policy that doesn't migrate, as most papers' systems don't."""
    return with_(POLICIES[name](Settings()), rescheduler=None)


def simulated(
    system: System,
    workload: Sequence[Arrival],
    *,
    profiles: Sequence[Profile] = INSTANCES,
    settings: Settings | None = None,
    scaling: bool = False,
    glance: float = NEVER,
) -> Result:
    """Play a workload."""
    policy = POLICIES[system.policy](settings or Settings())
    if system.dispatcher is not None:
        policy = with_(policy, dispatcher=system.dispatcher)
    setup = Setup(
        policy=policy,
        profiles=profiles,
        scaling=scaling,
        reports=system.reports,
        interval=system.reports or TURN,
    )
    return Simulation(workload, setup, glance=glance).run()


def play(
    system: System,
    workload: Sequence[Arrival],
    *,
    profiles: Sequence[Profile] = INSTANCES,
    settings: Settings | None = None,
    scaling: bool = False,
) -> Json:
    """Return a run's figures, flat, and how fast it was simulated."""
    begun = time.process_time()
    result = simulated(system, workload, profiles=profiles, settings=settings, scaling=scaling)
    found = outcome(result)
    spent = time.process_time() - begun
    flat = flattened(found)
    if len(found["byPriority"]) > 1:
        flat["byPriority"] = {p: flattened(figures) for p, figures in found["byPriority"].items()}
    for name in ("migrations", "preemptions", "instanceSeconds", "requests"):
        flat[name] = found[name]
    flat["end"] = result.end
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
