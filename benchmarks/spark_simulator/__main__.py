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
from typing import Any

import yaml

from benchmarks.closing import rewrite, verdict
from benchmarks.provenance import ROOT, provenance
from benchmarks.spark_simulator.cost import decisions, turns
from benchmarks.spark_simulator.play import disturbed, liars, scenario
from benchmarks.spark_simulator.report import ratios, tables

Json = dict[str, Any]
FOLDERS = ("fairstow/spark", "benchmarks/spark_simulator")
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
        for split in (False, True):
            results[name + ("-P" if split else "")] = scenario(data, name, seeds, split=split)
    if trace:
        results["hetero-P"] = scenario(data, "hetero", seeds, split=True)
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
        "turn_ms": max(each["median_ms"] for each in results["turns"]),
    }
    if "hetero-P" in results:
        runs = results["hetero-P"]
        measured["macro_dvr"] = _worst(runs, "dvr")
        measured["ratio_off"] = max(
            abs(ours / theirs - 1)
            for name, (ours, theirs) in ratios(runs).items()
            if name[0] != "f"
        )
        measured["against_cfq"] = max(
            ours["meanResponse_s"] / cfq["meanResponse_s"]
            for ours, cfq in zip(runs["uwfq"], runs["cfq"], strict=True)
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
    """Of 1,000 jobs of all scenarios with tasks of 0.5 s, how many UWFQ ends too late."""
    runs = [each for name in results if name.endswith("-P") for each in results[name]["uwfq"]]
    return float(1000 * sum(each["late"] for each in runs) / sum(each["jobs"] for each in runs))


if __name__ == "__main__":
    sys.exit(main())
