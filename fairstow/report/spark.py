"""Spark jobs as one SVG: a lane for each user, virtual time to the right.

Called by `fairstow simulate spark -o svg`. A pale bar is a job that waits, a full one a job that
runs, a tick where it is due (its virtual finish): red if it ended later. Hover over one to read
more.
"""

from __future__ import annotations

from collections.abc import Sequence

from fairstow.report.markup import esc
from fairstow.spark.simulator.lanes import Lane

_WIDTH = 1_000
_LEFT = 130
_TOP = 56
_BAR = 7
_MOST_ROWS = 40
"""Bars one below another in a lane at most; more are drawn over each other."""
_COLOURS = ("#2563eb", "#c2410c", "#16a34a", "#9333ea", "#0891b2", "#a16207")
_FONT = 'font-family="system-ui, sans-serif" font-size="11"'


def drawing(jobs: Sequence[Lane], title: str) -> str:
    """Return the drawing."""
    end = max((max(job.ended, job.due) for job in jobs), default=1.0) or 1.0
    parts, top = [], float(_TOP)
    for number, user in enumerate(dict.fromkeys(job.user for job in jobs)):
        own = sorted((job for job in jobs if job.user == user), key=lambda job: job.came)
        rows = _rows(own)
        height = (max(rows) + 1) * _BAR + 12
        parts.append(
            f'<text x="10" y="{top + 12:.1f}">{esc(user)}</text>'
            f'<path d="M{_LEFT} {top + height - 6:.1f}h{_WIDTH}" stroke="#ddd"/>'
        )
        colour = _COLOURS[number % len(_COLOURS)]
        parts += [
            _job(job, top + row * _BAR, end, colour) for job, row in zip(own, rows, strict=True)
        ]
        top += height
    box = f"0 0 {_WIDTH + _LEFT + 20} {top + 24:.0f}"
    unit = f"{end:,.1f} core-seconds for each unit of weight"
    below = f'y="{top + 12:.1f}" fill="#555"'
    legend = (
        "pale: waits; full: runs; tick: due by virtual finish, red if it ended later (up to the "
        "longest task later is as promised)"
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" {_FONT}>',
            '<rect width="100%" height="100%" fill="#fff"/>',
            f'<text x="10" y="18" font-size="14">{esc(title)}</text>',
            f'<text x="10" y="36" fill="#555">{legend}</text>',
            *parts,
            f'<text x="{_LEFT}" {below}>virtual time 0</text>',
            f'<text x="{_LEFT + _WIDTH}" {below} text-anchor="end">{unit}</text>',
            "</svg>\n",
        ]
    )


def _rows(jobs: Sequence[Lane]) -> list[int]:
    """Put jobs that overlap into different rows."""
    free: list[float] = []
    rows = []
    for job in jobs:
        row = next((n for n, until in enumerate(free) if until <= job.came), len(free))
        row = min(row, _MOST_ROWS - 1)
        until = max(job.ended, job.due)
        if row == len(free):
            free.append(until)
        else:
            free[row] = max(free[row], until)
        rows.append(row)
    return rows


def _job(job: Lane, top: float, end: float, colour: str) -> str:
    came, began, ended, due = (_x(at, end) for at in (job.came, job.began, job.ended, job.due))
    late = job.ended > job.due * (1 + 1e-9)
    said = (
        f"{job.job} of {job.user}: came {job.came:.1f}, began {job.began:.1f}, "
        f"ended {job.ended:.1f}, due {job.due:.1f}"
    )
    return (
        f"<g><title>{esc(said)}</title>"
        f'<rect x="{came:.1f}" y="{top:.1f}" width="{max(began - came, 0):.1f}" '
        f'height="{_BAR - 2}" fill="{colour}" fill-opacity="0.25"/>'
        f'<rect x="{began:.1f}" y="{top:.1f}" width="{max(ended - began, 0.8):.1f}" '
        f'height="{_BAR - 2}" fill="{colour}"/>'
        f'<path d="M{due:.1f} {top - 1:.1f}v{_BAR}" stroke="{"#dc2626" if late else "#111"}"/></g>'
    )


def _x(at: float, end: float) -> float:
    return _LEFT + _WIDTH * at / end
