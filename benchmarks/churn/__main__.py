"""A day of openb-shaped churn on 120 nodes, under three arms.

    FAIRSTOW_DATA=FOLDER python -m benchmarks.churn [--seeds 10] [--quick] [--page]

- `stock`: the default scheduler's scores;
- `score`: and the extender's fragmentation score;
- `auto`: and a PackingPolicy in mode Auto that may move at most 3 % of the pods that run that day.

Every seed draws one day (`day`), which all arms play (`simulate`): what is compared is by seed.
Printed are GPUs allocated, and hours that pods waited, by size; differences with their 95 %
intervals. Exits with 1 where a bound of benchmarks/bounds.yaml is missed. `--quick` plays three
seeds of six hours (two minutes), too few for intervals: their means are judged; `--page`
writes benchmarks/results/churn.json and the tables of docs/benchmarks/churn.md. One process per
core.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console
from rich.markdown import Markdown

from benchmarks.churn import report
from benchmarks.churn.arms import play
from benchmarks.churn.day import NODES, read
from benchmarks.closing import verdict
from benchmarks.fragmentation.trace import HINT, folder
from benchmarks.provenance import provenance

if TYPE_CHECKING:
    from collections.abc import Sequence

BOUNDS = Path(__file__).resolve().parents[1] / "bounds.yaml"
LOAD = 0.9
FIRST_SEED = 11
"""Seed 1 is the one that load and effort were chosen on."""
Json = dict[str, Any]


def play_all(path: Path, seeds: Sequence[int], hours: float, load: float) -> list[Json]:
    """Play all arms of all seeds, side by side."""
    console = Console(stderr=True)
    found = []
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        runs = [
            pool.submit(play, path, arm, seed, hours, load)
            for seed in seeds
            for arm in reversed(report.ARMS)
        ]
        for run in as_completed(runs):
            found.append(run.result())
            last = found[-1]
            said = f"{last['allocated']:.2f} % allocated, {sum(last['podHours'].values()):.0f} h"
            console.print(f"seed {last['seed']} {last['arm']:5} {said} waited", style="dim")
    return sorted(found, key=lambda run: (run["seed"], report.ARMS.index(run["arm"])))


def judge(record: Json, *, means: bool = False) -> list[str]:
    """Return what misses a bound, a sentence each; with `means`, instead of their intervals."""
    bounds: Json = yaml.safe_load(BOUNDS.read_text())["churn"]
    measured = report.summary(record["runs"])
    found = {
        "moved": measured["moved"]["most"],
        "allocated_low": measured["differences"]["auto-stock"]["allocated"][
            "mean" if means else "low"
        ],
        "waited_high": measured["differences"]["auto-stock"]["podHours"][
            "mean" if means else "high"
        ],
    }
    return [
        f"{name}: {found[name]}, {word.replace('_', ' ')} {bound}"
        for name, limits in bounds.items()
        for word, bound in limits.items()
        if (found[name] > bound if word == "at_most" else found[name] < bound)
    ]


def main() -> int:
    """Run, print, write; 0 if all bounds hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10, choices=(3, 10))
    parser.add_argument("--hours", type=float, default=24.0, help="measured, of simulated time")
    parser.add_argument("--load", type=float, default=LOAD, help="GPUs asked for ÷ GPUs")
    parser.add_argument("--quick", action="store_true", help="three seeds of six hours")
    parser.add_argument("--page", action="store_true", help="write the record and the page")
    asked = parser.parse_args()
    path = folder()
    if path is None:
        sys.stderr.write(f"No openb trace here: {HINT}.\n")
        return 2
    seeds = range(FIRST_SEED, FIRST_SEED + (3 if asked.quick else asked.seeds))
    hours = 6.0 if asked.quick else asked.hours
    folders = ("fairstow", "scheduler_plugins", "benchmarks/churn")
    record: Json = {
        "provenance": provenance("ortools", "numpy", folders=folders),
        "nodes": NODES,
        "gpus": read(path).gpus,
        "hours": hours,
        "load": asked.load,
        "runs": play_all(path, seeds, hours, asked.load),
    }
    Console(width=120).print(Markdown(report.tables(record)))
    if asked.page:
        report.write(record)
    return verdict(judge(record, means=asked.quick))


if __name__ == "__main__":
    sys.exit(main())
