"""One scenario under every policy: figures by seed, and what changes with estimates and loads."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.spark_simulator.reference import references
from benchmarks.spark_simulator.workloads import CORES, SCENARIOS
from fairstow.spark.partitioning import partitioned
from fairstow.spark.policies import POLICIES, Policy
from fairstow.spark.simulator.outcome import judged, responses_under_ujf, summary
from fairstow.spark.simulator.run import Simulation
from fairstow.spark.workload import Work

Json = dict[str, Any]
Change = Callable[[Work, random.Random], Work]
Cut = Callable[[Work], Work]
MOST_LATE = 1.05
CUTS: dict[str, Cut] = {
    "": lambda work: work,
    "-P": partitioned,
    "-C": lambda work: partitioned(work, cores=CORES),
}
"""How jobs are cut into tasks: as they are, as published, and with tasks for all cores."""


def scenario(data: Path, name: str, seeds: int, cut: Cut) -> Json:
    """Return each policy's figures of each seed."""
    found: Json = {policy: [] for policy in POLICIES}
    for seed in range(seeds):
        works = [cut(work) for work in SCENARIOS[name](data, seed)]
        ujf = responses_under_ujf(works, CORES)
        for policy, figures in found.items():
            figures.append(_figures(works, POLICIES[policy](CORES), ujf))
    return found


def informed(data: Path, name: str, seeds: int) -> Json:
    """Return what orders come to that know more than a scheduler can, tasks cut as published."""
    found: Json = {}
    for seed in range(seeds):
        works = [partitioned(work) for work in SCENARIOS[name](data, seed)]
        ujf = responses_under_ujf(works, CORES)
        for kind, policy in references(works, CORES).items():
            found.setdefault(kind, []).append(_figures(works, policy, ujf))
    return found


def heavier(data: Path, name: str, factors: Sequence[float]) -> Json:
    """Return the figures of each policy, where each task takes so many times as long."""
    found: Json = {}
    for factor in factors:
        works = [
            partitioned(replace(work, stages=((factor * work.core_s,),)))
            for work in SCENARIOS[name](data, 0)
        ]
        ujf = responses_under_ujf(works, CORES)
        found[str(factor)] = {
            policy: _figures(works, made(CORES), ujf) for policy, made in POLICIES.items()
        }
    return found


def disturbed(data: Path, name: str, seeds: int) -> Json:
    """Return UWFQ's figures where estimates are wrong or tasks straggle."""
    kinds: dict[str, Change] = {
        "exact": lambda work, _: work,
        "off by 2 (lognormal, σ = ln 2)": lambda work, rng: _declared(
            work, rng.lognormvariate(0, 0.693)
        ),
        "a quarter to four times": lambda work, rng: _declared(work, 4 ** rng.uniform(-1, 1)),
        "all the same": lambda work, _: _declared(work, 50 / work.core_s),
        "5 % of tasks take three times": _straggling,
    }
    found: Json = {kind: [] for kind in kinds}
    for seed in range(seeds):
        rng = random.Random(seed)
        works = [partitioned(work) for work in SCENARIOS[name](data, seed)]
        for kind, change in kinds.items():
            changed = [change(work, rng) for work in works]
            ujf = responses_under_ujf(changed, CORES)
            found[kind].append(_figures(changed, POLICIES["uwfq"](CORES), ujf))
    return found


def liars(data: Path, name: str, seeds: int) -> Json:
    """Return what the user with the most work gains by declaring wrongly, and others lose."""
    found: Json = {str(factor): [] for factor in (1.0, 0.25, 0.01, 0.0, 4.0)}
    for seed in range(seeds):
        works = [partitioned(work) for work in SCENARIOS[name](data, seed)]
        total: dict[str, float] = {}
        for work in works:
            total[work.user] = total.get(work.user, 0.0) + work.core_s
        liar = max(total, key=lambda user: total[user])
        ujf = responses_under_ujf(works, CORES)
        for factor, figures in found.items():
            told = [_declared(w, float(factor)) if w.user == liar else w for w in works]
            result = Simulation(told, CORES, POLICIES["uwfq"](CORES)).run()
            jobs = judged(told, CORES, result, ujf)
            others = [job for job in jobs if job.user != liar]
            figures.append(
                {
                    "liar_s": fmean(job.response for job in jobs if job.user == liar),
                    "others_s": fmean(job.response for job in others),
                    "late": sum(job.lateness > MOST_LATE for job in others),
                    "others": len(others),
                }
            )
    return found


def _declared(work: Work, factor: float) -> Work:
    return replace(work, declared=factor)


def _straggling(work: Work, rng: random.Random) -> Work:
    stages = tuple(
        tuple(task * (3 if rng.random() < 0.05 else 1) for task in stage) for stage in work.stages
    )
    slow = replace(work, stages=stages)
    return replace(slow, declared=work.core_s / slow.core_s)


def _figures(works: Sequence[Work], policy: Policy, ujf: dict[str, float]) -> Json:
    result = Simulation(works, CORES, policy).run()
    jobs = judged(works, CORES, result, ujf)
    responses = sorted(job.response for job in jobs)
    figures = summary(jobs)
    small = [v["meanResponse_s"] for k, v in figures.pop("users").items() if k.startswith("small")]
    return figures | {
        "fastest80_s": fmean(responses[: round(0.8 * len(responses))]),
        "slowest5_s": fmean(responses[round(0.95 * len(responses)) :]),
        "small_s": fmean(small) if small else None,
        "late": sum(job.lateness > MOST_LATE for job in jobs),
    }
