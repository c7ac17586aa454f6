"""The drawing of one node, in SVG.

A changed node is a card: accelerators before and after, a cell each, and CPU as a bar below; a
node without accelerators has the bar alone. A line per change says who it is. An unchanged node
is a row of small cells. Pods keep their place from before to after, so the difference is at the
right end.
"""

from collections.abc import Iterable, Sequence

from fairstow.cluster.quantity import render
from fairstow.report.markup import esc, shorten
from fairstow.report.scene import CPU, Block, Mark, Panel, Scene

WIDTH = 258
_PAD = 11
_LABEL = 46
_INNER = WIDTH - 2 * _PAD - _LABEL
_CELL = 24
_BAR = 7
_LINE = 19
_HEAD = 30
_SMALL_CELL = 9
_CHAR = 6.7  # of the widest common system font at 11 px, so that names never overlap

DEFS = (
    '<defs><pattern id="fs-leaves" width="7" height="7" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><path class="cut" d="M1.5 0v7"/></pattern>'
    '<pattern id="fs-arrives" width="7" height="7" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(-45)"><path class="cut" d="M1.5 0v7"/></pattern>'
    '<pattern id="fs-evicted" width="7" height="7" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><path class="cut" d="M1.5 0v7M0 1.5h7"/></pattern>'
    '<pattern id="fs-shut" width="5" height="5" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><path class="shade" d="M1 0v5"/></pattern></defs>'
)


def card_height(panel: Panel) -> int:
    """Height of a changed node's card."""
    return _HEAD + 2 * _row_height(panel) + 8 + _LINE * len(panel.changes) + 8


def card(panel: Panel, scene: Scene, height: int) -> str:
    """Return a changed node's card, its top left corner at 0, 0."""
    row = _row_height(panel)
    parts = [
        f'<rect class="panel" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="7"/>',
        _head(panel),
        _row("before", panel, panel.before, scene, _HEAD),
        _row("after", panel, panel.after, scene, _HEAD + row),
    ]
    top = _HEAD + 2 * row + 8
    for index, block in enumerate(panel.changes):
        parts.append(_line(block, top + index * _LINE))
    return "".join(parts)


def small(panel: Panel, scene: Scene) -> tuple[int, int, str]:
    """Return an unchanged node as (width, height, drawing)."""
    title = f"<title>{esc(summary(panel))}</title>"
    bar = 4
    if not panel.devices:
        width = 44
        held = _bar(panel, panel.before, scene, 1, 1, width - 2, 10, titles=False)
        return width, 12, title + held
    cell = min(_SMALL_CELL, 160 / panel.devices)
    width = round(cell * panel.devices) + 2
    row = _cells(panel, panel.before, scene, 1, 1, cell, 10, gap=1)
    return (
        width,
        17,
        title + row + _bar(panel, panel.before, scene, 1, 12.5, width - 2, bar, titles=False),
    )


def summary(panel: Panel) -> str:
    """Say what a node has and what is free on it."""
    node, said = panel.node, [panel.node.name]
    if panel.devices:
        said.append(f"{panel.free(panel.before)} of {panel.devices} accelerators free")
    for resource in (CPU, "memory"):
        total = node.allocatable.get(resource, 0)
        free = max(total - sum(b.amount(resource) for b in panel.before), 0)
        said.append(f"{render(resource, free)} of {render(resource, total)} {resource} free")
    if panel.shut:
        said.append(panel.shut)
    return ", ".join(said)


def described(panel: Panel) -> str:
    """Say what happens on a changed node, for those who can't see the drawing."""
    return f"{panel.node.name}: " + "; ".join(_told(b) for b in panel.changes)


def swatch(kind: str) -> str:
    """Return a legend's sample: `t0` … for a tier, or a mark, or `hole`."""
    inner = '<rect class="{}" x="1.5" y="1.5" width="19" height="15" rx="3"/>'
    if kind in ("hole", "shut") or kind.startswith("t"):
        drawn = inner.format(kind)
    elif kind == "cpu":
        drawn = (
            '<rect class="t2" x="1.5" y="6" width="12" height="7"/>'
            '<rect class="bar" x="1.5" y="6" width="19" height="7" rx="1.5"/>'
        )
    elif kind == Mark.PLACED:
        drawn = inner.format("t1") + inner.format("new")
    else:
        pattern = f'<rect fill="url(#fs-{kind})" x="1.5" y="1.5" width="19" height="15" rx="3"/>'
        drawn = inner.format("t1") + pattern
    return f'<svg width="22" height="18" aria-hidden="true">{drawn}</svg>'


