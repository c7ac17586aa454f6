"""Priorities, de-fragmentation, what scaling costs, and real traces."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from benchmarks.serving_simulator.play import Json, play, ratio
from benchmarks.serving_simulator.workloads import workload
from fairstow.serving.cost_model import A10_7B
from fairstow.serving.engine import Engine
from fairstow.serving.simulator.arrivals import LENGTHS_SEED, Arrival, drawn, split, urgent
from fairstow.serving.simulator.traces import read, scaled

HEADROOM = {-1: A10_7B.capacity - 1_600}
"""A request of high priority decodes fast beside 1,600 tokens (Llumnix §6.4)."""


def priorities(_data: Path, seeds: int, quick: bool) -> Json:
    """A tenth of S-S is urgent, in bursts of CV 4 (Llumnix fig. 13): with priorities over without.

    Published: urgent requests 1.2–1.5 times faster, the others 4.5 % slower at most.
    """
    rows = []
    for rate in (12.0, 24.0):
        for policy in ("llumnix", "virtual-usage"):
            aware: list[Json] = []
            blind: list[Json] = []
            for seed in range(seeds):
                count = 3_000 if quick else 10_000
                plain = drawn("S-S", count, rate, seed=seed, cv=4.0, lengths_seed=LENGTHS_SEED)
                marked = urgent(plain, 0.1, seed=seed)
                aware.append(play(policy, marked, headroom=HEADROOM)["byPriority"])
                blind.append(_as_marked(policy, marked))
            ratios = {
                f"{who} {metric}": ratio([r[p] for r in blind], [r[p] for r in aware], metric)
                for who, p in (("urgent", "-1"), ("others", "0"))
                for metric in ("request_mean_s", "request_p99_s", "prefill_mean_s", "decode_mean_s")
            }
            rows.append({"policy": f"{policy} {rate:g}/s"} | ratios)
            print(rows[-1])
    return {"rows": rows}


def _as_marked(policy: str, marked: list[Arrival]) -> Json:
    """Play without priorities, and tell the urgent apart afterwards."""
    from msgspec.structs import replace

    from benchmarks.serving_simulator.play import flattened
    from fairstow.serving.policies import POLICIES, Settings
    from fairstow.serving.simulator.outcome import figures
    from fairstow.serving.simulator.run import Setup, Simulation

    setup = Setup(policy=POLICIES[policy](Settings()), profiles=(A10_7B,) * 16)
    served = Simulation([replace(a, priority=0) for a in marked], setup).run().served
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
    from fairstow.serving.policies import POLICIES, Settings
    from fairstow.serving.simulator.run import Setup, Simulation

    shares: dict[str, list[float]] = {}
    for policy in ("load-aware", "llumnix", "virtual-usage"):
        for seed in range(seeds):
            arrivals = workload("M-M", 7.5, seed=seed, count=3_000 if quick else 10_000)
            setup = Setup(policy=POLICIES[policy](Settings()), profiles=(A10_7B,) * 16)
            glances = Simulation(arrivals, setup, glance=1.0).run().glances
            waste = [g.fragmented for g in glances]
            shares.setdefault(policy, []).append(fmean(waste))
    print({policy: fmean(found) for policy, found in shares.items()})
    return {"fragmented": shares}


def scaling(_data: Path, seeds: int, quick: bool) -> Json:
    """L-L, instances as many as the policy asks for: instance seconds and P99 (Llumnix fig. 14–15).

    Published: 36 % fewer instances at the P99 prefill latency of INFaaS++.
    """
    rows = []
    for rate in (1.5, 2.0, 2.5):
        runs: dict[str, list[Json]] = {}
        for seed in range(seeds):
            arrivals = workload("L-L", rate, seed=seed, count=2_000 if quick else 5_000)
            for policy in ("load-aware", "llumnix", "virtual-usage"):
                profiles = (A10_7B,) * 8
                found = play(policy, arrivals, profiles=profiles, scaling=True)
                runs.setdefault(policy, []).append(found)
        rows.append({"rate": rate, "runs": runs})
        for policy, played in runs.items():
            means = {
                name: round(fmean(run[name] for run in played), 3)
                for name in ("instanceSeconds", "prefill_p99_s", "request_p99_s")
            }
            print(f"scaling at {rate}/s, {policy}: {means}")
    return {"rows": rows}


def traces(data: Path, _seeds: int, quick: bool) -> Json:
    """Play the Azure code trace and Mooncake's conversations as they came; one run each."""
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
            rows[-1] |= play(policy, arrivals)
            print({k: rows[-1][k] for k in ("trace", "policy", "request_mean_s", "prefill_p99_s")})
    return {"rows": rows}
