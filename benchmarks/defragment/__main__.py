"""Free blocks against moves, the planner beside a greedy baseline in the same run.

    FAIRSTOW_DATA=FOLDER python -m benchmarks.defragment [--cluster openb-120 …] [-o RESULT]

For each limit N on moves: blocks of 8, 4 and 2 GPUs that are free, and the *fragment rate* for 8,
the share of free GPUs outside free blocks of 8 (the measure of arXiv 2505.17359, there for 16
cores). Every plan is checked by the independent checker.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.defragment import clusters
from benchmarks.defragment.baseline import empty_least_used
from benchmarks.provenance import provenance
from fairstow.cluster.snapshot import Snapshot
from fairstow.packing.checker import check
from fairstow.packing.defragment.planner import state_of
from fairstow.packing.model import Goal, Request
from fairstow.packing.plan import to_plan
from fairstow.packing.planner import decide
from fairstow.packing.worker import Worker

CLUSTERS: dict[str, Callable[[int], list[clusters.Json]]] = {
    "openb-120": clusters.openb_120,
    "openb-1213": clusters.openb_1213,
}
LIMITS = {
    "openb-120": (5, 10, 15, 20, 30, 50, 100),
    "openb-1213": (10, 25, 50, 100, 200, 400),
}
SEEDS = {"openb-120": 3, "openb-1213": 1}
"""Runs per limit; of openb-120 only the planner's seed differs, of openb-1213 the cluster too."""

FOLDERS = ("fairstow/packing", "fairstow/cluster", "benchmarks/defragment")


def measure(name: str, seed: int, limits: tuple[int, ...], window: float) -> list[dict[str, Any]]:
    """Return a row for each limit."""
    objects = CLUSTERS[name](seed)
    cluster = clusters.snapshot(objects)
    state = state_of(Request(cluster))
    rows = []
    with Worker() as worker:
        worker.ready(60)
        for limit in limits:
            begun = time.perf_counter()
            asked = Request(
                cluster, goal=Goal.DEFRAGMENT, max_moves=limit, window=window, seed=seed
            )
            decision = decide(asked, worker, time.monotonic, os.cpu_count() or 1)
            seconds = time.perf_counter() - begun
            plan = to_plan(decision).to_object()
            verdict = check(objects, plan, budgets_known=decision.budgets_known)
            if not verdict.accepted:
                raise SystemExit(f"{name}, {limit} moves: refused: {verdict.violations[:3]}")
            begun = time.perf_counter()
            greedy = empty_least_used(state.problem, clusters.GPU, limit)
            rows.append(
                {
                    "cluster": name,
                    "seed": seed,
                    "limit": limit,
                    "before": {b.size: b.before for b in decision.blocks},
                    "planner": _side(cluster, [b.after for b in decision.blocks], decision.blocks)
                    | {
                        "moves": len(decision.moves),
                        "steps": len(decision.steps),
                        "bounds": {b.size: b.bound for b in decision.blocks},
                        "seconds": round(seconds, 2),
                    },
                    "greedy": _side(cluster, state.blocks.counts(greedy.room), decision.blocks)
                    | {
                        "moves": sum(greedy.left),
                        "seconds": round(time.perf_counter() - begun, 2),
                    },
                }
            )
    return rows


def _side(cluster: Snapshot, totals: Sequence[int], tallies: Any) -> dict[str, Any]:
    free = sum(max(0, cluster.free(n).get(clusters.GPU, 0)) for n in cluster.nodes)
    counts = {b.size: total for b, total in zip(tallies, totals, strict=True)}
    rate = 1 - 8 * counts.get(8, 0) / free if free else 0.0
    return {"blocks": counts, "fragmentRate": round(rate, 4)}


def show(rows: list[dict[str, Any]]) -> Table:
    """Return the rows as a table."""
    table = Table("cluster", "seed", "N", "8: now", "greedy", "planner", "at most",
                  "4: greedy", "planner", "fragments: greedy", "planner", "moves")  # fmt: skip
    for row in rows:
        ours, theirs = row["planner"], row["greedy"]
        cells = (
            row["cluster"], row["seed"], row["limit"], row["before"][8], theirs["blocks"][8],
            ours["blocks"][8], ours["bounds"][8], theirs["blocks"][4], ours["blocks"][4],
            f"{theirs['fragmentRate']:.1%}", f"{ours['fragmentRate']:.1%}", ours["moves"],
        )  # fmt: skip
        table.add_row(*map(str, cells))
    return table


def main() -> int:
    """Run the clusters asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cluster", nargs="+", default=list(CLUSTERS), choices=CLUSTERS)
    parser.add_argument("--limits", type=int, nargs="+", help="on moves")
    parser.add_argument("--window", type=float, default=10.0, help="seconds per plan")
    parser.add_argument("-o", "--output", type=Path, help="write the results as JSON")
    asked = parser.parse_args()
    rows = []
    for name in asked.cluster:
        for seed in range(SEEDS[name]):
            limits = tuple(asked.limits or LIMITS[name])
            rows += measure(name, seed, limits, asked.window)
    Console(width=150).print(show(rows))
    if asked.output:
        about = provenance("ortools", folders=FOLDERS)
        result = {"provenance": about, "window": asked.window, "rows": rows}
        asked.output.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
