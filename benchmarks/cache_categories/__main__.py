"""One policy for all against one for each category, and from which hit rate a look-up pays.

    python -m benchmarks.cache_categories [--seeds 10] [-o RESULT]

A model of traffic after published figures (`workload`), no text: thresholds and lifetimes alone,
without guard and verifier, as in the paper. By category thresholds of code and conversation are the
published ones, the others ours; compared with 0.85 and an hour for all, and with the one threshold
and lifetime that give most right answers from
memory while no more are wrong or stale than by category. Break-even is `economics.break_even` with
the paper's times: 30 ms for a search in an external store, 2 ms in memory; and with ours.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.cache_categories.workload import DAY, KINDS, Request, requests
from benchmarks.closing import save
from benchmarks.paired import STUDENT, paired
from fairstow.semantic_cache.economics import Times, break_even

COUNT = 20_000
HOUR = 3_600.0
BY_CATEGORY = {
    "code": (0.89, 3 * DAY),
    "documentation": (0.86, DAY),
    "conversation": (0.77, DAY),
    "finance": (0.90, 120.0),
    "legal": (0.92, DAY),
    "medical": (0.95, DAY),
}
EXTERNAL, IN_MEMORY, FETCH = 0.030, 0.002, 0.005
EMBED = 0.010
"""Seconds, of MiniLM on a CPU (docs/benchmarks/cache-lookup.md)."""

Policy = Callable[[Request], tuple[float, float]]


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10, choices=sorted(STUDENT))
    parser.add_argument("-o", "--output", type=Path, help="write the result as JSON")
    options = parser.parse_args()
    seeds = [requests(COUNT, seed) for seed in range(options.seeds)]
    tuned = requests(COUNT, 1_000)
    at, lasts = _best_uniform(tuned)
    best = f"uniform, the best: {at:.2f}, {lasts / 60:.0f} min"
    policies: dict[str, Policy] = {
        "uniform: 0.85, 60 min": lambda _: (0.85, HOUR),
        best: lambda _: (at, lasts),
        "by category": _by_category,
    }
    rows = {name: [_figures(each, how) for each in seeds] for name, how in policies.items()}
    found: dict[str, Any] = {
        "policies": {
            name: {key: statistics.mean(row[key] for row in each) for key in each[0]}
            for name, each in rows.items()
        },
        "break_even": _break_even(),
    }
    arms = [[row["right"] for row in rows[name]] for name in ("by category", best)]
    found["right_over_best_uniform"] = paired(*arms, digits=4)
    _print(found)
    if options.output:
        folders = ("fairstow/semantic_cache", "benchmarks/cache_categories")
        save(options.output, found, folders=folders)
    return 0


def _outcome(asked: Sequence[Request], policy: Policy) -> list[str]:
    found = []
    for request in asked:
        at, lasts = policy(request)
        # The nearest is served, whichever it is.
        if request.age > lasts or max(request.near, request.trap) < at:
            found.append("miss")
        elif request.trap > request.near:
            found.append("wrong")
        else:
            found.append("stale" if request.stale else "right")
    return found


def _by_category(request: Request) -> tuple[float, float]:
    return BY_CATEGORY[request.kind.name]


def _harm(outcome: Sequence[str]) -> int:
    return outcome.count("wrong") + outcome.count("stale")


def _best_uniform(asked: Sequence[Request]) -> tuple[float, float]:
    """Return the threshold and lifetime for all that do no more harm than those by category."""
    most = _harm(_outcome(asked, _by_category))
    tried = {
        (at / 100, lasts): _outcome(asked, lambda _, how=(at / 100, lasts): how)  # type: ignore[misc]
        for at in range(70, 100)
        for lasts in (120.0, 600.0, HOUR, DAY)
    }
    allowed = [how for how, outcome in tried.items() if _harm(outcome) <= most]
    return max(allowed, key=lambda how: tried[how].count("right"))


def _figures(asked: Sequence[Request], policy: Policy) -> dict[str, float]:
    outcome = _outcome(asked, policy)
    waited = sum(
        EMBED + IN_MEMORY + (request.kind.upstream if what == "miss" else FETCH)
        for request, what in zip(asked, outcome, strict=True)
    )
    found = {what: outcome.count(what) / len(asked) for what in ("right", "wrong", "stale")}
    found["mean"] = waited / len(asked)
    for kind in KINDS:
        own = [
            what
            for request, what in zip(asked, outcome, strict=True)
            if request.kind is kind and what != "miss"
        ]
        found[f"hit rate, {kind.name}"] = len(own) / (len(asked) * kind.share)
    return found


def _break_even() -> list[dict[str, float]]:
    return [
        {
            "upstream": upstream,
            "external": break_even(Times(0.0, EXTERNAL, 0.0, upstream)),
            "in_memory": break_even(Times(0.0, IN_MEMORY, FETCH, upstream)),
            "in_memory_and_embedding": break_even(Times(EMBED, IN_MEMORY, FETCH, upstream)),
        }
        for upstream in (0.15, 0.2, 0.5, 2.0)
    ]


def _print(found: dict[str, Any]) -> None:
    print("| | right | wrong | stale | mean latency |\n|---|---:|---:|---:|---:|")
    for name, row in found["policies"].items():
        shares = " | ".join(f"{row[key]:.1%}" for key in ("right", "wrong", "stale"))
        print(f"| {name} | {shares} | {row['mean'] * 1e3:.0f} ms |")
    apart = found["right_over_best_uniform"]
    low, high = apart["low"] * 100, apart["high"] * 100
    print(f"\nRight, by category less the best uniform: {low:+.1f} … {high:+.1f} points\n")
    print("| hit rate of | " + " | ".join(found["policies"]) + " |")
    print("|---|" + "---:|" * len(found["policies"]))
    for kind in KINDS:
        row = [f"{each[f'hit rate, {kind.name}']:.1%}" for each in found["policies"].values()]
        print(f"| {kind.name} | " + " | ".join(row) + " |")
    print("\n| model's time | external store | in memory | and embedding |\n|---:|---:|---:|---:|")
    for row in found["break_even"]:
        known = (row["external"], row["in_memory"], row["in_memory_and_embedding"])
        print(f"| {row['upstream']:.2f} s | " + " | ".join(f"{at:.1%}" for at in known) + " |")


if __name__ == "__main__":
    sys.exit(main())
