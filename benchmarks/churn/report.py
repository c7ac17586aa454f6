"""The page of `benchmarks.churn`: what the runs come to, as tables."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.closing import rewrite
from benchmarks.paired import paired

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "churn.json"
PAGE = ROOT / "docs" / "benchmarks" / "churn.md"
MARKS = "<!-- churn: begin -->\n", "<!-- churn: end -->\n"

ARMS = ("stock", "score", "auto")
TITLES = {
    "stock": "stock",
    "score": "with fragmentation score",
    "auto": "with score and Auto",
}
PAIRS = (("score", "stock"), ("auto", "score"), ("auto", "stock"))
_FIGURES = {
    "allocated": "GPUs allocated, points",
    "podHours": "pod-hours waited",
    "gpuHours": "GPU-hours waited for",
}

Json = dict[str, Any]


def waited(run: Json) -> float:
    """Return the hours that pods of all sizes waited in a run."""
    return float(sum(run["podHours"].values()))


def figure(run: Json, name: str) -> float:
    """Return a run's figure by name."""
    return waited(run) if name == "podHours" else float(run[name])


def summary(runs: list[Json]) -> Json:
    """Return means by arm, and the paired differences between arms."""
    by_arm = {arm: [run for run in runs if run["arm"] == arm] for arm in ARMS}
    moved = [100 * run["moves"] / run["pods"] for run in by_arm["auto"]]
    return {
        "means": {
            arm: {name: _spread([figure(run, name) for run in of_arm]) for name in _FIGURES}
            for arm, of_arm in by_arm.items()
        },
        "moved": {"mean": round(fmean(moved), 2), "most": round(max(moved), 2)},
        "differences": {
            f"{one}-{other}": {
                name: paired(
                    [figure(run, name) for run in by_arm[one]],
                    [figure(run, name) for run in by_arm[other]],
                    digits=2,
                )
                for name in _FIGURES
            }
            for one, other in PAIRS
        },
    }


def _spread(values: list[float]) -> Json:
    return {"mean": round(fmean(values), 2), "stdev": round(stdev(values), 2)}


def tables(record: Json) -> str:
    """Return the record as Markdown."""
    about, runs = record["provenance"], record["runs"]
    found = summary(runs)
    seeds = sorted({run["seed"] for run in runs})
    head = (
        f"{about['date']}, commit {about['commit']}, Python {about['python']}, ortools "
        f"{about['ortools']}; {record['nodes']} nodes, {record['gpus']} GPUs, load "
        f"{record['load']}, {record['hours']:g} h, seeds {seeds[0]}–{seeds[-1]}."
    )
    return "\n".join([head, "", _means(found, runs), _differences(found), _auto(found, runs)])


def _means(found: Json, runs: list[Json]) -> str:
    sizes = sorted({int(size) for run in runs for size in run["podHours"]})
    heads = ["arm", "GPUs allocated %", "GPU-hours waited for", "pod-hours waited"]
    heads += [f"of {size} GPUs" for size in sizes]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for arm in ARMS:
        means, of_arm = found["means"][arm], [run for run in runs if run["arm"] == arm]
        cells = [TITLES[arm]]
        for name, form in (("allocated", "{:.2f}"), ("gpuHours", "{:.0f}"), ("podHours", "{:.0f}")):
            mean, deviation = means[name]["mean"], means[name]["stdev"]
            cells.append(f"{form.format(mean)} ± {form.format(deviation)}")
        cells += [
            f"{fmean(run['podHours'].get(str(size), 0.0) for run in of_arm):.1f}" for size in sizes
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _differences(found: Json) -> str:
    heads = ["the same seeds, mean (95 % interval)", *_FIGURES.values()]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for one, other in PAIRS:
        cells = [f"{TITLES[one]} less {TITLES[other]}"]
        cells += [
            f"{each['mean']:+.2f} ({each['low']:+.2f} … {each['high']:+.2f})"
            for each in found["differences"][f"{one}-{other}"].values()
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _auto(found: Json, runs: list[Json]) -> str:
    autos = [run for run in runs if run["arm"] == "auto"]
    outcomes: dict[str, int] = {}
    for run in autos:
        for reason, count in run["runs"].items():
            outcomes[reason] = outcomes.get(reason, 0) + count
    ranked = sorted(outcomes.items(), key=lambda each: -each[1])
    said = ", ".join(f"{reason} {count / len(autos):.0f}" for reason, count in ranked)
    return (
        f"Auto moved {found['moved']['mean']:.2f} % of the pods that ran (the most of any seed: "
        f"{found['moved']['most']:.2f} %), {fmean(run['moves'] for run in autos):.0f} moves in "
        f"{fmean(run['plans'] for run in autos):.0f} plans. Its runs, the warm-up's included, by "
        f"what came of them: {said}.\n"
    )


def write(record: Json) -> None:
    """Write the record and the page's tables."""
    RESULTS.write_text(json.dumps(record | {"summary": summary(record["runs"])}, indent=1) + "\n")
    rewrite(PAGE, MARKS, tables(record))
