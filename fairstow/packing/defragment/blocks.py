"""What a free block is, in integers: what it takes of every node, and counts under a layout.

Derivation in the package's docstring. `room` is always room by resource index as `Incumbent` keeps
it, in units of the problem, which `units.refine` has made fine enough for blocks.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairstow.cluster.model import Node
from fairstow.cluster.pools import accelerators, product
from fairstow.cluster.quantity import CPU
from fairstow.cluster.snapshot import Snapshot
from fairstow.packing.incumbent import Incumbent
from fairstow.packing.problem import Problem

MEMORY = "memory"
_SLICES = (
    "nvidia.com/gpu.shared",
    "nvidia.com/mig-",
    "aws.amazon.com/neuroncore",
    "gpu.intel.com/memory",
    "gpu.intel.com/millicores",
    "gpu.intel.com/tiles",
)
"""Accelerator resources that count parts of a device, or no devices at all."""

_STEP = {CPU: 100, MEMORY: 64 << 20}
"""What needs per device are rounded down to: milli-CPU, bytes."""

_SHARE = (3, 4)
"""Of a node's CPU and memory per device, the most that a block asks for."""


@dataclass(frozen=True, order=True, slots=True)
class BlockSize:
    """Blocks of so many devices of one accelerator resource."""

    size: int
    resource: str


