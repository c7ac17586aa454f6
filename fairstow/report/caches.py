"""Categories of semantic caches as one SVG: hit rate against break-even, threshold, quota, errors.

Called by `fairstow cache stats -o svg`. A bar is the category's hit rate, green where its semantic
tier is on; the line across it is the hit rate from which that pays. Hover over one to read more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fairstow.report.markup import esc

_ROW = 34
_TOP = 64
_BAR = 320
_FONT = 'font-family="system-ui, sans-serif" font-size="12"'
_COLOURS = {"On": "#16a34a", "Off": "#9ca3af", "Unknown": "#e5e7eb"}
_HEADS = ("hit rate, and break-even", "threshold", "fullest tenant", "wrong of labels")


@dataclass(frozen=True)
class Bar:
    """A category. Attributes: rates are shares; said: what is read when the pointer is on it."""

    name: str
    semantic: str
    said: str
    hit_rate: float | None = None
    break_even: float | None = None
    threshold: float | None = None
    fullest: int = 0
    quota: int = 0
    wrong: int = 0
    labels: int = 0


def drawing(bars: Sequence[Bar], title: str) -> str:
    """Return the drawing."""
    left = 30 + 7 * max((len(each.name) for each in bars), default=0)
    columns = [left, left + _BAR + 30, left + _BAR + 120, left + _BAR + 290]
    size = f"0 0 {columns[-1] + 130} {_TOP + _ROW * len(bars) + 16}"
    heads = (
        f'<text x="{x}" y="48" fill="#555">{head}</text>'
        for x, head in zip(columns, _HEADS, strict=True)
    )
    rows = (line for i, each in enumerate(bars) for line in _row(each, _TOP + _ROW * i, columns))
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" role="img" {_FONT}>',
            '<rect width="100%" height="100%" fill="#fff"/>',
            f'<text x="10" y="20" font-size="14">{esc(title)}: semantic caches</text>',
            *heads,
            *rows,
            "</svg>",
        )
    )


def _row(bar: Bar, y: int, columns: Sequence[int]) -> Iterator[str]:
    rates, threshold, quota, wrong = columns
    colour = _COLOURS.get(bar.semantic, "#000")
    yield f"<g><title>{esc(f'{bar.name}: {bar.said}')}</title>"
    yield f'<text x="10" y="{y + 15}">{esc(bar.name)}</text>'
    yield f'<rect x="{rates}" y="{y}" width="{_BAR}" height="20" fill="#f3f4f6"/>'
    if bar.hit_rate is not None:
        size = _BAR * min(1.0, bar.hit_rate)
        yield f'<rect x="{rates}" y="{y}" width="{size:.1f}" height="20" fill="{colour}"/>'
        yield f'<text x="{rates + _BAR - 44}" y="{y + 15}">{100 * bar.hit_rate:.1f} %</text>'
    if bar.break_even is not None:
        at = rates + _BAR * min(1.0, bar.break_even)
        yield f'<path d="M{at:.1f} {y - 4}v28" stroke="#b91c1c" stroke-width="2"/>'
    if bar.threshold is not None:
        yield f'<text x="{threshold}" y="{y + 15}">{bar.threshold:.3f}</text>'
    share = min(1.0, bar.fullest / bar.quota) if bar.quota else 0.0
    yield f'<rect x="{quota}" y="{y}" width="60" height="20" fill="#f3f4f6"/>'
    yield f'<rect x="{quota}" y="{y}" width="{60 * share:.1f}" height="20" fill="#60a5fa"/>'
    yield f'<text x="{quota + 66}" y="{y + 15}">{bar.fullest:,} of {bar.quota:,}</text>'
    said = f"{bar.wrong:,} of {bar.labels:,}" if bar.labels else "none yet"
    yield f'<text x="{wrong}" y="{y + 15}">{said}</text></g>'
