"""Writes the results as Markdown tables, and docs/benchmarks/fragmentation.md's parts from a file.

    python -m benchmarks.fragmentation.report FILE

replaces what lies between the page's markers and draws its curve anew; the text around is ours.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.closing import rewrite
from benchmarks.fragmentation.statistics import mean, spread

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks" / "fragmentation.md"
MARKS = "<!-- results: begin -->\n", "<!-- results: end -->\n"
FGD, OURS = "06-FGD", "07-Fairstow"
COLOURS = {FGD: "#b45309", OURS: "#1d4ed8"}
LABELS = {FGD: "placed by FGD", OURS: "placed by Fairstow"}

Json = dict[str, Any]


def tables(results: Json) -> str:
    """Return all tables."""
    about = results["provenance"]
    seeds = results["seeds"]
    head = (
        f"{about['date']}, commit {about['commit']}, {about['cores']} cores, Python "
        f"{about['python']}, numpy {about['numpy']}, seeds {seeds[0]}–{seeds[-1]}, "
        f"{results['seconds']} s on one core.\n\n"
    )
    parts = [head, _policies(results), _pairs(results), _kinds(results)]
    if results["workloads"]["default"]["moves"]:
        parts.append(_moves(results["workloads"]["default"]))
    return "\n".join(parts)


def _policies(results: Json) -> str:
    names = list(results["workloads"])
    lines = [
        "Unallocated GPU % at arrivals of 130 % of capacity, mean ± deviation (published mean):\n",
        f"| policy | {' | '.join(names)} |",
        f"|---|{'---|' * len(names)}",
    ]
    for policy in results["workloads"]["default"]["policies"]:
        cells = []
        for name in names:
            found = results["workloads"][name]
            runs = found["policies"][policy]
            told = found["published"].get(policy)
            cell = f"{mean(runs):.2f} ± {spread(runs):.2f}"
            cells.append(cell + (f" ({told:.2f})" if told is not None else ""))
        lines.append(f"| {policy[3:]} | {' | '.join(cells)} |")
    floors = (f"{results['workloads'][name]['floor']:.2f}" for name in names)
    lines.append(f"| floor without moves | {' | '.join(floors)} |")
    return "\n".join(lines) + "\n"


def _pairs(results: Json) -> str:
    lines = [
        "Fairstow less our FGD, the same seeds, points of unallocated GPU:\n",
        "| workload | difference | 95 % interval |",
        "|---|---|---|",
    ]
    for name, found in results["workloads"].items():
        pair = found["against_fgd"]
        lines.append(f"| {name} | {pair['mean']:.2f} | {pair['low']:.2f} … {pair['high']:.2f} |")
    return "\n".join(lines) + "\n"


def _kinds(results: Json) -> str:
    lines = [
        "Pods placed of those that arrived, %, and unallocated GPU % earlier on, FGD → Fairstow:\n",
        "| workload | shared GPU | one GPU | more GPUs | all pods | at 95 | at 100 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in results["workloads"].items():
        both = [found["policies"][p] for p in (FGD, OURS)]
        cells = []
        for kind in ("shared", "one", "more", None):
            rates = [fmean(_rate(run, kind) for run in runs) for runs in both]
            cells.append(f"{rates[0]:.1f} → {rates[1]:.1f}")
        cells += [f"{mean(both[0], m):.2f} → {mean(both[1], m):.2f}" for m in (95, 100)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _rate(run: Json, kind: str | None) -> float:
    pairs = [run["placed"][kind]] if kind else list(run["placed"].values())
    return float(100 * sum(p for p, _ in pairs) / sum(n for _, n in pairs))


def _moves(found: Json) -> str:
    lines = [
        "Default workload, with moves for pods that fit nowhere:\n",
        "| placed by | limit, moves per placed pod | moved % | unallocated GPU % |",
        "|---|---|---|---|",
    ]
    for name in (FGD, OURS):
        runs = found["policies"][name]
        lines.append(f"| {name[3:]} | none | 0 | {mean(runs):.2f} ± {spread(runs):.2f} |")
        for curve in found["moves"]:
            if curve["policy"] == name:
                moved = fmean(run["moved"] for run in curve["runs"])
                value = f"{mean(curve['runs']):.2f} ± {spread(curve['runs']):.2f}"
                lines.append(f"| {name[3:]} | {curve['limit']:.2%} | {moved:.2f} | {value} |")
    return "\n".join(lines) + "\n"


WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 320, 60, 50, 20
LOW, HIGH, MOST = 3.0, 5.0, 3.0


def curve(found: Json) -> str:
    """Return unallocated % over moved % as SVG, with the floor."""

    def at(moved: float, value: float) -> tuple[float, float]:
        x = LEFT + moved / MOST * (WIDTH - LEFT - 20)
        y = TOP + (HIGH - value) / (HIGH - LOW) * (HEIGHT - TOP - BOTTOM)
        return round(x, 1), round(y, 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">',
        "<style>text{font:12px sans-serif}</style>",
        "<title>Unallocated GPU against pods moved</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    for value in (3.0, 3.5, 4.0, 4.5, 5.0):
        x, y = at(0, value)
        parts.append(f'<path d="M{x} {y}H{WIDTH - 20}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{value}</text>')
    for moved in (0.0, 1.0, 2.0, 3.0):
        x, y = at(moved, LOW)
        parts.append(f'<text x="{x}" y="{y + 18}" text-anchor="middle">{moved:.0f}</text>')
    parts.append(
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 10}" text-anchor="middle">pods moved, %</text>'
    )
    parts.append(f'<text x="{LEFT}" y="14">unallocated GPU, %</text>')
    x, y = at(0, found["floor"])
    parts.append(f'<path d="M{x} {y}H{WIDTH - 20}" stroke="#111827" stroke-dasharray="4 4"/>')
    parts.append(
        f'<text x="{WIDTH - 24}" y="{y + 15}" text-anchor="end">floor without moves</text>'
    )
    for name in (FGD, OURS):
        points = [at(0, mean(found["policies"][name]))]
        for line in found["moves"]:
            if line["policy"] == name:
                moved = fmean(run["moved"] for run in line["runs"])
                points.append(at(moved, mean(line["runs"])))
        path = " ".join(f"{'L' if i else 'M'}{px} {py}" for i, (px, py) in enumerate(points))
        parts.append(f'<path d="{path}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{px}" cy="{py}" r="3" fill="{COLOURS[name]}"/>' for px, py in points
        ]
        px, py = points[0]
        text = f'<text x="{px + 8}" y="{py - 8}" fill="{COLOURS[name]}">{LABELS[name]}</text>'
        parts.append(text)
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> int:
    """Write the page's parts."""
    results = json.loads(Path(sys.argv[1]).read_text())
    rewrite(PAGE, MARKS, tables(results))
    PAGE.with_suffix(".svg").write_text(curve(results["workloads"]["default"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
