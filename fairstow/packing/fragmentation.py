"""How much of a node's free GPU its pool's typical pods can't use, and how a placement changes it.

Source: "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient
Descent" (FGD, ATC'23), sections 3 and 4. The scoring plugin asks for `cost` before and after a
placement, a GpuPool's status for `permille`, the openb benchmark for all of it.

**Rooms and demands.** A *room* R is what is free on a node: CPU c, memory m, and r_1 … r_G milli of
each GPU (1000 is an untouched GPU). A *demand* M asks for CPU, memory and n GPUs with s milli of
each: n = 1 and s < 1000 for a shared GPU, s = 1000 for whole ones. M fits R if its CPU and memory
do and at least n GPUs have r_g ≥ s.

**Measure.** For one demand, the part of R's free GPU that it can't use is

    F(R, M) = Σ_g r_g               if M doesn't fit R,
            = Σ_{g: r_g < s} r_g    if it does.

For a pool's *typical pods*, demands M with popularity p_M, the node's fragmentation is the
expectation F(R) = Σ_M p_M F(R, M), and a pool's is the sum over its nodes. FGD puts each pod where
the *gradient* F(R − pod) − F(R) is least (on a shared GPU: on the GPU where it is).

**Exact numbers.** Popularities are counts w_M with sum W, so the functions return W·F, an integer
("weighted milli-GPUs"); W is `Typical.total`. No float takes part: equal rooms give equal scores
everywhere.

**Invariants** (each one a property test):
  1. 0 ≤ F(R) ≤ Σ_g r_g. A full node has F = 0, since nothing is free.
  2. F(R) = 0 where every typical pod fits and every free GPU has what each of them wants of one.
  3. F depends on the r_g as a multiset, not on which GPU is which.
  4. Less CPU or memory with the same GPUs never lowers F.
  5. A demand without GPU uses none: it adds p_M Σ_g r_g whatever the room. Between two placements
     of one pod that sum falls alike, so such pods never change which is better; `typical` leaves
     them out, and 0 then means "nothing is wasted". (FGD's own figures keep them in.)

**What the measure misses.** A node whose CPU still fits one more pod of every kind has F = 0, also
if that CPU feeds only one of its five free GPUs. With κ = Σ w·cpu / Σ w·n·s, the typical pods' CPU
per milli-GPU, the milli-GPUs that a room's CPU can't feed are

    S(R) = max(0, Σ_g r_g − c / κ),

the *stranded* part. `cost` is W·S + W·F/10: on the openb trace the two together leave less GPU
unallocated than F alone (docs/benchmarks/fragmentation.md). F keeps a tenth, enough to keep nodes
whole for pods of many GPUs where S is equal.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from fairstow.cluster.quantity import CPU
from fairstow.cluster.rules import Rules

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fairstow.cluster.model import Node, Pod
    from fairstow.cluster.snapshot import Snapshot

GPU = 1000
"""Milli of one GPU."""
POPULAR = 95
"""Typical pods are the most frequent demands that make up this share of all pods, in % (FGD)."""
_F_DIVISOR = 10


@dataclass(frozen=True, order=True)
class Demand:
    """What a kind of pod asks for.

    Attributes:
        cpu: milli-CPU.
        share: milli of each GPU, 1 to 1000; below 1000 only with one GPU. 0 without GPU.
        gpus: how many GPUs.
        memory: bytes; 0 leaves memory out of the measure, as FGD does.
        kinds: the kinds of node it may run on (see `Room.kind`), sorted; None is any.
    """

    cpu: int
    share: int
    gpus: int
    memory: int = 0
    kinds: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse what no GPU device plugin can give.

        Raises:
            ValueError: shares of more than one GPU, or a share outside 1 to 1000.
        """
        if self.gpus and not (0 < self.share <= GPU and (self.gpus == 1 or self.share == GPU)):
            raise ValueError(f"{self.gpus} GPUs with {self.share} milli of each can't be asked for")


@dataclass(frozen=True)
class Room:
    """What is free on a node: milli-CPU, bytes, and milli of each GPU."""

    cpu: int
    memory: int
    gpus: tuple[int, ...]
    kind: str = ""

    @property
    def free(self) -> int:
        """Free milli-GPUs."""
        return sum(self.gpus)


@dataclass(frozen=True)
class Typical:
    """Typical pods: demands with their counts, most popular first."""

    demands: tuple[tuple[Demand, int], ...]

    @cached_property
    def total(self) -> int:
        """W, the sum of the counts."""
        return sum(count for _, count in self.demands)

    @cached_property
    def cpu(self) -> int:
        """Milli-CPU that the typical pods with GPUs ask for together."""
        return sum(d.cpu * count for d, count in self.demands if d.gpus)

    @cached_property
    def milli(self) -> int:
        """Milli-GPUs that the typical pods ask for together."""
        return sum(d.share * d.gpus * count for d, count in self.demands)


def typical(counts: Mapping[Demand, int], *, without_gpu: bool = False) -> Typical:
    """Return the most popular demands that make up 95 % of all pods.

    Args:
        counts: pods per demand.
        without_gpu: keep demands without GPU, as FGD's published figures do.
    """
    kept = {d: n for d, n in counts.items() if n > 0 and (d.gpus or without_gpu)}
    wanted, popular, seen = sum(kept.values()) * POPULAR, [], 0
    for demand, count in sorted(kept.items(), key=_popularity, reverse=True):
        if seen * 100 >= wanted:
            break
        popular.append((demand, count))
        seen += count
    return Typical(tuple(popular))


