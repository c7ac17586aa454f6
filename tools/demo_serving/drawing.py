"""The demo's picture: a row per client, a tick per token, coloured by the engine that said it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from fairstow.report.markup import esc

_WIDTH = 1_100
_LEFT = 90
_ROW = 30
_TOP = 60
_FONT = 'font-family="system-ui, sans-serif" font-size="12"'
_DRAIN = 'fill="#f59e0b" fill-opacity="0.18"'
_COLOURS = ("#2563eb", "#16a34a", "#9333ea", "#c2410c")


@dataclass(frozen=True)
class Heard:
    """A token, and when it came."""

    at: float
    engine: str


@dataclass
class Line:
    """One client.

    Attributes:
        places: the engines of its request, from when on each.
    """

    name: str
    heard: list[Heard] = field(default_factory=list)
    places: list[tuple[float, str]] = field(default_factory=list)

    @property
    def engine(self) -> str:
        """Where its request is as far as was seen."""
        return self.places[-1][1] if self.places else ""

    @property
    def gaps(self) -> list[float]:
        """Seconds between its tokens."""
        return [later.at - one.at for one, later in pairwise(self.heard)]

    def longest_gap(self, since: float, until: float) -> float:
        """Return the longest that ended in this time, or began in it."""
        gaps = (
            later.at - one.at
            for one, later in pairwise(self.heard)
            if later.at >= since and one.at <= until
        )
        return max(gaps, default=0.0)

    def at(self, when: float, engine: str) -> None:
        """Note where its request is."""
        if engine != self.engine:
            self.places.append((when, engine))

    def said_by(self, when: float) -> str:
        """Return who said what came then."""
        before = [engine for since, engine in self.places if since <= when]
        return before[-1] if before else (self.places[0][1] if self.places else "")


def page(lines: Sequence[Line], engines: Sequence[str], drained: float, empty: float) -> str:
    """Return the whole page."""
    end = max((heard.at for line in lines for heard in line.heard), default=1.0) + 0.1
    colour = dict(zip(engines, _COLOURS, strict=False))
    height = _TOP + _ROW * len(lines) + 50

    def x(at: float) -> float:
        return _LEFT + _WIDTH * at / end

    size = f"0 0 {_LEFT + _WIDTH + 30} {height}"
    shade = f'x="{x(drained):.1f}" width="{max(1.0, x(empty) - x(drained)):.1f}"'
    said = f"{esc(engines[0])} drains for {empty - drained:.2f} s"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" {_FONT} role="img">',
        "<title>Tokens of each client over time, by the engine that said them</title>",
        f'<rect {shade} y="{_TOP - 22}" height="{_ROW * len(lines) + 26}" {_DRAIN}/>',
        _text(x(drained), _TOP - 28, said),
    ]
    for number, line in enumerate(lines):
        top = _TOP + number * _ROW
        parts.append(_text(8, top + 14, esc(line.name)))
        for heard in line.heard:
            stroke = colour.get(line.said_by(heard.at), "#888")
            parts.append(
                f'<path d="M{x(heard.at):.1f} {top}v{_ROW - 10}" stroke="{stroke}" '
                'stroke-width="1.6"/>'
            )
    bottom = _TOP + _ROW * len(lines) + 8
    parts += [_text(x(second), bottom + 12, f"{second} s") for second in range(int(end) + 1)]
    for number, name in enumerate(engines):
        at = _LEFT + 140 * number
        box = f'x="{at}" y="{bottom + 22}" width="12" height="12"'
        parts.append(f'<rect {box} fill="{colour[name]}"/>')
        parts.append(_text(at + 18, bottom + 32, f"said by {esc(name)}"))
    parts.append("</svg>")
    return _page("\n".join(parts))


def _text(x: float, y: float, said: str) -> str:
    return f'<text x="{x:.1f}" y="{y}" fill="currentColor">{said}</text>'


def _page(drawing: str) -> str:
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>A drain nobody noticed</title>'
        "<style>:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;"
        "max-width:1240px;margin:2rem auto;padding:0 1rem}svg{width:100%}</style>"
        "<h1>A drain nobody noticed</h1><p>A row is one client's stream, a tick one chunk of its "
        "answer. Where a row changes its colour, the running request moved to the other engine "
        f"with its memory; the stream went on.</p>{drawing}</html>"
    )