def _row_height(panel: Panel) -> int:
    return _CELL + _BAR + 9 if panel.devices else _CELL + 6


def _head(panel: Panel) -> str:
    now, then = panel.free(panel.before), panel.free(panel.after)
    unit = "" if panel.devices else " cpu"
    said = [str(n) if panel.devices else render(CPU, n) for n in (now, then)]
    free = f"{said[0]} → {said[1]}{unit} free" if now != then else f"{said[0]}{unit} free"
    if panel.shut:
        free = f"{panel.shut}, {free}"
    name = shorten(panel.node.name, max(int((WIDTH - 3 * _PAD - _CHAR * len(free)) / 8.2), 8))
    return (
        f'<text class="name" x="{_PAD}" y="20">{esc(name)}'
        f"<title>{esc(summary(panel))}</title></text>"
        f'<text class="small muted" x="{WIDTH - _PAD}" y="20" text-anchor="end">{esc(free)}</text>'
    )


def _row(label: str, panel: Panel, blocks: Sequence[Block], scene: Scene, top: float) -> str:
    left = _PAD + _LABEL
    said = f'<text class="small muted" x="{_PAD}" y="{top + 16}">{label}</text>'
    if not panel.devices:
        return said + _bar(panel, blocks, scene, left, top, _INNER, _CELL, titles=True)
    cell = min(_INNER / 8, _INNER / panel.devices)
    wide = cell * panel.devices
    return (
        said
        + _cells(panel, blocks, scene, left, top, cell, _CELL, gap=2)
        + _bar(panel, blocks, scene, left, top + _CELL + 2, wide, _BAR, titles=True)
    )


def _cells(
    panel: Panel,
    blocks: Iterable[Block],
    scene: Scene,
    left: float,
    top: float,
    cell: float,
    height: float,
    *,
    gap: float,
) -> str:
    """Draw accelerators: a block for each pod that holds some, a hole for each that is free."""
    held = [b for b in blocks if b.devices]
    # More than there are (over capacity): squeezed into the same width.
    cell *= min(1, panel.devices / max(sum(b.devices for b in held), 1))
    parts, x = [], left
    for block in held:
        box = (x, top, cell * block.devices - gap, height)
        tags = gap > 1
        parts.append(_block(block, scene, box, tag=tags))
        if tags and block.devices > 1:
            ticks = "".join(
                f"M{_f(x + cell * i - gap / 2)} {_f(top + 3)}v{_f(height - 6)}"
                for i in range(1, block.devices)
            )
            if block.mark is Mark.STAYS:
                parts.append(f'<path class="tick" d="{ticks}"/>')
        x += cell * block.devices
    kind = "shut" if panel.shut else "hole"
    for _ in range(panel.devices - sum(b.devices for b in held)):
        parts.append(_rect(kind, (x + 0.5, top + 0.5, cell - gap - 1, height - 1)))
        x += cell
    return "".join(parts)


def _bar(
    panel: Panel,
    blocks: Iterable[Block],
    scene: Scene,
    left: float,
    top: float,
    width: float,
    height: float,
    *,
    titles: bool,
) -> str:
    """Draw CPU: staying pods together by colour, the others one by one."""
    blocks = [b for b in blocks if b.amount(CPU)]
    total = max(panel.node.allocatable.get(CPU, 0), sum(b.amount(CPU) for b in blocks), 1)
    by_colour: dict[int, list[Block]] = {}
    for block in blocks:
        if block.mark is Mark.STAYS:
            by_colour.setdefault(scene.colour(block.pod), []).append(block)
    parts, x = [], left
    names = dict(scene.legend)
    for colour, group in sorted(by_colour.items()):
        amount = sum(b.amount(CPU) for b in group)
        wide = width * amount / total
        title = ""
        if titles:
            pods = f"{len(group)} pod{'' if len(group) == 1 else 's'}"
            title = f"{names[colour]}: {pods}, {render(CPU, amount)} cpu"
        parts.append(_rect(f"t{colour}", (x, top, wide, height), title))
        x += wide
    for block in blocks:
        if block.mark is not Mark.STAYS:
            wide = width * block.amount(CPU) / total
            parts.append(_block(block, scene, (x, top, wide, height), tag=height >= 14))
            x += wide
    parts.append(_rect("bar", (left, top, width, height), radius=1.5))
    return "".join(parts)


