"""The page's part on growth: its table and its curve. Called by `benchmarks.scale`."""

import json
from math import log10
from pathlib import Path
from typing import Any

from benchmarks.closing import rewrite

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "scale.json"
PAGE = ROOT / "docs" / "benchmarks" / "packing.md"
CURVE = PAGE.with_name("packing-growth.svg")
MARKS = "<!-- growth: begin -->\n", "<!-- growth: end -->\n"

Json = dict[str, Any]

_COLUMNS = (
    "nodes",
    "pods",
    "pending",
    "placed",
    "at most",
    "reached %",
    "moves",
    "formulated in s",
    "whole decision s",
    "planner and solver MB",
)
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 300, 50, 20, 30, 45
_LINES = (
    ("reached", "#1d4ed8", "placed, % of the proved bound"),
    ("megabytes", "#b45309", "planner and solver, % of 1.5 GB"),
    ("formulated", "#047857", "formulated, % of 10 s"),
)


def reached(size: Json) -> float:
    """Return the placed pods in per cent of the proved bound."""
    return 100 * float(size["placed"]) / float(size["boundPods"] or 1)


def table(sizes: list[Json]) -> str:
    """Return the sizes as a Markdown table."""
    lines = [f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|"]
    for size in sizes:
        cells = (
            *(f"{size[name]:,}" for name in ("nodes", "pods", "pending", "placed", "boundPods")),
            f"{reached(size):.0f}",
            str(size["moves"]),
            f"{size['formulateSeconds']:.2f}",
            f"{size['seconds']:.2f}",
            str(size["peakMegabytes"]),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def curve(sizes: list[Json]) -> str:
    """Return what grows over nodes (logarithmic) as SVG, all in per cent."""
    low, high = log10(sizes[0]["nodes"]), log10(sizes[-1]["nodes"])

    def at(nodes: int, share: float) -> tuple[float, float]:
        along = (log10(nodes) - low) / ((high - low) or 1)
        x = _LEFT + along * (_WIDTH - _LEFT - _RIGHT)
        return round(x, 1), round(_TOP + (1 - share / 100) * (_HEIGHT - _TOP - _BOTTOM), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}">',
        "<style>text{font:12px sans-serif}</style>",
        "<title>What grows with the cluster</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
    ]
    for share in (0, 25, 50, 75, 100):
        x, y = at(sizes[0]["nodes"], share)
        parts.append(f'<path d="M{x} {y}H{_WIDTH - _RIGHT}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{x - 8}" y="{y + 4}" text-anchor="end">{share}</text>')
    for size in sizes:
        x, y = at(size["nodes"], 0)
        parts.append(f'<text x="{x}" y="{y + 18}" text-anchor="middle">{size["nodes"]:,}</text>')
    parts.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 8}" text-anchor="middle">nodes</text>')
    for i, (name, colour, label) in enumerate(_LINES):
        points = [at(size["nodes"], _share(size, name)) for size in sizes]
        path = " ".join(f"{'L' if n else 'M'}{x} {y}" for n, (x, y) in enumerate(points))
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in points]
        parts.append(f'<text x="{_LEFT + 200 * i}" y="16" fill="{colour}">{label}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _share(size: Json, name: str) -> float:
    if name == "reached":
        return reached(size)
    if name == "megabytes":
        return 100 * float(size["peakMegabytes"]) / 1536
    return 100 * float(size["formulateSeconds"]) / 10


def write(record: Json) -> None:
    """Write the record, the page's part between its markers, and the curve."""
    about = record["provenance"]
    head = (
        f"{about['date']}, commit {about['commit']}, {about['cores']} cores, Python "
        f"{about['python']}, ortools {about['ortools']}; a window of {record['windowSeconds']:g} s."
    )
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    text = f"{head}\n\n{table(record['sizes'])}\n![What grows with the cluster]({CURVE.name})\n"
    rewrite(PAGE, MARKS, text)
    CURVE.write_text(curve(record["sizes"]))
