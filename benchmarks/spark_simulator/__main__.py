"""Spark policies in the simulator, beside the published figures of UWFQ.

    FAIRSTOW_DATA=FOLDER python -m benchmarks.spark_simulator [--quick] [-o RESULT] [--page]

Each seed is played under every policy. `--quick` plays three seeds instead of ten. Without
FAIRSTOW_DATA the slice of Google's trace is left out. Exits with 1 where a bound of
benchmarks/bounds.yaml is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from benchmarks.closing import rewrite, verdict
from benchmarks.provenance import ROOT, provenance
from benchmarks.spark_simulator.cost import decisions, turns
from benchmarks.spark_simulator.play import (
    CUTS,
    disturbed,
    heavier,
    informed,
    liars,
    scenario,
)
from benchmarks.spark_simulator.report import by_seed, ratios, strained, tables

Json = dict[str, Any]
FOLDERS = ("fairstow/spark", "benchmarks/spark_simulator")
LOADS = (1.0, 1.4, 1.7, 2.0)
"""Times the slice's work, which is 60 % of the cores."""
PAGE = ROOT / "docs" / "benchmarks" / "spark.md"
MARKS = ("<!-- tables -->", "<!-- end of tables -->")


def main() -> int:
    """Measure, print, write; 0 if the bounds hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="three seeds instead of ten")
    parser.add_argument("-o", "--output", type=Path, help="write the result as JSON")
    parser.add_argument("--page", action="store_true", help="write the page's tables")
    asked = parser.parse_args()
    data = os.environ.get("FAIRSTOW_DATA")
    if not data:
        print("FAIRSTOW_DATA names no folder with the trace; the slice is left out.")
    results = _measure(Path(data or "."), 3 if asked.quick else 10, trace=bool(data))
    if asked.output:
        about = provenance(folders=FOLDERS)
        asked.output.write_text(json.dumps({"provenance": about} | results, indent=1) + "\n")
    if data:
        print(tables(results))
    if data and asked.page:
        rewrite(PAGE, MARKS, tables(results))
    return verdict(_missed(results))


def _measure(data: Path, seeds: int, *, trace: bool) -> Json:
    results: Json = {"seeds": seeds}
    for name in ("power", "large"):
        for cut in ("", "-P"):
            results[name + cut] = scenario(data, name, seeds, CUTS[cut])
    if trace:
        for cut in ("-P", "-C"):
            results["hetero" + cut] = scenario(data, "hetero", seeds, CUTS[cut])
        results["informed"] = informed(data, "hetero", seeds)
        results["heavier"] = heavier(data, "hetero", LOADS)
        results["disturbed"] = disturbed(data, "hetero", seeds)
        results["liars, hetero"] = liars(data, "hetero", seeds)
    results["liars, power"] = liars(data, "power", seeds)
    results["decisions"] = [decisions(10_000, users) for users in (1, 30, 1_000)]
    results["turns"] = [turns(queued, 30) for queued in (100, 1_000, 10_000)]
    return results


def _missed(results: Json) -> list[str]:
    measured: dict[str, float] = {
        "micro_dvr": _worst(results["power-P"], "dvr"),
        "late_permille": _late(results),
        "decision_ms": max(each["median_ms"] for each in results["decisions"]),
        "admission_ms": max(each["median_ms"] for each in results["turns"]),
        "turn_ms": max(each["told_ms"] for each in results["turns"]),
    }
    if "hetero-P" in results:
        runs, cut = results["hetero-P"], results["hetero-C"]
        measured["macro_dvr"] = max(_worst(runs, "dvr"), _worst(cut, "dvr"))
        measured["ratio_off"] = max(
            abs(ours / theirs - 1)
            for name, (ours, theirs) in ratios(runs).items()
            if name[0] != "f"
        )
        measured["against_cfq"] = fmean(by_seed(cut["uwfq"], runs["cfq"]))
        measured["against_cfq_cut_alike"] = max(
            *by_seed(runs["uwfq"], runs["cfq"]), *by_seed(cut["uwfq"], cut["cfq"])
        )
        measured["heavier_off"] = max(
            abs(ours / theirs - 1) for ours, theirs in strained(results["heavier"]).values()
        )
    bounds = yaml.safe_load((ROOT / "benchmarks" / "bounds.yaml").read_text())["spark_simulator"]
    return [
        f"{name}: {value:.3f}, at most {bounds[name]['at_most']} is wanted"
        for name, value in measured.items()
        if value > bounds[name]["at_most"]
    ]


def _worst(runs: Json, key: str) -> float:
    return max(float(found[key]) for found in runs["uwfq"])


def _late(results: Json) -> float:
    """Of 1,000 jobs of all scenarios with tasks of at most 0.5 s, how many UWFQ ends too late."""
    cut = [name for name in results if name.endswith(("-P", "-C"))]
    runs = [each for name in cut for each in results[name]["uwfq"]]
    return float(1000 * sum(each["late"] for each in runs) / sum(each["jobs"] for each in runs))


if __name__ == "__main__":
    sys.exit(main())
