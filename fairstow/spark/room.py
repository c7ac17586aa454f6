"""Whether a driver and its first executors fit on the nodes now, all of them together.

Called by the Spark controller for each application that is to be let go, one after the other: what
one takes, the next doesn't find. Judges what a pod asks for and the nodes' own rules (labels,
taints, cordons), as `fairstow.cluster.rules` does for plans; not affinity between pods, spread and
volumes, so that is best effort where applications use them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from fairstow.cluster.model import Node, Shape
from fairstow.cluster.rules import node_refusals

Amounts = Mapping[str, int]
Requests = Iterable[tuple[str, int]]
Demand = tuple[tuple[Shape, int], ...]
"""Shapes, and how many pods of each."""


class Taken(NamedTuple):
    """Room on one node. Attributes: part: which shape of the demand."""

    node: str
    part: int
    pods: int


class Room:
    """What is free on each node, less what was taken.

    Args:
        free: what is left of each resource of a node now, by the node's name; None if unknown.
    """

    def __init__(self, nodes: Iterable[Node], free: Callable[[str], Amounts | None]) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._source = free
        self._free: dict[str, dict[str, int]] = {}
        self._willing: dict[Shape, tuple[str, ...]] = {}

    def take(self, demand: Demand) -> tuple[Taken, ...] | None:
        """Take room for all of these pods, and return where; None where they don't all fit."""
        taken: list[Taken] = []
        for part, (shape, count) in enumerate(demand):
            left = count
            for name in self._places(shape):
                if not left:
                    break
                if number := min(left, _most(shape, self._left(name))):
                    self._shift(name, shape.requests, -number)
                    taken.append(Taken(name, part, number))
                    left -= number
            if left:
                for each in taken:
                    self._shift(each.node, demand[each.part][0].requests, each.pods)
                return None
        return tuple(taken)

    def keep(self, node: str, requests: Requests) -> None:
        """Take what is kept for a pod on a node, whether it is there or not."""
        self._shift(node, requests, -1)

    def ever(self, demand: Demand) -> bool:
        """Whether all of these pods would fit if the nodes were empty."""
        free = {name: node.allocatable for name, node in self._nodes.items()}
        return Room(self._nodes.values(), free.get).take(demand) is not None

    def _places(self, shape: Shape) -> tuple[str, ...]:
        if shape not in self._willing:
            nodes = self._nodes.values()
            found = (n.name for n in nodes if next(node_refusals(shape, n), None) is None)
            self._willing[shape] = tuple(found)
        return self._willing[shape]

    def _left(self, name: str) -> dict[str, int]:
        if name not in self._free:
            self._free[name] = dict(self._source(name) or {})
        return self._free[name]

    def _shift(self, name: str, requests: Requests, number: int) -> None:
        left = self._left(name)
        for resource, amount in requests:
            left[resource] = left.get(resource, 0) + number * amount


def _most(shape: Shape, free: Amounts) -> int:
    """Return how many such pods fit."""
    return min(
        (free.get(name, 0) // amount for name, amount in shape.requests if amount), default=0
    )
