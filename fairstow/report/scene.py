"""What the picture shows, as data: every node's pods before and after, and what changed on it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from fairstow.cluster.model import Node, Pod
from fairstow.cluster.pools import accelerators, is_accelerator, product
from fairstow.packing.model import Decision

CPU = "cpu"


class Mark(StrEnum):
    """What happens to a pod on a node; the value names its class and pattern in the drawing."""

    STAYS = "stays"
    LEAVES = "leaves"
    ARRIVES = "arrives"
    PLACED = "placed"
    EVICTED = "evicted"


@dataclass(frozen=True, slots=True)
class Block:
    """A pod on a node. Attributes: tag: letter of its move, number of its placement, "" or ×."""

    pod: Pod
    mark: Mark
    tag: str
    other: str
    """The node at the other end of a move, else ""."""

    def amount(self, resource: str) -> int:
        """What the pod asks for of a resource."""
        return dict(self.pod.shape.requests).get(resource, 0)

    @property
    def devices(self) -> int:
        """Accelerators the pod holds, of whatever kind."""
        return sum(n for r, n in self.pod.shape.requests if is_accelerator(r))


@dataclass(frozen=True)
class Panel:
    """One node: the pods on it before and after; staying pods first, in the same order."""

    node: Node
    before: tuple[Block, ...]
    after: tuple[Block, ...]

    @cached_property
    def devices(self) -> int:
        """Accelerators on the node, 0 for a CPU node."""
        return sum(accelerators(self.node).values())

    @cached_property
    def changes(self) -> tuple[Block, ...]:
        """What leaves, then what comes."""
        return tuple(
            b for row in (self.before, self.after) for b in row if b.mark is not Mark.STAYS
        )

    def free(self, blocks: Iterable[Block]) -> int:
        """Free accelerators of a row, or milli-CPU on a CPU node."""
        if self.devices:
            return max(self.devices - sum(b.devices for b in blocks), 0)
        held = sum(b.amount(CPU) for b in blocks)
        return max(self.node.allocatable.get(CPU, 0) - held, 0)

    @property
    def shut(self) -> str:
        """Why the node takes no pods, "" if it does."""
        return self.node.closed.removeprefix("is ") or (
            "cordoned" if self.node.unschedulable else ""
        )


@dataclass(frozen=True)
class Scene:
    """All nodes, changed ones first, and the colours' meaning."""

    changed: tuple[Panel, ...]
    unchanged: tuple[Panel, ...]
    colours: Mapping[int, int]
    legend: tuple[tuple[int, str], ...]

    def colour(self, pod: Pod) -> int:
        """The index of a pod's colour."""
        return self.colours.get(pod.shape.priority, 0)


COLOURS = 6


def scene(decision: Decision) -> Scene:
    """Return what the picture of a decision shows."""
    snapshot = decision.request.snapshot
    leaving: dict[str, tuple[Mark, str, str]] = {}
    arriving: dict[str, list[Block]] = {}
    for number, move in enumerate(decision.moves):
        tag = letters(number)
        leaving[move.pod.uid] = (Mark.LEAVES, tag, move.target)
        block = Block(move.pod, Mark.ARRIVES, tag, move.source)
        arriving.setdefault(move.target, []).append(block)
    for eviction in decision.evictions:
        leaving[eviction.pod.uid] = (Mark.EVICTED, "×", "")
    for number, placement in enumerate(decision.placements, 1):
        block = Block(placement.pod, Mark.PLACED, str(number), "")
        arriving.setdefault(placement.node, []).append(block)
    panels = []
    for node in snapshot.nodes:
        here = [
            Block(p, *leaving.get(p.uid, (Mark.STAYS, "", ""))) for p in snapshot.pods_on[node.name]
        ]
        stays = sorted((b for b in here if b.mark is Mark.STAYS), key=_order)
        gone = sorted((b for b in here if b.mark is not Mark.STAYS), key=_order)
        comes = sorted(arriving.get(node.name, ()), key=_order)
        panels.append(Panel(node, (*stays, *gone), (*stays, *comes)))
    panels.sort(key=lambda p: (product(p.node) == "" and not p.devices, product(p.node)))
    colours, legend = _colours(decision)
    return Scene(
        tuple(p for p in panels if p.changes),
        tuple(p for p in panels if not p.changes),
        colours,
        legend,
    )


def letters(number: int) -> str:
    """Return A … Z, AA, AB … for 0, 1 …, as columns of a spreadsheet."""
    said = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        said = chr(ord("A") + digit) + said
    return said


def _order(block: Block) -> tuple[int, int, int, str]:
    return (-block.pod.shape.priority, -block.devices, -block.amount(CPU), block.pod.ref)


def _colours(decision: Decision) -> tuple[dict[int, int], tuple[tuple[int, str], ...]]:
    """Spread the tiers over the palette; where there are too many, neighbours share a colour."""
    snapshot = decision.request.snapshot
    tiers = sorted({p.shape.priority for p in snapshot.pods}, reverse=True)
    steps = max(len(tiers) - 1, 1)
    colours = {
        t: (rank * COLOURS // len(tiers) if len(tiers) > COLOURS
            else round(rank * (COLOURS - 1) / steps))
        for rank, t in enumerate(tiers)
    }  # fmt: skip
    shared: dict[int, list[int]] = {}
    for tier, colour in colours.items():
        shared.setdefault(colour, []).append(tier)
    legend = []
    for colour, members in sorted(shared.items()):
        first, last = snapshot.priority_name(members[0]), snapshot.priority_name(members[-1])
        legend.append((colour, first if len(members) == 1 else f"{first} … {last}"))
    return colours, tuple(legend)