Box = tuple[float, float, float, float]


def _block(block: Block, scene: Scene, box: Box, *, tag: bool) -> str:
    x, y, width, height = box
    asked = ", ".join(
        f"{render(r, n)} {r}" for r, n in sorted(block.pod.shape.requests, key=_device_first)
        if r != "pods"
    )  # fmt: skip
    parts = [_rect(f"t{scene.colour(block.pod)}", box, f"{_told(block)} ({asked})")]
    if block.mark is Mark.STAYS:
        return parts[0]
    if block.mark is Mark.PLACED:
        if tag:
            parts.append(_rect("new", (x + 1.25, y + 1.25, width - 2.5, height - 2.5)))
    else:
        pattern = f'fill="url(#fs-{block.mark})" '
        parts.append(f"<rect {pattern}{_place(box, 3)}/>")
    chip = 5 + 8 * len(block.tag)
    if tag and width >= chip - 2:
        left = x + (width - chip) / 2
        middle = y + height / 2
        parts.append(_rect("chip", (left, middle - 6.5, chip, 13)))
        parts.append(
            f'<text class="tag" x="{_f(x + width / 2)}" y="{_f(middle + 4)}">{block.tag}</text>'
        )
    # The overlays would hide the title of the block beneath.
    title = f"<title>{esc(f'{_told(block)} ({asked})')}</title>"
    return f"<g>{title}{''.join(parts)}</g>"


def _line(block: Block, top: float) -> str:
    """One change in words: its tag, who, and where to or from."""
    chip = 6 + 8 * len(block.tag)
    left = _PAD + chip + 6
    where = {
        Mark.LEAVES: f"→ {block.other}",
        Mark.ARRIVES: f"← {block.other}",
        Mark.EVICTED: "evicted",
        Mark.PLACED: "placed",
    }[block.mark]
    where = shorten(where, 17)
    most = int((WIDTH - _PAD - left) / _CHAR) - len(where) - 1
    return (
        _rect("chip", (_PAD, top + 1, chip, 14))
        + f'<text class="tag" x="{_f(_PAD + chip / 2)}" y="{_f(top + 12)}">{block.tag}</text>'
        f'<text class="small" x="{_f(left)}" y="{_f(top + 12)}">'
        f"{esc(shorten(block.pod.name, most))}<title>{esc(_told(block))}</title></text>"
        f'<text class="small muted" x="{WIDTH - _PAD}" y="{_f(top + 12)}" text-anchor="end">'
        f"{esc(where)}</text>"
    )


def _told(block: Block) -> str:
    pod = block.pod
    happens = {
        Mark.STAYS: "",
        Mark.LEAVES: f" moves to {block.other} (move {block.tag})",
        Mark.ARRIVES: f" comes from {block.other} (move {block.tag})",
        Mark.EVICTED: " is evicted for good",
        Mark.PLACED: f" waited and gets this node (placement {block.tag})",
    }[block.mark]
    state = " (terminating)" if pod.terminating else " (nominated)" if not pod.node else ""
    return pod.ref + happens + (state if block.mark is Mark.STAYS else "")


def _device_first(request: tuple[str, int]) -> tuple[bool, str]:
    return "/" not in request[0], request[0]


def _rect(kind: str, box: Box, title: str = "", radius: float = 2.5) -> str:
    place = _place(box, radius)
    if title:
        return f'<rect class="{kind}" {place}><title>{esc(title)}</title></rect>'
    return f'<rect class="{kind}" {place}/>'


def _place(box: Box, radius: float) -> str:
    x, y, width, height = box
    width, height = max(width, 0), max(height, 0)
    rounded = f' rx="{_f(min(radius, width / 2))}"' if width > 3 else ""
    return f'x="{_f(x)}" y="{_f(y)}" width="{_f(width)}" height="{_f(height)}"{rounded}'


def _f(number: float) -> str:
    """Write a coordinate shortly."""
    return f"{number:.1f}".removesuffix(".0")
