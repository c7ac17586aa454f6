"""Small users' response times in real Spark: FIFO, FAIR, pools by user, Fairstow's plugin, twin.

    python -m benchmarks.spark_live [--rounds 3] [--bursts 4] [--quick] [--arms NAME …] [--page]

Each arm is a stock Spark application of `local[2]` that plays the same jobs (`workload`), all arms
in each round; then, in one application, tiny jobs in turns with and without the plugin.
Exits with 1 where a bound of benchmarks/bounds.yaml is missed. `--page` writes results and page.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.closing import verdict
from benchmarks.provenance import provenance
from benchmarks.spark_live import report, workload
from e2e.engines.environments import SPARKS
from e2e.spark import application
from fairstow.spark import attach

FOLDERS = ("fairstow/spark", "benchmarks/spark_live", "e2e/spark/programs")
ALLOCATION = """<?xml version="1.0"?>
<allocations>
  <pool name="default"><schedulingMode>FAIR</schedulingMode></pool>
</allocations>
"""
ARMS = ("fifo", "fair", "pools, small last", "pools, small first", "plugin", "twin")


def main() -> int:
    """Measure, print, write."""
    asked = _arguments()
    found: report.Json = {"arms": {}}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(asked.rounds):
            for arm in asked.arms:
                place = Path(folder) / f"{number}-{arm.replace(' ', '-')}"
                place.mkdir()
                ran = _played(arm, place, number, asked.bursts)
                found["arms"].setdefault(arm, []).append(_responses(ran["jobs"]))
                print(f"round {number + 1}, {arm}: {found['arms'][arm][-1]}", flush=True)
        if asked.overhead:
            place = Path(folder) / "overhead"
            place.mkdir()
            conf = application.with_plugin()
            found["overhead"] = application.run(
                "overhead", place, conf=conf, jobs=asked.overhead, waiting=100
            )
            del found["overhead"]["log"]
    found["bursts"] = asked.bursts
    found["provenance"] = provenance(folders=FOLDERS) | {"spark": SPARKS["4"]}
    print(report.tables(found))
    if asked.page:
        report.write(found)
    return verdict(report.missed(found))


def _played(arm: str, folder: Path, seed: int, bursts: int) -> dict[str, Any]:
    pools = arm.startswith("pools")
    small = workload.SMALL["first" if arm.endswith("first") else "last"]
    conf = {"spark.scheduler.mode": "FAIR" if pools or arm == "fair" else "FIFO"}
    more: dict[str, Any] = {}
    if arm == "fair":
        rules = folder / "allocation.xml"
        rules.write_text(ALLOCATION)
        conf["spark.scheduler.allocation.file"] = rules.as_uri()
    elif arm == "plugin":
        conf |= application.with_plugin()
    elif arm == "twin":
        more["twin"] = attach.__file__
    jobs = workload.jobs(seed, bursts, small, pools=pools)
    warm = workload.warm(small, pools=pools)
    return application.run("micro", folder, conf=conf, jobs=jobs, warm=warm, **more)


def _responses(jobs: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Return the mean response, in seconds, of small users, of power users, and the last end."""
    took: dict[str, list[float]] = {"small": [], "power": []}
    last = 0.0
    for job in jobs:
        kind = "small" if "small" in job["user"] else "power"
        took[kind].append(job["ended"] - job["came"])
        last = max(last, job["ended"])
    return {kind: round(fmean(each), 3) for kind, each in took.items()} | {"end": round(last, 1)}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spark_live", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=3)
    add("--bursts", type=int, default=4)
    add("--overhead", type=int, default=1000, help="tiny jobs with and without; 0: none")
    add("--arms", nargs="+", choices=ARMS, default=ARMS)
    add("--quick", action="store_true", help="one round of two bursts, four arms")
    add("--page", action="store_true", help="write results and page")
    asked = parser.parse_args()
    if asked.quick:
        asked.rounds, asked.bursts, asked.overhead = 1, 2, 300
        asked.arms = ("fifo", "fair", "pools, small last", "plugin")
    return asked


if __name__ == "__main__":
    sys.exit(main())
