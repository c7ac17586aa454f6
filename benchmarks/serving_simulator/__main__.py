"""Serving policies in the simulator, beside Llumnix's published figures.

    FAIRSTOW_DATA=FOLDER python -m benchmarks.serving_simulator [--seeds 5] [-o RESULT]

Each part is played with the same seeds for every policy and compared seed by seed. Exits with 1
where a bound of benchmarks/bounds.yaml is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

from benchmarks.provenance import provenance
from benchmarks.serving_simulator import claims, fig11, parts, past_future
from benchmarks.serving_simulator.play import Json

BOUNDS = Path(__file__).resolve().parents[1] / "bounds.yaml"
FOLDERS = ("fairstow/serving", "benchmarks/serving_simulator")
PARTS: dict[str, Callable[[Path, int, bool], Json]] = {
    "fig11": fig11.measure,
    "fig11-highest": fig11.highest,
    "priorities": parts.priorities,
    "defragmentation": parts.defragmentation,
    "scaling": parts.scaling,
    "traces": parts.traces,
    "past-future": past_future.measure,
    "claims": claims.measure,
}


def main() -> int:
    """Measure, print, write."""
    asked = _arguments()
    data = os.environ.get("FAIRSTOW_DATA")
    if not data:
        print("FAIRSTOW_DATA names no folder with the traces; nothing is measured.")
        return 0
    results: Json = {}
    if asked.output and Path(asked.output).exists():
        results = json.loads(Path(asked.output).read_text(encoding="utf-8"))
    for name in asked.parts:
        found = PARTS[name](Path(data), asked.seeds, asked.quick)
        about = provenance("numpy", folders=FOLDERS)
        results[name] = {"provenance": about, "seeds": asked.seeds} | found
        if asked.output:
            text = json.dumps(results, indent=1) + "\n"
            Path(asked.output).write_text(text, encoding="utf-8")
    missed = _missed(results) if "fig11" in asked.parts else []
    for line in missed:
        print(line)
    return 1 if missed else 0


def _missed(results: Json) -> list[str]:
    bounds = yaml.safe_load(BOUNDS.read_text(encoding="utf-8"))["serving_simulator"]
    measured = results["fig11"]
    return [
        f"{name}: {measured[name]}, at least {bound['at_least']} are wanted"
        for name, bound in bounds.items()
        if measured[name] < bound["at_least"]
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one rate, a third of the requests")
    parser.add_argument("-o", "--output", help="a JSON file; parts not measured stay as they are")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
