"""Runs the grid; an interrupted run goes on where it stopped.

    python -m benchmarks.paper_grid [--seeds 3] [--window 1] [--nodes …] [--priorities 4]
    python -m benchmarks.paper_grid --full [--part 10s-8x8] [--estimate]
    python -m benchmarks.paper_grid.report

The first prints a table of some cells and checks the bounds. The second runs the full grid, or one
part of it, in about seven hours: results go to benchmarks/work/ as they come; --estimate measures
one instance of each cell and says how long the rest takes. The third writes what is committed.

    failure          neither better nor proved
    default optimal  proved that the default placement can't be bettered
    better           strictly better, optimality not proved
    better, optimal  strictly better and proved optimal on every level

All instances of one call run one after the other in one warm worker; each decision is timed from
request to answer.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from benchmarks.paper_grid import report
from benchmarks.paper_grid.outcome import Outcome
from benchmarks.paper_grid.run import (
    NODES,
    PODS,
    PRIORITIES,
    SEEDS,
    USAGE,
    Part,
    cells,
    full,
    missing,
    run,
)
from benchmarks.paper_grid.work import MixedError, WorkFile
from benchmarks.provenance import provenance

FOLDERS = ("fairstow", "benchmarks/paper_grid")


def main() -> int:
    """Run what is asked; 1 if a bound is missed."""
    asked = _arguments()
    console = Console(stderr=True)
    try:
        return _full(asked, console) if asked.full else _some(asked, console)
    except MixedError as error:
        console.print(str(error))
        return 2
    except KeyboardInterrupt:
        console.print("Stopped; the same command goes on from here." if asked.full else "Stopped.")
        return 130


def _some(asked: argparse.Namespace, console: Console) -> int:
    chosen = cells(asked.nodes, asked.pods, asked.priorities, asked.usage)
    part = Part(f"{asked.window:g} s", asked.window, chosen, asked.seeds)
    with tempfile.TemporaryDirectory() as folder:
        work = WorkFile(Path(folder) / "work.jsonl", _about())
        return _show(run(part, work, console), console)


def _full(asked: argparse.Namespace, console: Console) -> int:
    parts = {part.name: part for part in full()}
    if asked.part and asked.part not in parts:
        console.print(f"No part is called {asked.part}; there are {', '.join(parts)}.")
        return 2
    outcomes: list[Outcome] = []
    for part in [parts[asked.part]] if asked.part else parts.values():
        work = WorkFile(report.WORK / f"paper_grid-{part.name}.jsonl", _about())
        if asked.estimate:
            _estimate(part, work, console)
        else:
            run(part, work, console)
        outcomes += work.outcomes.values()
    return 0 if asked.estimate else _show(outcomes, console)


def _estimate(part: Part, work: WorkFile, console: Console) -> None:
    """Run one instance of each cell and say how long the rest of the part takes."""
    if len(work.outcomes) < len(part.cells):
        run(part, work, console, most=len(part.cells) - len(work.outcomes))
    took = [o.seconds for o in work.outcomes.values()]
    left = len(list(missing(part, work)))
    mean = sum(took) / max(1, len(took))
    console.print(
        f"{part.name}: {left} instances left, {mean:.1f} s each so far: about "
        f"{left * mean / 60:.0f} minutes, {left * part.window / 60:.0f} at most."
    )


def _show(outcomes: list[Outcome], console: Console) -> int:
    for window in sorted({o.window for o in outcomes}):
        Console(width=160).print(
            f"window {window:g} s", Markdown(report.table(outcomes, window, None))
        )
    failed = report.missed(report.judge(outcomes))
    for line in failed:
        console.print(line)
    return 1 if failed else 0


def _about() -> dict[str, object]:
    return provenance("ortools", folders=FOLDERS)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--full", action="store_true", help="both windows, 20 seeds, all cells")
    parser.add_argument("--part", help="with --full: one part of it")
    parser.add_argument("--estimate", action="store_true", help="with --full: how long it takes")
    parser.add_argument("--window", type=float, default=1.0, help="seconds per decision")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="instances a cell")
    parser.add_argument("--nodes", type=int, nargs="+", default=NODES)
    parser.add_argument("--pods", type=int, nargs="+", default=PODS, help="pods per node")
    parser.add_argument("--priorities", type=int, nargs="+", default=PRIORITIES)
    parser.add_argument("--usage", type=int, nargs="+", default=USAGE, help="per cent")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
