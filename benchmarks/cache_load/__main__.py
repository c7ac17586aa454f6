"""What load adaptation takes off an overloaded model: a closed loop with it and without.

    python -m benchmarks.cache_load [--seeds 10] [--quora 700] [-o RESULT]

Question pairs of fow and Quora (whose second half nothing was tuned on) under a cache with one
category: threshold 0.9, 2 minutes. With adaptation load lowers the threshold by up to 0.1 and lets
answers live up to four times as long. The same users, seeds and pairs with and without; intervals
are of the paired differences, 95 %. `FAIRSTOW_DATA` names the folder with the pairs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.cache_load.site import SERVICE, SLOTS, THINK, Loop, Pair, Seen
from benchmarks.cache_safety.pairs import fow, qqp, similarities
from benchmarks.closing import save
from benchmarks.paired import STUDENT, paired
from fairstow.cache_sidecar.embedding import Embedder
from fairstow.semantic_cache.equivalence import compare
from fairstow.semantic_cache.thresholds import Adaptation

OFFERED = (0.5, 1.0, 1.5, 2.5)
"""Requests of users who never wait, over what the model can do without a cache."""
ADAPTED = Adaptation(relax=0.1, ttl_factor=4.0)
SECONDS, WARM = 1_500.0, 300.0


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10, choices=sorted(STUDENT))
    parser.add_argument("--quora", type=int, default=700, help="pairs of Quora's second half")
    parser.add_argument("-o", "--output", type=Path, help="write the result as JSON")
    options = parser.parse_args()
    pairs = _pairs(options.quora)
    found = {f"{offered:g}": _measured(pairs, offered, options.seeds) for offered in OFFERED}
    _print(found)
    if options.output:
        folders = ("fairstow/semantic_cache", "benchmarks/cache_load")
        save(options.output, found, folders=folders)
    return 0


def _pairs(quora: int) -> list[Pair]:
    said = [*fow(), *qqp(10_000, 10_000 + quora)]
    cosines = similarities(said, Embedder(threads=2))
    return [
        Pair(float(near), each.same_answer, compare(each.a, each.b, float(near)).same)
        for each, near in zip(said, cosines, strict=True)
    ]


def _measured(pairs: Sequence[Pair], offered: float, seeds: int) -> dict[str, Any]:
    users = round(offered * SLOTS / SERVICE * (THINK + SERVICE))
    rows: dict[str, list[dict[str, float]]] = {"without": [], "with": []}
    for seed in range(seeds):
        for name, how in (("without", Adaptation()), ("with", ADAPTED)):
            rows[name].append(_figures(Loop(pairs, users, how, seed).run(SECONDS, WARM)))
    found: dict[str, Any] = {
        name: {key: statistics.mean(row[key] for row in each) for key in each[0]}
        for name, each in rows.items()
    }
    for key in ("taken_off", "mean", "wrong"):
        arms = [[row[key] for row in rows[name]] for name in ("with", "without")]
        found[f"{key}_difference"] = paired(*arms, digits=4)
    return found


def _figures(seen: Seen) -> dict[str, float]:
    served = sorted(seen.latencies)
    return {
        "taken_off": (seen.exact + seen.semantic) / seen.requests,
        "semantic": seen.semantic / seen.requests,
        "wrong": seen.wrong / max(1, seen.semantic),
        "mean": statistics.fmean(served),
        "p95": served[len(served) * 95 // 100],
        "answered": len(served) / (SECONDS - WARM),
    }


def _print(found: dict[str, Any]) -> None:
    print("| offered | | from the cache | semantic | wrong of those | mean | p95 | answers/s |")
    print("|---:|---|---:|---:|---:|---:|---:|---:|")
    for offered, rows in found.items():
        for name in ("without", "with"):
            row = rows[name]
            print(
                f"| {offered} | {name} | {row['taken_off']:.1%} | {row['semantic']:.1%} | "
                f"{row['wrong']:.1%} | {row['mean']:.2f} s | {row['p95']:.2f} s | "
                f"{row['answered']:.1f} |"
            )
        apart = rows["taken_off_difference"]
        low, high = apart["low"] * 100, apart["high"] * 100
        print(f"| | difference | {low:+.1f} … {high:+.1f} points | | | | | |")


if __name__ == "__main__":
    sys.exit(main())
