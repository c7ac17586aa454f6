"""Downtime of a moved request against its length, on several engines and by every way to move it.

    [FAIRSTOW_DATA=FOLDER] python -m benchmarks.downtime [--quick] [--engines NAME …]
        [--lengths TOKENS …] [--rounds N] [--page]

For each engine, each way and each length, in each round: one stream through the gateway, moved by a
drain, as its client hears it (`turns`). Exits with 1 where a bound of benchmarks/bounds.yaml is
missed. `--page` writes what was measured into docs/benchmarks/downtime.md; engines that weren't
measured stay there as they are. vLLM takes minutes to start, the first time also to install.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import uvloop

from benchmarks.closing import verdict
from benchmarks.downtime import report
from benchmarks.downtime.engines import ENGINES
from benchmarks.downtime.turns import BEFORE, Turn, measure
from benchmarks.provenance import provenance

LENGTHS = (256, 512, 1024, 2048, 4096, 8192)
QUICK = (256, 2048, 8192)
QUICKLY = ("a10-7b", "h100-7b")
FOLDERS = ("fairstow/gateway", "fairstow/serving", "benchmarks/downtime")


def main() -> int:
    """Measure, print, write."""
    asked = _arguments()
    lengths = asked.lengths or (QUICK if asked.quick else LENGTHS)
    engines = asked.engines or (QUICKLY if asked.quick else list(ENGINES))
    rounds = 1 if asked.quick else asked.rounds
    found: report.Json = {}
    for name in engines:
        turns: list[Turn] = []
        with tempfile.TemporaryDirectory() as folder, ENGINES[name](Path(folder)) as pair:

            def told(turn: Turn, turns: list[Turn] = turns) -> None:
                turns.append(turn)
                print(turn, flush=True)

            for way in pair.ways:
                uvloop.run(measure(pair, way, lengths, rounds, told))
        about = provenance("aiohttp", "uvloop", folders=FOLDERS)
        found[name] = report.summary(turns) | {"provenance": about, "rounds": rounds}
        print(f"{name}:\n{report.table(name, found[name])}", flush=True)
    if asked.page:
        report.write(found)
    return verdict(report.missed(found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.downtime", description=__doc__)
    add = parser.add_argument
    add("--engines", nargs="+", choices=ENGINES, help="default: all; with --quick the cost model")
    add("--lengths", nargs="+", type=int, help="in tokens; default: 256 to 8,192")
    add("--rounds", type=int, default=3)
    add("--quick", action="store_true", help="one round of three lengths")
    add("--page", action="store_true", help="write results and page")
    asked = parser.parse_args()
    if any(length <= BEFORE or length > LENGTHS[-1] for length in asked.lengths or ()):
        parser.error(f"--lengths: a stream moves at {BEFORE + 1} to {LENGTHS[-1]} tokens")
    return asked


if __name__ == "__main__":
    sys.exit(main())
