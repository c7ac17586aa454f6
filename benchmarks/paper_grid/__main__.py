"""Runs the grid: `python -m benchmarks.paper_grid [--window 1] [--seeds 20] [--nodes 4 8 …]`.

Prints, per cell group (nodes × pods per node), the share of instances by the paper's categories,
beside the published ones. All cells of one call run with the same window, one after the other, in
one warm worker; each decision is timed from request to answer.

    no call          the default scheduler placed everything
    default optimal  proved that its placement can't be bettered
    better           strictly better, optimality not proved
    better, optimal  strictly better and proved optimal on every level
    failure          neither better nor proved
"""

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.paper_grid.instances import Cell, Instance, as_objects, instance
from fairstow.cluster.items import item
from fairstow.cluster.project import build
from fairstow.packing.model import Order, Request, RuleSet
from fairstow.packing.planner import Solver, find
from fairstow.packing.worker import Worker

CATEGORIES = ("failure", "default optimal", "better", "better, optimal")
PUBLISHED = {
    (4, 4, 1): (3.6, 30.9, 11.2, 47.8),
    (8, 8, 1): (4.9, 6.5, 45.4, 28.1),
    (16, 8, 1): (48.9, 3.8, 30.2, 5.0),
    (32, 4, 1): (99.9, 0.1, 0.0, 0.0),
    (32, 8, 1): (100.0, 0.0, 0.0, 0.0),
    (4, 4, 10): (2.2, 32.2, 4.0, 55.1),
    (8, 8, 10): (2.3, 6.0, 38.5, 37.5),
    (16, 8, 10): (2.6, 5.3, 53.9, 25.8),
    (32, 4, 10): (11.1, 0.3, 74.3, 14.2),
    (32, 8, 10): (46.0, 0.1, 50.6, 3.3),
}
"""Per cent of instances by (nodes, pods per node, window in s), in the order of CATEGORIES."""


def categorise(case: Instance, solve: Solver, window: float) -> tuple[str, float]:
    """Return the category of an instance and the seconds its decision took."""
    if not case.pending:
        return "no call", 0.0
    snapshot = build(
        item("grid", i, msgspec.Raw(msgspec.json.encode(o))) for i, o in enumerate(as_objects(case))
    )
    request = Request(
        snapshot, rules=RuleSet.PAPER, order=Order.TIER_BY_TIER, window=window, seed=case.seed
    )
    started = time.perf_counter()
    solution = find(request, solve, time.monotonic, os.cpu_count() or 1)
    seconds = time.perf_counter() - started
    if solution.gained:
        return ("better, optimal" if solution.proved else "better"), seconds
    return ("default optimal" if solution.proved else "failure"), seconds


def main() -> int:
    """Run the grid as asked."""
    asked = _arguments()
    cells = [
        Cell(*c) for c in itertools.product(asked.nodes, asked.pods, asked.priorities, asked.usage)
    ]
    seeds = range(asked.seeds)
    found: dict[Cell, Counter[str]] = {c: Counter() for c in cells}
    seconds: dict[Cell, list[float]] = {c: [] for c in cells}
    with Worker() as worker:
        console = Console(stderr=True)
        runs = list(itertools.product(cells, seeds))
        for cell, seed in track(runs, "grid", console=console, disable=not console.is_terminal):
            category, took = categorise(instance(cell, seed), worker, asked.window)
            found[cell][category] += 1
            seconds[cell] += [took] if took else []
    _print(found, seconds, asked.window)
    if asked.output:
        asked.output.write_text(json.dumps(_record(found, seconds, asked), indent=1) + "\n")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--window", type=float, default=1.0, help="seconds per decision")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--nodes", type=int, nargs="+", default=[4, 8, 16, 32, 64])
    parser.add_argument("--pods", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--priorities", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--usage", type=int, nargs="+", default=[90, 95, 100, 105])
    parser.add_argument("-o", "--output", type=Path, help="write the results as JSON")
    return parser.parse_args()


def _print(
    found: dict[Cell, Counter[str]], seconds: dict[Cell, list[float]], window: float
) -> None:
    table = Table("nodes×pods", "called", *CATEGORIES, "improved or proved", "p95 s", "published")
    for nodes, pods in dict.fromkeys((c.nodes, c.pods_per_node) for c in found):
        group = [c for c in found if (c.nodes, c.pods_per_node) == (nodes, pods)]
        total = sum((found[c] for c in group), Counter[str]())
        took = sorted(s for c in group for s in seconds[c])
        called = total.total() - total["no call"]
        shares = [f"{100 * total[k] / total.total():.1f}" for k in CATEGORIES]
        good = f"{100 * (1 - total['failure'] / called):.1f} %" if called else "-"
        p95 = f"{took[int(0.95 * (len(took) - 1))]:.2f}" if took else "-"
        paper = PUBLISHED.get((nodes, pods, int(window)))
        table.add_row(
            *(f"{nodes}×{pods}", str(called), *shares, good, p95),
            " / ".join(map(str, paper)) if paper else "",
        )
    Console(width=130).print(f"window {window:g} s; shares in % of all instances", table)


def _record(
    found: dict[Cell, Counter[str]], seconds: dict[Cell, list[float]], asked: argparse.Namespace
) -> dict[str, object]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "benchmark": "paper_grid",
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit,
        "machine": {"cpus": os.cpu_count(), "arch": platform.machine()},
        "windowSeconds": asked.window,
        "seeds": asked.seeds,
        "cells": [
            {
                "nodes": c.nodes,
                "podsPerNode": c.pods_per_node,
                "priorities": c.priorities,
                "usagePercent": c.usage,
                "categories": dict(sorted(counts.items())),
                "medianSeconds": round(statistics.median(seconds[c]), 3) if seconds[c] else None,
                "maxSeconds": round(max(seconds[c]), 3) if seconds[c] else None,
            }
            for c, counts in found.items()
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