@dataclass(frozen=True)
class Blocks:
    """The blocks there can be.

    Attributes:
        sizes: the objective's levels, most important first.
        takes: by node and index of the size, what a block takes, as (resource index, amount).
        departures: by node and index of the size, for one block, two, … the fewest pods that leave
            the node for them, as it stands now; ends where no departures are enough.
        free: by index of the size, free devices of each product and its nodes. A node over capacity
            counts as 0: it takes nothing, so what others have free can only fall.
    """

    sizes: tuple[BlockSize, ...]
    takes: tuple[tuple[tuple[tuple[int, int], ...], ...], ...]
    departures: tuple[tuple[tuple[int, ...], ...], ...]
    free: tuple[tuple[tuple[int, tuple[int, ...]], ...], ...]

    def count(self, node: int, level: int, room: Sequence[int]) -> int:
        """Free blocks of a size on a node with that room."""
        most = len(self.departures[node][level])
        return max(0, min([most, *(room[r] // amount for r, amount in self.takes[node][level])]))

    def counts(self, rooms: Sequence[Sequence[int]]) -> tuple[int, ...]:
        """Free blocks by size over all nodes."""
        return tuple(
            sum(self.count(n, level, room) for n, room in enumerate(rooms))
            for level in range(len(self.sizes))
        )

    def most(self, level: int) -> int:
        """No product has more blocks than devices free, nor than its nodes can have."""
        return sum(
            min(
                free // self.sizes[level].size,
                sum(len(self.departures[n][level]) for n in nodes),
            )
            for free, nodes in self.free[level]
        )


def whole_devices(snapshot: Snapshot) -> tuple[str, ...]:
    """Return the accelerator resources of a cluster that count whole devices, by name."""
    found = {r for node in snapshot.nodes for r in accelerators(node)}
    return tuple(sorted(r for r in found if not r.startswith(_SLICES)))


def sizes(snapshot: Snapshot, wanted: Sequence[int]) -> tuple[BlockSize, ...]:
    """Return the sizes to free, most important first.

    Args:
        snapshot: the cluster.
        wanted: sizes asked for; without any, the powers of two from 2 to the largest node.

    Raises:
        ValueError: a size doesn't divide the next larger one.
    """
    if not divide(wanted):
        raise ValueError(f"sizes of blocks that don't divide one another: {wanted}")
    found = []
    for resource in whole_devices(snapshot):
        most = max(n.allocatable.get(resource, 0) for n in snapshot.nodes)
        powers = (2**i for i in range(1, most.bit_length()))
        found += [BlockSize(s, resource) for s in (wanted or powers) if s <= most]
    return tuple(sorted(set(found), key=lambda b: (-b.size, b.resource)))


def divide(wanted: Sequence[int]) -> bool:
    """Whether each size divides the next larger one, as the reduction to placing asks."""
    return all(large % small == 0 for small, large in itertools.pairwise(sorted(wanted)))


def needs(snapshot: Snapshot, resource: str) -> Mapping[str, int]:
    """Return what pods that ask for an accelerator have per device on average, rounded down."""
    devices, total = 0, {CPU: 0, MEMORY: 0}
    for pod in snapshot.pods:
        requests = dict(pod.shape.requests)
        if held := requests.get(resource, 0):
            devices += held
            for name in total:
                total[name] += requests.get(name, 0)
    return {name: amount // devices if devices else 0 for name, amount in total.items()}


def per_block(node: Node, block: BlockSize, average: Mapping[str, int]) -> dict[str, int]:
    """Return what a block takes of a node, by resource name."""
    share, whole = _SHARE
    devices = node.allocatable[block.resource] * whole
    wanted = {block.resource: block.size, "pods": 1}
    for name, need in average.items():
        most = min(need, node.allocatable.get(name, 0) * share // devices)
        if rounded := most - most % _STEP[name]:
            wanted[name] = block.size * rounded
    return wanted


Takes = tuple[tuple[dict[str, int], ...], ...]
"""By node and index of the size, what a block takes by resource name; {} where there are none."""


def takes(snapshot: Snapshot, wanted: Sequence[BlockSize]) -> Takes:
    """Return what blocks of some sizes take of each node."""
    averages = {b.resource: needs(snapshot, b.resource) for b in wanted}
    return tuple(
        tuple(
            per_block(node, b, averages[b.resource])
            if node.allocatable.get(b.resource, 0) and not (node.closed or node.unschedulable)
            else {}
            for b in wanted
        )
        for node in snapshot.nodes
    )


def blocks(
    snapshot: Snapshot,
    problem: Problem,
    wanted: tuple[BlockSize, ...],
    taken: Takes,
    units: Mapping[str, int],
) -> Blocks:
    """Return the blocks of a problem.

    Args:
        snapshot: the cluster.
        problem: its problem.
        wanted: sizes, most important first.
        taken: what they take.
        units: how much of a resource is one in the problem.
    """
    index = {name: r for r, name in enumerate(problem.resources)}
    now, leavers = Incumbent(problem, {}).room, _leavers(problem)
    scaled = tuple(
        tuple(
            tuple((index[name], amount // units[name]) for name, amount in block.items())
            for block in of_node
        )
        for of_node in taken
    )
    return Blocks(
        sizes=wanted,
        takes=scaled,
        departures=tuple(
            tuple(_departures(problem, leavers[n], now[n], block) for block in of_node)
            for n, of_node in enumerate(scaled)
        ),
        free=tuple(_free(snapshot, b.resource) for b in wanted),
    )


def _leavers(problem: Problem) -> list[list[int]]:
    """Return by node the groups of the pods that may leave it, each as often as it has pods."""
    found: list[list[int]] = [[] for _ in problem.nodes]
    for g, group in enumerate(problem.groups):
        for node, pods in group.running.items():
            if group.targets - {node}:
                found[node] += [g] * pods
    return found


def _departures(
    problem: Problem, leavers: Sequence[int], now: Sequence[int], block: Sequence[tuple[int, int]]
) -> tuple[int, ...]:
    """Return the fewest departures for one block, two, …, until all aren't enough."""
    if not block:
        return ()
    held = {
        r: sorted((problem.groups[g].requests.get(r, 0) for g in leavers), reverse=True)
        for r, _ in block
    }
    found: list[int] = []
    while True:
        pods = [_fewest(held[r], amount * (len(found) + 1) - now[r]) for r, amount in block]
        if any(p is None for p in pods):
            return tuple(found)
        found.append(max(p for p in pods if p is not None))


def _fewest(held: Sequence[int], missing: int) -> int | None:
    """Return how many of these, largest first, make up for what is missing; None if all don't."""
    if missing <= 0:
        return 0
    for pods, gone in enumerate(itertools.accumulate(held), 1):
        if gone >= missing:
            return pods
    return None


def _free(snapshot: Snapshot, resource: str) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """Return (free devices, nodes) by product."""
    pools: dict[str, list[int]] = {}
    for index, node in enumerate(snapshot.nodes):
        if node.allocatable.get(resource, 0):
            pools.setdefault(product(node), []).append(index)
    return tuple(
        (
            sum(max(snapshot.free(snapshot.nodes[n]).get(resource, 0), 0) for n in nodes),
            tuple(nodes),
        )
        for _, nodes in sorted(pools.items())
    )
