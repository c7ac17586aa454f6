"""Llumnix fig. 11: seven workloads, seven figures, our Llumnix and ours against INFaaS++.

Played at the middle of the published rates, or at the highest; the published ratio is that of the
same rate. Nothing is fitted to a cell: one engine model and one age of reports for all (`systems`).
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.table import Table

from benchmarks.serving_simulator.play import Json, play, ratio
from benchmarks.serving_simulator.systems import SYSTEMS
from benchmarks.serving_simulator.workloads import METRICS, ROWS, Points, published, rates, workload

SAME = 0.03
"""Ratios within this of 1 are no difference."""


def highest(data: Path, seeds: int, quick: bool) -> Json:
    """Play all rows at the highest rates."""
    return measure(data, seeds, quick, at=1.0)


def measure(data: Path, seeds: int, quick: bool, *, at: float = 0.5) -> Json:
    """Play all rows."""
    points = published(data)
    rows: list[Json] = []
    for row in ROWS:
        there = rates(points, row)
        rate = there[int(at * (len(there) - 1))]
        rows.append(_row(points, row, rate, seeds, count=3_000 if quick else 10_000))
        _print(rows[-1])
    speeds = [r["runs"]["virtual-usage"][0]["requests_per_s"] for r in rows if r["row"] == "M-M"]
    return {"rows": rows, "requests_per_s": max(speeds)}


def _row(points: Points, row: str, rate: float, seeds: int, *, count: int) -> Json:
    systems = [s for s in SYSTEMS if s != "round-robin" or row in ("ShareGPT", "BurstGPT")]
    runs: dict[str, list[Json]] = {system: [] for system in systems}
    for seed in range(seeds):
        drawn = workload(row, rate, seed=seed, count=count)
        for system in systems:
            runs[system].append(play(SYSTEMS[system], drawn))
    comparisons = [_comparison(points, row, rate, runs, metric) for metric in METRICS]
    return {"row": row, "rate": rate, "runs": runs, "comparisons": comparisons}


def _comparison(
    points: Points, row: str, rate: float, runs: dict[str, list[Json]], metric: str
) -> Json:
    told = {
        name: points[row, metric, system.published, rate]
        for name, system in SYSTEMS.items()
        if (row, metric, system.published, rate) in points
    }
    paper = (told["llumnix"] + 1e-4) / (told["INFaaS++"] + 1e-4)
    theirs = ratio(runs["llumnix"], runs["INFaaS++"], metric)
    return {
        "metric": metric,
        "published": told,
        "measured": {system: fmean(run[metric] for run in found) for system, found in runs.items()},
        "paper": paper,
        "llumnix": theirs,
        "ours": ratio(runs["virtual-usage"], runs["load-aware"], metric),
        "ours_to_llumnix": ratio(runs["virtual-usage"], runs["llumnix"], metric),
        "ours_to_ledger": ratio(runs["virtual-usage"], runs["llumnix, ledger"], metric),
        "direction": _direction(paper, theirs[0]),
    }


def _direction(paper: float, measured: float) -> bool:
    """Whether the measured ratio is on the published side of 1, or no worse where that is none."""
    if abs(paper - 1) <= SAME:
        return measured <= 1 + SAME
    return measured < 1 if paper < 1 else measured > 1


def _print(row: Json) -> None:
    table = Table(title=f"{row['row']} at {row['rate']}/s: ratios to INFaaS++")
    for head in (
        "figure",
        "paper",
        "Llumnix here",
        "direction",
        "ours / load-aware",
        "ours / Llumnix here",
    ):
        table.add_column(head, justify="right")
    for found in row["comparisons"]:
        table.add_row(
            found["metric"],
            f"{found['paper']:.2f}",
            _shown(found["llumnix"]),
            "yes" if found["direction"] else "NO",
            _shown(found["ours"]),
            _shown(found["ours_to_llumnix"]),
        )
    Console().print(table)


def _shown(found: tuple[float, float, float]) -> str:
    return f"{found[0]:.2f} ({found[1]:.2f}–{found[2]:.2f})"
