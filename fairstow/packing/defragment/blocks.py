"""What a free block is, in integers: the rungs of every node, and counts under a layout.

Derivation in the package's docstring. `room` is always room by resource index as `Incumbent` keeps
it, in units of the problem.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fairstow.cluster.model import Node
from fairstow.cluster.pools import accelerators, product
from fairstow.cluster.quantity import CPU
from fairstow.cluster.snapshot import Snapshot
from fairstow.packing.formulate import amounts
from fairstow.packing.incumbent import Incumbent
from fairstow.packing.problem import Problem, Roster

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

_SHARE = (3, 4)
"""Of a node's CPU and memory per device, the most that a block asks for."""


@dataclass(frozen=True, order=True, slots=True)
class BlockSize:
    """Blocks of so many devices of one accelerator resource."""

    size: int
    resource: str


@dataclass(frozen=True, slots=True)
class Rung:
    """What one more block on a node takes.

    Attributes:
        room: least room by resource index, for this block and those below it.
        departures: fewest pods that leave the node for it, as it stands now.
    """

    room: tuple[tuple[int, int], ...]
    departures: int


@dataclass(frozen=True)
class Blocks:
    """The blocks there can be.

    Attributes:
        sizes: the objective's levels, most important first.
        rungs: by node and index of the size, from the first block up, as far as one can get.
        free: by index of the size, free devices of each product and its nodes. A node over capacity
            counts as 0: it takes nothing, so what others have free can only fall.
    """

    sizes: tuple[BlockSize, ...]
    rungs: tuple[tuple[tuple[Rung, ...], ...], ...]
    free: tuple[tuple[tuple[int, tuple[int, ...]], ...], ...]

    def count(self, node: int, level: int, room: Sequence[int]) -> int:
        """Free blocks of a size on a node with that room."""
        found = 0
        for rung in self.rungs[node][level]:
            if any(room[r] < least for r, least in rung.room):
                break
            found += 1
        return found

    def counts(self, rooms: Sequence[Sequence[int]]) -> tuple[int, ...]:
        """Free blocks by size over all nodes."""
        return tuple(
            sum(self.count(n, level, room) for n, room in enumerate(rooms))
            for level in range(len(self.sizes))
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
    """
    found = []
    for resource in whole_devices(snapshot):
        most = max(n.allocatable.get(resource, 0) for n in snapshot.nodes)
        powers = (2**i for i in range(1, most.bit_length()))
        found += [BlockSize(s, resource) for s in (wanted or powers) if s <= most]
    return tuple(sorted(set(found), key=lambda b: (-b.size, b.resource)))


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
    wanted = {
        name: block.size * min(need, node.allocatable.get(name, 0) * share // devices)
        for name, need in average.items()
    }
    return {block.resource: block.size, "pods": 1} | {n: a for n, a in wanted.items() if a}


def blocks(
    snapshot: Snapshot, problem: Problem, roster: Roster, wanted: Sequence[int] = ()
) -> Blocks:
    """Return the blocks of a problem; `wanted` as in `sizes`."""
    found = sizes(snapshot, wanted)
    averages = {b.resource: needs(snapshot, b.resource) for b in found}
    ladders = _Ladders(snapshot, problem, roster)
    return Blocks(
        sizes=found,
        rungs=tuple(
            tuple(tuple(ladders.climb(n, b, averages[b.resource])) for b in found)
            for n in range(len(problem.nodes))
        ),
        free=tuple(_free(snapshot, b.resource) for b in found),
    )


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


class _Ladders:
    """Builds rungs; holds what all nodes need."""

    def __init__(self, snapshot: Snapshot, problem: Problem, roster: Roster) -> None:
        self._snapshot, self._problem = snapshot, problem
        self._now = Incumbent(problem, {}).room
        self._index = {name: r for r, name in enumerate(problem.resources)}
        self._units = [1] * len(problem.resources)
        self._leavers: list[list[int]] = [[] for _ in problem.nodes]
        for g, (group, running) in enumerate(zip(problem.groups, roster.running, strict=True)):
            for node, pods in running.items():
                wanted = amounts(pods[0])
                for r, request in group.requests.items():
                    self._units[r] = wanted[problem.resources[r]] // request
                if group.targets - {node}:
                    self._leavers[node] += [g] * len(pods)

    def climb(self, index: int, block: BlockSize, average: Mapping[str, int]) -> Iterator[Rung]:
        """Yield the rungs of a node for one size."""
        node = self._snapshot.nodes[index]
        if node.closed or node.unschedulable or not node.allocatable.get(block.resource, 0):
            return
        wanted, free = per_block(node, block, average), self._snapshot.free(node)
        for k in range(1, node.allocatable[block.resource] // block.size + 1):
            room: list[tuple[int, int]] = []
            for name, amount in wanted.items():
                r = self._index.get(name)
                if r is None:
                    if free.get(name, 0) < k * amount:
                        return  # nobody who may leave holds any of it
                    continue
                # Rounding to units cut the same off the room, whoever stands there.
                cut = free.get(name, 0) - self._units[r] * self._now[index][r]
                room.append((r, -((cut - k * amount) // self._units[r])))
            departures = self._departures(index, room)
            if departures is None:
                return
            yield Rung(tuple(room), departures)

    def _departures(self, node: int, room: Sequence[tuple[int, int]]) -> int | None:
        """Return the fewest pods that leave a node for so much room, None if all aren't enough."""
        most = 0
        for r, least in room:
            missing = least - self._now[node][r]
            if missing <= 0:
                continue
            groups = self._problem.groups
            held = sorted((groups[g].requests.get(r, 0) for g in self._leavers[node]), reverse=True)
            gone = 0
            for pods, amount in enumerate(held, 1):
                gone += amount
                if gone >= missing:
                    most = max(most, pods)
                    break
            else:
                return None
        return most
