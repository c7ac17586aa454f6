"""The picture: nodes before and after, on its own as one SVG file or laid out in the page."""

from fairstow.cluster.pools import product
from fairstow.packing.model import Decision
from fairstow.report.draw import DEFS, WIDTH, card, card_height, described, small, swatch
from fairstow.report.markup import bullets, count, esc
from fairstow.report.scene import Mark, Panel, Scene, scene
from fairstow.report.style import DRAWING, variables

MOST_CHANGED = 150
MOST_UNCHANGED = 400
_GAP = 12
_COLUMNS = 4

_MARKS = (
    (Mark.LEAVES, "A, B … leaves"),
    (Mark.ARRIVES, "A, B … arrives"),
    (Mark.PLACED, "1, 2 … waited, gets a node"),
    (Mark.EVICTED, "× evicted for good"),
)


def picture(decision: Decision) -> str:
    """Return the nodes before and after as one SVG file."""
    drawn = scene(decision)
    width = _COLUMNS * (WIDTH + _GAP) + _GAP
    body, y = _svg_legend(decision, drawn, width)
    body_changed, y = _svg_changed(drawn, y)
    rest, y = _svg_rest(drawn, y, width)
    title = (
        f"{count(len(drawn.changed), 'node')} before and after the plan, "
        f"{len(drawn.unchanged)} unchanged"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" '
        f'height="{y}" role="img"><title>{esc(title)}</title>'
        f"<style>{variables()}{DRAWING}</style>{DEFS}"
        f'<rect width="{width}" height="{y}" style="fill:var(--bg)"/>'
        f"{body}{body_changed}{rest}</svg>\n"
    )


def figure(decision: Decision) -> str:
    """Return the picture as parts of a page: legend, cards that wrap, unchanged nodes."""
    drawn = scene(decision)
    cards = [
        f'<svg width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{esc(described(panel))}">{card(panel, drawn, height)}</svg>'
        for panel in drawn.changed[:MOST_CHANGED]
        for height in (card_height(panel),)
    ]
    more = len(drawn.changed) - MOST_CHANGED
    parts = [
        f'<svg class="defs" aria-hidden="true">{DEFS}</svg>',
        bullets((f"{swatch(kind)} {esc(said)}" for kind, said in _legend(decision, drawn)),
                "legend"),
        bullets(cards, "panels"),
        f"<p>and {count(more, 'more changed node')}: see the steps below</p>" if more > 0 else "",
    ]  # fmt: skip
    parts.append('<div class="pools">')
    for name, panels in _by_product(drawn.unchanged[:MOST_UNCHANGED]):
        boxes = []
        for panel in panels:
            width, height, inner = small(panel, drawn)
            boxes.append(f'<svg width="{width}" height="{height}" role="img">{inner}</svg>')
        head = f"<h3>{esc(name)}: {count(len(panels), 'unchanged node')}</h3>"
        parts.append(f"<div>{head}{bullets(boxes, 'rest')}</div>")
    parts.append("</div>")
    more = len(drawn.unchanged) - MOST_UNCHANGED
    if more > 0:
        parts.append(f"<p>and {count(more, 'more unchanged node')}</p>")
    return "".join(parts)


def _legend(decision: Decision, drawn: Scene) -> list[tuple[str, str]]:
    marks = [m for m in _MARKS if m[0] is not Mark.EVICTED or decision.evictions]
    entries = [(f"t{colour}", name) for colour, name in drawn.legend]
    entries += [(str(mark), said) for mark, said in marks] + [("hole", "free")]
    entries.append(("cpu", "thin bar: CPU requested"))
    panels = (*drawn.changed, *drawn.unchanged)
    return entries + ([("shut", "free, but takes no pods")] if any(p.shut for p in panels) else [])


def _by_product(panels: tuple[Panel, ...]) -> list[tuple[str, list[Panel]]]:
    """Group nodes by accelerator, CPU nodes last."""
    groups: dict[str, list[Panel]] = {}
    for panel in panels:
        name = product(panel.node) or ("accelerators" if panel.devices else "no accelerator")
        if not panel.devices:
            name = "no accelerator"
        groups.setdefault(name, []).append(panel)
    return sorted(groups.items(), key=lambda g: (g[0] == "no accelerator", g[0]))


# The file on its own


def _svg_legend(decision: Decision, drawn: Scene, width: int) -> tuple[str, int]:
    parts, x, y = [], _GAP, 10
    for kind, said in _legend(decision, drawn):
        wide = 30 + round(6.6 * len(said)) + 18
        if x + wide > width:
            x, y = _GAP, y + 24
        parts.append(
            f'<g transform="translate({x} {y})">{swatch(kind)}'
            f'<text class="small" x="29" y="13">{esc(said)}</text></g>'
        )
        x += wide
    return "".join(parts), y + 30


def _svg_changed(drawn: Scene, y: int) -> tuple[str, int]:
    parts = []
    panels = drawn.changed[:MOST_CHANGED]
    for start in range(0, len(panels), _COLUMNS):
        row = panels[start : start + _COLUMNS]
        height = max(card_height(p) for p in row)
        for column, panel in enumerate(row):
            x = _GAP + column * (WIDTH + _GAP)
            parts.append(f'<g transform="translate({x} {y})">{card(panel, drawn, height)}</g>')
        y += height + _GAP
    more = len(drawn.changed) - MOST_CHANGED
    if more > 0:
        parts.append(_text(f"and {count(more, 'more changed node')}", y + 10))
        y += 24
    return "".join(parts), y


def _svg_rest(drawn: Scene, y: int, width: int) -> tuple[str, int]:
    parts = []
    for name, panels in _by_product(drawn.unchanged[:MOST_UNCHANGED]):
        parts.append(_text(f"{name}: {count(len(panels), 'unchanged node')}", y + 12))
        x, y, lowest = _GAP, y + 20, 12
        for panel in panels:
            wide, high, inner = small(panel, drawn)
            if x + wide > width - _GAP:
                x, y = _GAP, y + high + 5
            parts.append(f'<g transform="translate({x} {y})">{inner}</g>')
            x, lowest = x + wide + 8, high
        y += lowest + 14
    more = len(drawn.unchanged) - MOST_UNCHANGED
    if more > 0:
        parts.append(_text(f"and {count(more, 'more unchanged node')}", y + 10))
        y += 24
    return "".join(parts), y


def _text(said: str, y: int) -> str:
    return f'<text class="small muted" x="{_GAP}" y="{y}">{esc(said)}</text>'
