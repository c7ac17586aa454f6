"""Past-Future's claim (arXiv 2507.10150): goodput under memory pressure, and few evictions.

As the paper has it: one engine whose memory is what is short, as many clients as are said, each
sending its next request when its last has ended; a request counts if its first token came within
10 s and no two of its tokens were more than 1.5 s apart. Published: 2–3 times the goodput of
admission that ignores outputs ("aggressive", vLLM's) or takes each as long as it may get
("conservative"). With n the clients whose requests fill the memory on average,

    n = M · Σ o / Σ (p·o + o²/2)         a request holds p + o/2 tokens on average, for o steps

clients are given as multiples of n. Workloads: ShareGPT by its published percentiles; a stand-in
for the paper's chats with long reasoning, of ShareGPT's prompts and log-normal outputs; and uniform
lengths after the paper's three distributions. The first and last fifth of each run aren't counted.
Prefills of others, less than 0.5 s each here, don't count as gaps; evictions do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from benchmarks.serving_simulator.play import Json, plain
from benchmarks.serving_simulator.workloads import workload
from fairstow.serving.cost_model import H100_7B
from fairstow.serving.model import Dispatch, PoolView, RequestView
from fairstow.serving.policies.baselines import NO_INSTANCE, candidates
from fairstow.serving.policies.protocols import Policy
from fairstow.serving.simulator.arrivals import Arrival
from fairstow.serving.simulator.run import Setup, Simulation

FIRST, GAP = 10.0, 1.5
"""Seconds."""
SHARES = (0.9, 1.0, 1.1, 1.2, 1.4)
UNIFORM = {
    "decode-heavy": ((32, 4_096), (2_048, 4_096)),
    "balanced": ((3_072, 5_120), (3_072, 5_120)),
    "prefill-heavy": ((2_048, 4_096), (32, 4_096)),
}
MOST = {"ShareGPT": 2_048, "long reasoning": 8_192} | {n: o[1] for n, (_, o) in UNIFORM.items()}
"""Tokens that a request may generate."""
REASONING, SPREAD = 2_160, 0.6
"""Mean of outputs with reasoning, and σ of their logarithms."""


class Conservative:
    """Admits what fits if every request generates as much as it may."""

    def __init__(self, most: int) -> None:
        self._most = most

    def dispatch(self, request: RequestView, pool: PoolView) -> Dispatch:
        """Choose the first with room for all."""
        able = candidates(request, pool)
        if not able:
            return NO_INSTANCE
        if not pool.waiting:
            for instance in able:
                asked = sum(r.prompt + self._most for r in (*instance.requests(), request))
                if asked <= instance.capacity:
                    return Dispatch(instance.name, "room for all")
        return Dispatch(None, "no room for all")


def measure(_data: Path, seeds: int, quick: bool) -> Json:
    """Measure all workloads at all numbers of clients."""
    rows = []
    for name, most in MOST.items():
        policies = {
            "past-future": plain("past-future"),
            "aggressive": plain("load-aware"),
            "conservative": Policy(name="conservative", dispatcher=Conservative(most)),
        }
        count = 500 if quick else 2_000 if name == "ShareGPT" else 1_000
        for share in SHARES[1::2] if quick else SHARES:
            runs: Json = {policy: [] for policy in policies}
            clients = round(share * filling(drawn(name, 10_000, seed=0)))
            for seed in range(seeds):
                arrivals = drawn(name, count, seed=seed)
                for policy, found in runs.items():
                    found.append(_play(policies[policy], arrivals, clients))
            rows.append({"workload": name, "share": share, "clients": clients, "runs": runs})
            _print(rows[-1])
    return {"rows": rows}


def drawn(name: str, count: int, *, seed: int) -> list[Arrival]:
    """Draw a workload; when requests come is the clients' matter."""
    generator = np.random.default_rng(seed)
    if name in UNIFORM:
        prompts, outputs = (
            generator.integers(*ends, count, endpoint=True) for ends in UNIFORM[name]
        )
        pairs = zip(prompts, outputs, strict=True)
        return [Arrival(at=0.0, prompt=int(p), output=int(o)) for p, o in pairs]
    chats = generator.permutation(np.array(workload("ShareGPT", 1.0, seed=0, count=10_000)))[:count]
    if name == "ShareGPT":
        return list(chats)
    thoughts = generator.lognormal(np.log(REASONING) - SPREAD**2 / 2, SPREAD, count)
    return [
        Arrival(at=0.0, prompt=chat.prompt, output=min(MOST[name], int(o) + 1))
        for chat, o in zip(chats, thoughts, strict=True)
    ]


def filling(arrivals: Sequence[Arrival]) -> float:
    """Return n."""
    held = sum(a.prompt * a.output + a.output**2 / 2 for a in arrivals)
    return H100_7B.capacity * sum(a.output for a in arrivals) / held


def _play(policy: Policy, arrivals: Sequence[Arrival], clients: int) -> Json:
    """Return tokens/s of all, of those in time, and of those without a gap, and shares."""
    setup = Setup(policy=policy, profiles=(H100_7B,), clients=clients)
    served = sorted(Simulation(arrivals, setup).run().served, key=lambda s: s.finished)
    middle = served[len(served) // 5 : -len(served) // 5]
    seconds = middle[-1].finished - middle[0].finished
    steady = [s for s in middle if s.longest_wait <= GAP]
    timely = [s for s in steady if s.first - s.arrival.at <= FIRST]
    found = {"throughput": middle, "goodput": timely, "without_gaps": steady}
    figures = {key: sum(s.arrival.output for s in those) / seconds for key, those in found.items()}
    first = float(np.percentile([s.first - s.arrival.at for s in middle], 50))
    return figures | {"evicted": fmean(s.preempted > 0 for s in middle), "first_p50_s": first}


def _print(row: Json) -> None:
    figures = {
        policy: {key: round(fmean(run[key] for run in runs), 3) for key in runs[0]}
        for policy, runs in row["runs"].items()
    }
    print(row["workload"], row["share"], figures, flush=True)
