"""Priorities, de-fragmentation, what scaling costs, and real traces."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from pathlib import Path
from statistics import fmean

from msgspec.structs import replace

from benchmarks.serving_simulator.play import Json, flattened, play, ratio, simulated
from benchmarks.serving_simulator.systems import SYSTEMS, System
from benchmarks.serving_simulator.workloads import workload
from fairstow.serving.cost_model import A10_7B
from fairstow.serving.engine import Engine
from fairstow.serving.policies import Settings
from fairstow.serving.simulator.arrivals import LENGTHS_SEED, Arrival, drawn, split, urgent
from fairstow.serving.simulator.outcome import figures
from fairstow.serving.simulator.traces import read, scaled

HEADROOM = {-1: A10_7B.capacity - 1_600}
"""A request of high priority decodes fast beside 1,600 tokens (Llumnix §6.4)."""
MIGRATING = ("llumnix", "virtual-usage")
COMPARED = ("load-aware", *MIGRATING)
SCALED = ("INFaaS++", *COMPARED)
THRESHOLDS = (5, 25, 45, 65, 85, 125, 165)
WIDTH = 50
"""Free blocks for each request; a block is 16 decode steps. Published up to 85."""
FEWEST, MOST = 8, 16
"""Instances at the beginning and at most."""
TARGETS = (5.0, 10.0, 20.0)


def priorities(_data: Path, seeds: int, quick: bool) -> Json:
    """A tenth of S-S is urgent, in bursts (Llumnix fig. 13): with priorities over without.

    Published: urgent requests 1.2–1.5 times faster, the more the burstier; the others at most 4.5 %
    slower. Its rate isn't published.
    """
    rows = []
    for rate, cv in ((12.0, 2.0), (12.0, 4.0), (12.0, 6.0), (12.0, 8.0), (24.0, 4.0)):
        for name in MIGRATING:
            aware: list[Json] = []
            blind: list[Json] = []
            for seed in range(seeds):
                count = 3_000 if quick else 10_000
                plain = drawn("S-S", count, rate, seed=seed, cv=cv, lengths_seed=LENGTHS_SEED)
                marked = urgent(plain, 0.1, seed=seed)
                settings = Settings(headroom=HEADROOM)
                aware.append(play(SYSTEMS[name], marked, settings=settings)["byPriority"])
                blind.append(_as_marked(SYSTEMS[name], marked))
            ratios = {
                f"{who} {metric}": ratio([r[p] for r in blind], [r[p] for r in aware], metric)
                for who, p in (("urgent", "-1"), ("others", "0"))
                for metric in ("request_mean_s", "request_p99_s", "prefill_mean_s", "decode_mean_s")
            }
            rows.append({"policy": f"{name} {rate:g}/s CV {cv:g}"} | ratios)
            print(rows[-1], flush=True)
    return {"rows": rows}


def _as_marked(system: System, marked: list[Arrival]) -> Json:
    """Play without priorities, and tell the urgent apart afterwards."""
    served = simulated(system, [replace(a, priority=0) for a in marked]).served
    return {
        str(p): flattened(
            figures([s for s, a in zip(served, marked, strict=True) if a.priority == p])
        )
        for p in (-1, 0)
    }


def defragmentation(_data: Path, seeds: int, quick: bool) -> Json:
    """M-M at 7.5/s: memory that is free and that nobody who waits can use (Llumnix fig. 12).

    Published: Llumnix fragments 92 % less memory than INFaaS++.
    """
    shares: dict[str, list[float]] = {}
    for name in COMPARED:
        for seed in range(seeds):
            arrivals = workload("M-M", 7.5, seed=seed, count=3_000 if quick else 10_000)
            glances = simulated(SYSTEMS[name], arrivals, glance=1.0).glances
            shares.setdefault(name, []).append(fmean(g.fragmented for g in glances))
    print({name: fmean(found) for name, found in shares.items()}, flush=True)
    return {"fragmented": shares}


def scaling(_data: Path, seeds: int, quick: bool) -> Json:
    """L-L at 2/s in bursts (CV 2), instances as many as the policy asks for (Llumnix fig. 15).

    As its published program has it: eight instances at the beginning, freeness kept within
    [t, t + 50] blocks a request, for several t: a curve of instances over P99 prefill. Published:
    36 % fewer instances at the same P99.
    """
    rows = []
    for threshold in THRESHOLDS[::2] if quick else THRESHOLDS:
        low, high = (A10_7B.block * t for t in (threshold, threshold + WIDTH))
        settings = Settings(out_below=low, in_above=high, most=MOST)
        runs: dict[str, list[Json]] = {name: [] for name in SCALED}
        for seed in range(min(seeds, 1) if quick else seeds):
            count = 2_000 if quick else 4_000
            arrivals = drawn("L-L", count, 2.0, seed=seed, cv=2.0, lengths_seed=LENGTHS_SEED)
            for name, found in runs.items():
                played = play(
                    SYSTEMS[name],
                    arrivals,
                    profiles=(A10_7B,) * FEWEST,
                    settings=settings,
                    scaling=True,
                )
                found.append(played | {"instances": played["instanceSeconds"] / played["end"]})
        rows.append({"threshold": threshold, "runs": runs})
        for name, found in runs.items():
            means = {
                key: fmean(run[key] for run in found) for key in ("instances", "prefill_p99_s")
            }
            print(f"scaling at {threshold} blocks, {name}: {means}", flush=True)
    return {"rows": rows, "equal": {f"{t:g}": _at_equal(rows, t) for t in TARGETS}}


def _at_equal(rows: Sequence[Json], target: float) -> dict[str, list[float] | None]:
    """Return instances at a P99 prefill, for each system (mean, least, largest of the seeds)."""
    found: dict[str, list[float] | None] = {}
    for name in SCALED:
        seeds = range(len(rows[0]["runs"][name]))
        curves = [[row["runs"][name][seed] for row in rows] for seed in seeds]
        needed = [n for curve in curves if (n := _needed(curve, target)) is not None]
        whole = len(needed) == len(curves)
        found[name] = [f(needed) for f in (fmean, min, max)] if whole else None
    return found


def _needed(curve: Sequence[Json], target: float) -> float | None:
    """Return the fewest instances that meet a P99, between points log-linear; None if none do."""
    points: list[tuple[float, float]] = sorted(
        (run["instances"], run["prefill_p99_s"]) for run in curve
    )
    before: tuple[float, float] | None = None
    for count, p99 in points:
        if p99 <= target:
            if before is None:
                return count
            less, worse = before
            share = log(worse / target) / log(worse / p99)
            return float(exp(log(less) + share * (log(count) - log(less))))
        before = count, p99
    return None


def traces(data: Path, _seeds: int, quick: bool) -> Json:
    """Play the Azure code trace and Mooncake's conversations as they came; one run each.

    All policies know what they have sent.
    """
    fit = Engine(A10_7B).longest
    rows = []
    for name, file, rate in (
        ("Azure code", "AzureLLMInferenceTrace_code.csv", 5.5),
        ("Mooncake conversation", "conversation_trace.jsonl", 0.9),
    ):
        with (data / "llm" / file).open(encoding="utf-8") as lines:
            arrivals, left_out = split(read(lines, file), fit)
        arrivals = scaled(arrivals[: 2_000 if quick else 8_000], rate)
        for policy in ("round-robin", "load-aware", "llumnix", "virtual-usage", "prefix-aware"):
            rows.append({"trace": name, "rate": rate, "policy": policy, "leftOut": left_out})
            rows[-1] |= play(System(policy), arrivals)
            print({k: rows[-1][k] for k in ("trace", "policy", "request_mean_s", "prefill_p99_s")})
    return {"rows": rows}
