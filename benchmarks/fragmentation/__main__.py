"""FGD's protocol on openb: six published policies, Fairstow's, and Fairstow's with few moves.

    FAIRSTOW_DATA=FOLDER python -m benchmarks.fragmentation [--quick] [-o FILE]

Prints unallocated GPU in % when arrivals reach 130 % of GPU capacity, as mean of seeds 42–51, next
to the published figure, and exits with 1 if a bound in `benchmarks/bounds.yaml` is passed.
`--quick` plays three seeds of the default workload (a minute); the full run takes about half an
hour on one core. `python -m benchmarks.fragmentation.report FILE` writes the page in docs/.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from benchmarks.fragmentation.floor import floor
from benchmarks.fragmentation.measure import Measure
from benchmarks.fragmentation.moves import Mover
from benchmarks.fragmentation.policies import (
    Gradient,
    Policy,
    Rehearsed,
    Unrehearsed,
    baselines,
)
from benchmarks.fragmentation.rehearse import rehearse
from benchmarks.fragmentation.simulate import Cluster, Outcome, simulate
from benchmarks.fragmentation.statistics import mean, values
from benchmarks.fragmentation.trace import HINT, WORKLOADS, Workload, arrivals, folder, load
from benchmarks.fragmentation.trace import published as read_published
from benchmarks.paired import paired
from benchmarks.provenance import provenance

BOUNDS = Path(__file__).resolve().parents[1] / "bounds.yaml"
SEEDS = range(42, 52)
OURS = "07-Fairstow"
UNREHEARSED, EXACT = "08-Fairstow, no rehearsal", "09-FGD, exact scores"
FGD, BEST_FIT = "06-FGD", "05-BestFit"
LIMITS = {FGD: (0.0025, 0.005, 0.01, 0.02, 0.03), OURS: (0.0025, 0.005, 0.03)}
"""Moves per placed pod, by the policy that places."""

Json = dict[str, Any]


def play(workload: Workload, seed: int, policy: Policy) -> Json:
    """Play one seed without moves."""
    came = arrivals(workload, seed)
    return _as_json(seed, simulate(workload, came, Cluster(workload, came.nodes, policy)))


def play_with_moves(
    workload: Workload, seed: int, policy: Policy, judge: Rehearsed, limit: float
) -> Json:
    """Play one seed; pods that fit nowhere get room by moves, as long as the limit lets them."""
    came = arrivals(workload, seed)
    cluster = Cluster(workload, came.nodes, policy)
    mover = Mover(cluster, judge, limit, len(came.classes))
    outcome = simulate(workload, came, cluster, mover.rescue, mover.placed)
    return _as_json(seed, outcome) | {"moved": round(100 * outcome.moves / outcome.pods, 3)}


def _as_json(seed: int, outcome: Outcome) -> Json:
    return {
        "seed": seed,
        "unallocated": {str(m): round(u, 4) for m, u in outcome.unallocated.items()},
        "placed": {kind: list(pair) for kind, pair in outcome.placed.items()},
    }


def run(workload: Workload, seeds: range, *, quick: bool, console: Console) -> Json:
    """Play all policies of one workload."""
    measure = Measure.of(workload)
    judge = rehearse(workload)
    found: Json = {"floor": round(floor(workload), 3), "policies": {}, "moves": []}
    others: dict[str, Policy] = {
        OURS: judge,
        UNREHEARSED: Unrehearsed(measure),
        EXACT: Gradient(measure, exact=True),
    }
    for name in (*baselines(0, measure), *others):
        runs = [
            play(workload, seed, others.get(name) or baselines(seed, measure)[name])
            for seed in seeds
        ]
        found["policies"][name] = runs
        console.print(f"{workload.name:12} {name:26} {mean(runs):7.3f}", style="dim")
    ours, theirs = (values(found["policies"][name]) for name in (OURS, FGD))
    found["against_fgd"] = paired(ours, theirs, digits=4)
    if workload.name != "default":
        return found
    for name, limits in LIMITS.items():
        placer: Policy = judge if name == OURS else baselines(0, measure)[name]
        for limit in limits[-1:] if quick else limits:
            runs = [play_with_moves(workload, s, placer, judge, limit) for s in seeds]
            found["moves"].append({"policy": name, "limit": limit, "runs": runs})
            console.print(f"{workload.name:12} {name} ≤ {limit:.2%}: {mean(runs):.3f}", style="dim")
    return found


def judge_bounds(results: Json, published: dict[tuple[str, str], dict[str, float]]) -> list[Json]:
    """Return each bound with what was measured, over all workloads the worst."""
    bounds = yaml.safe_load(BOUNDS.read_text())["fragmentation"]
    worst = dict.fromkeys(bounds, -1e9)
    for name, found in results["workloads"].items():
        for policy, key in ((FGD, "fgd_off_published"), (BEST_FIT, "best_fit_off_published")):
            told = 100 - published[name, policy[:2]]["allocated_gpu_pct_at_130"]
            off = abs(mean(found["policies"][policy]) - told)
            worst[key] = max(worst[key], off)
        worst["against_fgd_high"] = max(worst["against_fgd_high"], found["against_fgd"]["high"])
        if name == "default":
            worst["default_unallocated"] = mean(found["policies"][OURS])
            for curve in found["moves"]:
                if curve["policy"] == OURS:
                    worst["default_with_moves"] = mean(curve["runs"])
                    worst["default_moved"] = max(r["moved"] for r in curve["runs"])
    return [
        {"bound": key, "measured": round(worst[key], 3), "at_most": bounds[key]["at_most"]}
        for key in bounds
    ]


def main() -> int:
    """Run, print, write; 0 if all bounds hold."""
    parser = argparse.ArgumentParser(description="FGD's protocol on the openb trace.")
    parser.add_argument("--quick", action="store_true", help="three seeds of the default workload")
    parser.add_argument("-o", "--output", type=Path, help="write all results as JSON")
    options = parser.parse_args()
    console = Console(stderr=True)
    path = folder()
    if path is None:
        console.print(f"No openb trace here: {HINT}.")
        return 2
    started = time.monotonic()
    seeds = SEEDS[:3] if options.quick else SEEDS
    about = provenance("numpy", folders=("benchmarks/fragmentation", "fairstow"))
    results: Json = {"provenance": about, "seeds": list(seeds), "workloads": {}}
    for name in WORKLOADS[:1] if options.quick else WORKLOADS:
        workload = load(path, name)
        results["workloads"][name] = run(workload, seeds, quick=options.quick, console=console)
    results["seconds"] = round(time.monotonic() - started)
    published = read_published(path)
    for name, found in results["workloads"].items():
        found["published"] = {
            policy: round(100 - published[name, policy[:2]]["allocated_gpu_pct_at_130"], 2)
            for policy in found["policies"]
            if (name, policy[:2]) in published
        }
    results["bounds"] = judge_bounds(results, published)
    if options.output:
        options.output.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    from benchmarks.fragmentation.report import tables

    sys.stdout.write(tables(results))
    missed = [b for b in results["bounds"] if b["measured"] > b["at_most"]]
    for bound in missed:
        console.print(f"{bound['bound']}: {bound['measured']}, at most {bound['at_most']}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
