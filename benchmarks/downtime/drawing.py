"""Downtime over length as SVG: a panel for each engine, axes logarithmic. Called by `report`."""

from __future__ import annotations

from math import log10
from typing import Any

from benchmarks.downtime.turns import Way

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM, _GAP = 300, 260, 46, 50, 40, 24
_LOWEST, _HIGHEST = 1.0, 100_000.0
_COLOURS = {
    Way.PRE_COPY: "#1d4ed8",
    Way.BLOCKING: "#b45309",
    Way.RECOMPUTE: "#b91c1c",
    Way.BACKGROUND: "#047857",
}

Json = dict[str, Any]


def drawing(engines: Json) -> str:
    """Return all engines side by side."""
    width = len(engines) * (_WIDTH + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}">',
        "<style>text{font:11px sans-serif}</style><title>Downtime against length</title>",
        f'<rect width="{width}" height="{_HEIGHT}" fill="#ffffff"/>',
    ]
    for place, (way, colour) in enumerate(_COLOURS.items()):
        parts.append(f'<text x="{_LEFT + 150 * place}" y="16" fill="{colour}">{way}</text>')
    for place, (name, figures) in enumerate(engines.items()):
        inner = _panel(name, figures["ways"])
        parts.append(f'<g transform="translate({place * (_WIDTH + _GAP)} 0)">{inner}</g>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(name: str, ways: Json) -> str:
    lengths = [int(length) for length in next(iter(ways.values()))["downtime_ms"]]
    low, high = log10(lengths[0]), log10(lengths[-1])
    floor, top = log10(_LOWEST), log10(_HIGHEST)

    def at(length: int, ms: float) -> tuple[float, float]:
        along = (log10(length) - low) / ((high - low) or 1)
        up = (log10(min(max(ms, _LOWEST), _HIGHEST)) - floor) / (top - floor)
        height = _HEIGHT - _TOP - _BOTTOM
        return round(_LEFT + along * (_WIDTH - _LEFT), 1), round(_TOP + (1 - up) * height, 1)

    parts = [f'<text x="{_LEFT}" y="{_TOP - 12}" font-weight="600">{name}, ms</text>']
    for power in range(int(floor), int(top) + 1):
        x, y = at(lengths[0], 10.0**power)
        parts.append(f'<path d="M{x} {y}H{_WIDTH}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{x - 6}" y="{y + 4}" text-anchor="end">{10**power:,}</text>')
    for length in lengths:
        x, y = at(length, _LOWEST)
        parts.append(f'<text x="{x}" y="{y + 16}" text-anchor="middle">{length:,}</text>')
    for way, found in ways.items():
        colour = _COLOURS[Way(way)]
        points = [at(int(n), spread[0]) for n, spread in found["downtime_ms"].items()]
        path = " ".join(f"{'L' if n else 'M'}{x} {y}" for n, (x, y) in enumerate(points))
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in points]
    return "".join(parts)
