"""Requests that moved between engines, as one SVG: a row per engine, time to the right.

Called by `fairstow migrations -o svg`. A bar is the time that a request is known to have spent on
an engine: since the hop before it, or the left edge; a line down or up is a hop, coloured by what
came of it. Hover over one to read more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fairstow.report.markup import esc

_WIDTH = 1_000
_TOP = 60
_LANE = 5
"""Height of one request's bar."""
_LANES = 12
"""Bars side by side in a row at most; more are drawn over each other."""
_ROW = _LANE * _LANES + 14
_NOT_GONE = ("Stayed", "UnderWay")
_FONT = 'font-family="system-ui, sans-serif" font-size="12"'
_COLOURS = {
    "Copied": "#2563eb",
    "Recomputed": "#c2410c",
    "Stayed": "#6b7280",
    "UnderWay": "#16a34a",
}


@dataclass(frozen=True)
class Hop:
    """A move. Attributes: at: when, RFC 3339; said: what is read when the pointer is on it."""

    at: str
    request: str
    source: str
    destination: str
    outcome: str
    said: str = ""


@dataclass(frozen=True)
class _Bar:
    """A request on an engine, between two times."""

    engine: str
    request: str
    since: float
    until: float


def drawing(hops: Sequence[Hop], engines: Iterable[str], title: str) -> str:
    """Return the drawing; engines that only hops name come after the others."""
    picture = _Picture(hops, engines)
    size = f"0 0 {picture.left + _WIDTH + 20} {picture.height}"
    head = f"{esc(title)}: requests that moved"
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" role="img" {_FONT}>',
            '<rect width="100%" height="100%" fill="#fff"/>',
            f'<text x="10" y="20" font-size="14">{head}</text>',
            *_legend(),
            *picture.rows(),
            *(picture.bar(each) for each in _bars(hops, picture.begin, picture.end)),
            *(picture.line(each) for each in hops if each.source and each.destination),
            *picture.clock(),
            "</svg>",
        )
    )


class _Picture:
    """Where everything is."""

    def __init__(self, hops: Sequence[Hop], engines: Iterable[str]) -> None:
        known = [*engines, *(name for hop in hops for name in (hop.source, hop.destination))]
        names = [name for name in dict.fromkeys(known) if name]
        times = sorted(_seconds(hop.at) for hop in hops) or [0.0]
        margin = max(1.0, 0.05 * (times[-1] - times[0]))
        self.begin, self.end = times[0] - margin, times[-1] + margin
        self.left = 20 + 7 * max((len(name) for name in names), default=0)
        self.height = _TOP + _ROW * len(names) + 30
        self._top = {name: _TOP + _ROW * i for i, name in enumerate(names)}
        self._lanes = {each: i for i, each in enumerate(dict.fromkeys(h.request for h in hops))}

    def _x(self, at: float) -> float:
        return self.left + _WIDTH * (at - self.begin) / (self.end - self.begin)

    def _y(self, engine: str, request: str) -> float:
        return self._top[engine] + _LANE * (self._lanes[request] % _LANES)

    def rows(self) -> Iterator[str]:
        """Yield the engines' names and lines."""
        for name, top in self._top.items():
            yield f'<text x="10" y="{top + _ROW / 2:.0f}">{esc(name)}</text>'
            yield f'<path d="M{self.left} {top - 6}h{_WIDTH}" stroke="#ddd"/>'

    def bar(self, bar: _Bar) -> str:
        """Return the time of a request on an engine."""
        left, right = self._x(bar.since), self._x(bar.until)
        return (
            f'<rect x="{left:.1f}" y="{self._y(bar.engine, bar.request):.1f}" '
            f'width="{max(0.5, right - left):.1f}" height="{_LANE - 1}" '
            f'fill="#bfdbfe"><title>{esc(bar.request)} on {esc(bar.engine)}</title></rect>'
        )

    def line(self, hop: Hop) -> str:
        """Return a hop."""
        x, colour = self._x(_seconds(hop.at)), _COLOURS.get(hop.outcome, "#000")
        dashes = ' stroke-dasharray="3 3"' if hop.outcome in _NOT_GONE else ""
        begin, end = self._y(hop.source, hop.request), self._y(hop.destination, hop.request)
        said = f"{hop.request}: {hop.source} → {hop.destination}, {hop.said}"
        return (
            f'<path d="M{x:.1f} {begin:.1f}V{end:.1f}" stroke="{colour}" stroke-width="1.5"'
            f"{dashes}><title>{esc(said)}</title></path>"
        )

    def clock(self) -> Iterator[str]:
        """Yield when it begins and ends."""
        for at, anchor in ((self.begin, "start"), (self.end, "end")):
            said = datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")
            place = f'x="{self._x(at):.1f}" y="{self.height - 10}"'
            yield f'<text {place} text-anchor="{anchor}" fill="#555">{said}</text>'


def _bars(hops: Sequence[Hop], begin: float, end: float) -> Iterator[_Bar]:
    """Yield where each request was between its hops; one that stayed goes on where it was."""
    by_request: dict[str, list[Hop]] = {}
    for hop in sorted(hops, key=lambda each: _seconds(each.at)):
        by_request.setdefault(hop.request, []).append(hop)
    for request, its in by_request.items():
        engine, since = its[0].source, begin
        for hop in its:
            if hop.outcome in _NOT_GONE:
                continue
            if engine:
                yield _Bar(engine, request, since, _seconds(hop.at))
            engine, since = hop.destination, _seconds(hop.at)
        if engine:
            yield _Bar(engine, request, since, end)


def _legend() -> Iterator[str]:
    for number, (outcome, colour) in enumerate(_COLOURS.items()):
        at = 10 + 110 * number
        yield f'<path d="M{at} 36h18" stroke="{colour}" stroke-width="3"/>'
        yield f'<text x="{at + 24}" y="40">{outcome}</text>'


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
