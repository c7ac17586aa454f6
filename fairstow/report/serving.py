"""A run of the serving simulator as one SVG: KV held on each instance over time, and migrations.

Called by `fairstow simulate serving --svg`. A row per instance: the share of KV that is held as a
filled curve, requests that wait as a darker one on top of the row's line, a thin line from row to
row for each migration.
"""

from collections.abc import Sequence

from fairstow.report.markup import esc
from fairstow.serving.simulator.run import Glance, Result

_WIDTH = 1_000
_LEFT = 110
_ROW = 34
_TOP = 46
_FONT = 'font-family="system-ui, sans-serif" font-size="11"'
_QUEUE = 20
"""Requests that fill a row."""


def timeline(result: Result, title: str) -> str:
    """Return the drawing; needs glances."""
    names = list(dict.fromkeys(name for glance in result.glances for name, *_ in glance.instances))
    end = result.end or 1.0
    row = {name: _TOP + i * _ROW for i, name in enumerate(names)}
    height = _TOP + len(names) * _ROW + 40
    size = f"0 0 {_WIDTH + _LEFT + 20} {height}"
    legend = "blue: KV held; red: requests that wait; lines: migrations"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" {_FONT}>',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="10" y="18" font-size="14">{esc(title)}</text>',
        f'<text x="10" y="34" fill="#555">{legend}</text>',
        *(_instance(name, row[name], result.glances, end) for name in names),
    ]
    for at, _, source, destination in result.moved:
        if source in row and destination in row:
            x = _x(at, end)
            parts.append(
                f'<path d="M{x:.1f} {row[source] + _ROW / 2:.1f}V{row[destination] + _ROW / 2:.1f}"'
                ' stroke="#b45309" stroke-opacity="0.35" stroke-width="0.7"/>'
            )
    parts += [_axis(end, height), "</svg>"]
    return "\n".join(parts)


def _x(at: float, end: float) -> float:
    return _LEFT + _WIDTH * at / end


def _instance(name: str, top: float, glances: Sequence[Glance], end: float) -> str:
    seen = [
        (glance.at, used, queued)
        for glance in glances
        for other, used, _, queued in glance.instances
        if other == name
    ]
    bottom = top + _ROW - 4
    held = _area([(_x(at, end), used) for at, used, _ in seen], bottom, _ROW - 6)
    wait = _area([(_x(at, end), min(1, q / _QUEUE)) for at, _, q in seen], bottom, _ROW - 6)
    return (
        f'<text x="10" y="{top + _ROW / 2 + 4:.1f}">{esc(name)}</text>'
        f'<path d="M{_LEFT} {bottom}h{_WIDTH}" stroke="#ccc"/>'
        f'<path d="{held}" fill="#93c5fd"/><path d="{wait}" fill="#dc2626" fill-opacity="0.7"/>'
    )


def _area(points: Sequence[tuple[float, float]], bottom: float, height: float) -> str:
    if not points:
        return ""
    line = "".join(f"L{x:.1f} {bottom - share * height:.1f}" for x, share in points)
    return f"M{points[0][0]:.1f} {bottom:.1f}{line}L{points[-1][0]:.1f} {bottom:.1f}Z"


def _axis(end: float, height: float) -> str:
    step = next((s for s in (1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600) if end / s <= 12), 7200)
    marks = []
    at = 0
    while at <= end:
        marks.append(
            f'<text x="{_x(at, end):.1f}" y="{height - 14}" text-anchor="middle" fill="#555">'
            f"{at} s</text>"
        )
        at += step
    return "".join(marks)