def _popularity(item: tuple[Demand, int]) -> tuple[int, int, int, int, int, tuple[str, ...]]:
    """Sort key: by count, then by size, as FGD breaks ties."""
    demand, count = item
    return count, demand.cpu, demand.share, demand.gpus, demand.memory, demand.kinds or ()


def fits(room: Room, demand: Demand) -> bool:
    """Whether the room takes a pod of this demand."""
    return (
        room.cpu >= demand.cpu
        and room.memory >= demand.memory
        and (demand.kinds is None or room.kind in demand.kinds)
        and sum(free >= demand.share for free in room.gpus) >= demand.gpus
    )


def unusable(room: Room, demand: Demand) -> int:
    """Return F(R, M): the free milli-GPUs of the room that this demand can't use."""
    if not demand.gpus or not fits(room, demand):
        return room.free
    return sum(free for free in room.gpus if free < demand.share)


def node_fragmentation(room: Room, pods: Typical) -> int:
    """Return W·F(R): the room's fragmentation in weighted milli-GPUs."""
    return sum(count * unusable(room, demand) for demand, count in pods.demands)


def stranded(room: Room, pods: Typical) -> int:
    """Return W·S(R): free GPU that the room's CPU can't feed, in weighted milli-GPUs."""
    if not pods.cpu:
        return 0
    fed = max(room.cpu, 0) * pods.milli * pods.total // pods.cpu
    return max(0, room.free * pods.total - fed)


def cost(room: Room, pods: Typical) -> int:
    """Return W·(S + F/10), what a placement should raise least (see the module)."""
    return stranded(room, pods) + node_fragmentation(room, pods) // _F_DIVISOR


def after(room: Room, demand: Demand) -> tuple[Room, ...]:
    """Return the rooms that placing the demand can lead to; empty where it doesn't fit.

    A shared pod gives one room for each distinct GPU it can take; GPUs alike count once.
    """
    if not fits(room, demand):
        return ()
    cpu, memory = room.cpu - demand.cpu, room.memory - demand.memory
    if not demand.gpus:
        return (Room(cpu, memory, room.gpus, room.kind),)
    rooms, seen = [], set()
    for index, free in enumerate(room.gpus):
        if free < demand.share or free in seen:
            continue
        seen.add(free)
        left = list(room.gpus)
        if demand.share == GPU:
            for taken in [g for g, f in enumerate(room.gpus) if f == GPU][: demand.gpus]:
                left[taken] = 0
        else:
            left[index] -= demand.share
        rooms.append(Room(cpu, memory, tuple(left), room.kind))
    return tuple(rooms)


def gradient(room: Room, demand: Demand, pods: Typical) -> int | None:
    """Return the least change of W·F(R) by placing the demand, or None where it doesn't fit."""
    changes = [node_fragmentation(left, pods) for left in after(room, demand)]
    return min(changes) - node_fragmentation(room, pods) if changes else None


def cost_gradient(room: Room, demand: Demand, pods: Typical) -> int | None:
    """Return the least change of `cost` by placing the demand, or None where it doesn't fit."""
    changes = [cost(left, pods) for left in after(room, demand)]
    return min(changes) - cost(room, pods) if changes else None


def permille(rooms: Iterable[Room], pods: Typical) -> int | None:
    """Return which share of the rooms' free GPU is fragmented, in ‰ rounded down.

    None where nothing is free or no typical pods are known: there is no share then.
    """
    free = fragmented = 0
    for room in rooms:
        free += room.free
        fragmented += node_fragmentation(room, pods)
    whole = free * pods.total
    return fragmented * GPU // whole if whole else None


def typical_pods(snapshot: Snapshot, resource: str, nodes: Iterable[Node]) -> Typical:
    """Learn a pool's typical pods: those that ask for its accelerator, running or waiting.

    Args:
        snapshot: the cluster.
        resource: the pool's accelerator, such as `nvidia.com/gpu`.
        nodes: the pool's nodes. A pod counts if it is on one of them, or waits and may run on one.
    """
    pool = tuple(nodes)
    names = {node.name for node in pool}
    rules = Rules(snapshot)
    kinds: dict[object, tuple[str, ...] | None] = {}
    counts: Counter[Demand] = Counter()
    for pod in snapshot.pods:
        requests = dict(pod.shape.requests)
        gpus = requests.get(resource, 0)
        if not gpus or (pod.home and pod.home not in names):
            continue
        rule = (pod.namespace, pod.labels, pod.shape)
        if rule not in kinds:
            kinds[rule] = _kinds(rules, pod, pool)
        if kinds[rule] != ():
            cpu, memory = requests.get(CPU, 0), requests.get("memory", 0)
            counts[Demand(cpu, GPU, gpus, memory, kinds[rule])] += 1
    return typical(counts)


def _kinds(rules: Rules, pod: Pod, pool: tuple[Node, ...]) -> tuple[str, ...] | None:
    """Return the names of the nodes whose static rules admit the pod; None for all of them."""
    names = tuple(sorted(n.name for n in pool if rules.static_refusal(pod, n) is None))
    return None if len(names) == len(pool) else names


def room(snapshot: Snapshot, node: Node, resource: str) -> Room:
    """Return what is free on a node for pods of whole GPUs; its kind is its name."""
    free = snapshot.free(node)
    gpus = max(free.get(resource, 0), 0)
    return Room(free.get(CPU, 0), free.get("memory", 0), (GPU,) * gpus, node.name)
