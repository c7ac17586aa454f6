"""Figures that the texts open with: what waits and what is free, by accelerator."""

from collections import Counter
from dataclasses import dataclass

from fairstow.cluster.model import Node
from fairstow.cluster.pools import is_accelerator
from fairstow.cluster.quantity import render
from fairstow.cluster.snapshot import Snapshot


def accelerators(snapshot: Snapshot) -> tuple[str, ...]:
    """Return the accelerator resources that nodes offer, by name."""
    found = {r for node in snapshot.nodes for r, amount in node.allocatable.items() if amount}
    return tuple(sorted(filter(is_accelerator, found)))


def open_for_pods(node: Node) -> bool:
    """Whether a node takes any ordinary pod at all."""
    return not (node.closed or node.unschedulable)


@dataclass(frozen=True)
class Room:
    """One resource over nodes. Attributes: free: on nodes that take pods; largest: in one node."""

    resource: str
    total: int
    free: int
    largest: int

    def __str__(self) -> str:
        free, total = (render(self.resource, n) for n in (self.free, self.total))
        return f"{free} of {total} {self.resource}"


def room(snapshot: Snapshot, nodes: tuple[Node, ...], resource: str) -> Room:
    """Return what there is of a resource on some nodes."""
    free = [max(snapshot.free(n).get(resource, 0), 0) for n in nodes if open_for_pods(n)]
    total = sum(n.allocatable.get(resource, 0) for n in nodes)
    return Room(resource, total, sum(free), max(free, default=0))


def waiting(snapshot: Snapshot) -> Counter[int]:
    """Count pending pods by priority."""
    return Counter(pod.shape.priority for pod in snapshot.pending)
