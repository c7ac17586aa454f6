"""Lanes of users over time, for the terminal and as SVG: how many cores each held, and its jobs."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

COLOURS = ("#c2570c", "#1f6feb", "#2e7d32")
WIDTH, LANE, LEFT, TOP = 900, 34, 110, 46


@dataclass(frozen=True)
class Lanes:
    """What ran. Attributes: tasks: name, from, to; jobs: name, user, came, ended; in seconds."""

    tasks: list[dict[str, Any]]
    jobs: list[dict[str, Any]]
    users: tuple[str, ...]

    @property
    def end(self) -> float:
        """When the last job ended."""
        return max(float(job["ended"]) for job in self.jobs)

    def of(self, user: str) -> list[tuple[float, float]]:
        """Return from when to when each task of a user ran."""
        return [(t["from"], t["to"]) for t in self.tasks if t["name"].split("/")[0] == user]

    def responses(self, user: str) -> list[float]:
        """Return how long each job of a user took."""
        return [job["ended"] - job["came"] for job in self.jobs if job["user"] == user]


def terminal(lanes: Lanes, longest: float, columns: int) -> str:
    """Return a line a user and core: a letter where it is held, a dot where it isn't."""
    lines = []
    for user in lanes.users:
        held = [0] * columns
        for begin, end in lanes.of(user):
            first, last = (int(columns * at / longest) for at in (begin, end))
            for column in range(first, max(min(last, columns), first + 1)):
                held[min(column, columns - 1)] += 1
        for core in range(2):
            row = "".join(user[0] if count > core else "·" for count in held)
            lines.append(f"  {user if not core else '':8} {row}")
    return "\n".join(lines)


def picture(played: dict[str, Lanes]) -> str:
    """Return both runs as one SVG, on one scale of time."""
    longest = max(lanes.end for lanes in played.values())
    across = (WIDTH - LEFT - 20) / longest
    parts, top = [], TOP
    for title, lanes in played.items():
        parts.append(f'<text x="10" y="{top - 14}" class="title">{escape(title)}</text>')
        for user, colour in zip(lanes.users, COLOURS, strict=False):
            parts.append(f'<text x="10" y="{top + 22}">{escape(user)}</text>')
            parts += [
                f'<rect x="{LEFT + begin * across:.1f}" y="{top + 4}" '
                f'width="{max((end - begin) * across - 0.6, 0.6):.1f}" height="{LANE - 10}" '
                f'fill="{colour}" fill-opacity="0.55"/>'
                for begin, end in lanes.of(user)
            ]
            parts += [
                f'<path d="M{LEFT + job["came"] * across:.1f} {top + 1}v{LANE - 4}" '
                f'stroke="{colour}"><title>{escape(job["name"])}: '
                f"{job['ended'] - job['came']:.2f} s</title></path>"
                for job in lanes.jobs
                if job["user"] == user
            ]
            top += LANE
        top += 44
    parts += [
        f'<text x="{LEFT + second * across:.0f}" y="{top - 24}" class="tick">{second} s</text>'
        for second in range(0, int(longest) + 1, 2)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" role="img">'
        "<title>Who held the cores when; a line is a job that came</title>"
        "<style>text{font:14px system-ui,sans-serif}.title{font-weight:600}"
        ".tick{font-size:11px;fill:#667}</style>"
        f'<rect width="{WIDTH}" height="{top}" fill="#fff"/>{"".join(parts)}</svg>\n'
    )
