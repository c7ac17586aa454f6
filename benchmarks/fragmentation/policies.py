"""Placement policies: a score per node for an arriving pod, and the GPU a shared pod takes.

The first six are FGD's own comparison (ATC'23, section 6.1) with the details that its published
figures depend on: scores are whole numbers from 0 to 100, cut, not rounded; a tie goes to the
first node in the seed's order; a shared pod's GPU is the tightest that fits, unless said
otherwise. `Rehearsed` is Fairstow's (docs/benchmarks/fragmentation.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from benchmarks.fragmentation.state import Rooms, after, kind
from benchmarks.fragmentation.trace import GPU, Pod

if TYPE_CHECKING:
    from benchmarks.fragmentation.measure import Measure
    from benchmarks.fragmentation.state import Floats, Ints

MOST_CPU = 128_000
MOST_GPU = 8 * GPU
NEVER = -np.inf


class Scores(NamedTuple):
    """Higher is better: score (n,), and the GPU a shared pod would take, (n,)."""

    score: Floats
    slot: Ints


class Policy(Protocol):
    """Scores rooms that all fit the pod."""

    def score(self, rooms: Rooms, pod: Pod) -> Scores:
        """Return the score of each room."""
        ...


def tightest(rooms: Rooms, pod: Pod) -> Ints:
    """Return the GPU with the least room that still takes a share of the pod."""
    slot: Ints = np.where(rooms.gpus >= pod.share, rooms.gpus, MOST_GPU).argmin(axis=1)
    return slot


class Random:
    """Any node, any GPU that fits."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def score(self, rooms: Rooms, pod: Pod) -> Scores:
        """Draw."""
        draw = np.where(rooms.gpus >= pod.share, self._rng.random(rooms.gpus.shape), NEVER)
        return Scores(self._rng.random(len(rooms)), draw.argmax(axis=1))


class DotProduct:
    """Least inner product of what is free and what is asked, CPU and GPU over the largest node."""

    def score(self, rooms: Rooms, pod: Pod) -> Scores:
        """Score."""
        cpu = rooms.cpu / MOST_CPU * (pod.cpu / MOST_CPU)
        gpu = rooms.free / MOST_GPU * (pod.milli / MOST_GPU)
        return Scores(np.floor(100 * (1 - (cpu + gpu) / 2)), tightest(rooms, pod))


class Clustering:
    """Nodes that run the pod's kind alone, then with others, then idle ones; fuller first."""

    def score(self, rooms: Rooms, pod: Pod) -> Scores:
        """Score."""
        if pod.gpus == 0:
            return Scores(np.zeros(len(rooms)), np.zeros(len(rooms), np.int64))
        own = kind(pod)
        tier = np.where(rooms.kinds & own, np.where(rooms.kinds == own, 75, 50), 0)
        tier = np.where(rooms.kinds == 0, 25, tier)
        full = 25 * (MOST_GPU - rooms.free) // MOST_GPU
        return Scores((tier + full).astype(float), tightest(rooms, pod))


class Packing:
    """GPUs in use first, then nodes in use, then idle nodes; each the tighter the better."""

    def score(self, rooms: Rooms, pod: Pod) -> Scores:
        """Score."""
        slot = tightest(rooms, pod)
        if pod.gpus == 0:
            return Scores(np.zeros(len(rooms)), slot)
        whole = rooms.whole
        left = rooms.gpus[np.arange(len(rooms)), slot]
        used_gpu = np.maximum(100 - left * 100 // GPU // 10, 50)
        used_node = np.maximum(50 - pod.gpus, 33)
        idle = np.maximum(33 - whole, whole)
        takes_whole = (left == GPU) | (pod.share == GPU)
        score = np.where(whole == rooms.count, idle, np.where(takes_whole, used_node, used_gpu))
        return Scores(score.astype(float), slot)


class BestFit:
    """Least left over, CPU and GPU over the largest node in equal parts."""

    def score(self, rooms: Rooms, pod: Pod) -> Scores:
        """Score."""
        left = (rooms.cpu - pod.cpu) / MOST_CPU + (rooms.free - pod.milli) / MOST_GPU
        return Scores(np.floor((1 - left / 2) * 100), tightest(rooms, pod))


@dataclass(frozen=True)
class Gradient:
    """FGD: the steepest fall of the fragmentation measure, through a sigmoid cut to 0 … 100.

    The cut matters: scores equal within about 40 milli-GPUs go to the first node in order, which
    fills node after node. `exact` leaves both out, to show what they do.
    """

    measure: Measure
    exact: bool = False

    def score(self, rooms: Rooms, pod: Pod) -> Scores:
        """Score."""
        before = self.measure.fragmentation(rooms)
        if not pod.shared:
            fall = before - self.measure.fragmentation(after(rooms, pod, None))
            return Scores(self._cut(fall), np.zeros(len(rooms), np.int64))
        fall = before[:, None] - self.measure.after_shared(rooms, pod.cpu, pod.share)
        return _best_slot(self._cut(fall), rooms, pod)

    def _cut(self, fall: Floats) -> Floats:
        if self.exact:
            return np.round(fall, 6)  # rounding errors must not break ties
        return np.floor(100 / (1 + np.exp(-fall / GPU)))


def _best_slot(score: Floats, rooms: Rooms, pod: Pod) -> Scores:
    score = np.where(rooms.gpus >= pod.share, score, NEVER)
    return Scores(score.max(axis=1), score.argmax(axis=1))


def stranded(rooms: Rooms, kappa: float) -> Floats:
    """Return the free milli-GPU that the nodes' CPU can't feed at kappa milli-CPU per milli-GPU."""
    short: Floats = np.maximum(0, rooms.free - rooms.cpu / kappa)
    return short


STEP = 5.0
"""Costs within so many milli-GPUs are equal, and the first node in order wins."""


@dataclass(frozen=True)
class Unrehearsed:
    """Fairstow's without rehearsals: least rise of stranded + F/10, the product's `cost`."""

    measure: Measure

    def score(self, rooms: Rooms, pod: Pod) -> Scores:
        """Score."""
        before = stranded(rooms, self.measure.kappa) + self.measure.fragmentation(rooms) / 10
        now = after(rooms, pod, tightest(rooms, pod))  # which GPU doesn't matter to `stranded`
        short = stranded(now, self.measure.kappa)
        if not pod.shared:
            fall = before - short - self.measure.fragmentation(now) / 10
            return Scores(np.floor(fall / STEP), np.zeros(len(rooms), np.int64))
        split = self.measure.after_shared(rooms, pod.cpu, pod.share) / 10
        return _best_slot(np.floor((before - short)[:, None] / STEP - split / STEP), rooms, pod)


@dataclass(frozen=True)
class Rehearsed:
    """Fairstow's: least rise of what a node is expected to leave unused in the end.

    cost = Σ_g remainder[r_g]  +  stranded  +  F_rest / 10, in milli-GPUs:
    what a GPU with r_g free was left with in rehearsals, the free GPU that the node's CPU can't
    feed at the typical pods' CPU per GPU, and FGD's measure over the demands that the first part
    doesn't know: of whole GPUs, and shares tied to models (without them, pods for any model take
    the scarce ones).

    Attributes:
        measure: over all demands but shares for any model.
        remainder: (101,), by free milli-GPU in steps of 10, in milli-GPUs.
    """

    measure: Measure
    remainder: Floats

    def cost(self, rooms: Rooms) -> Floats:
        """Return the cost of each room, in milli-GPUs."""
        left: Floats = self.remainder[rooms.gpus // 10].sum(axis=1)
        return left + self._others(rooms)

    def _others(self, rooms: Rooms) -> Floats:
        return stranded(rooms, self.measure.kappa) + self.measure.fragmentation(rooms) / 10

    def score(self, rooms: Rooms, pod: Pod) -> Scores:
        """Score."""
        fall = self.fall(rooms, pod)
        return Scores(np.floor(fall.score / STEP), fall.slot)

    def fall(self, rooms: Rooms, pod: Pod) -> Scores:
        """Return by how much the cost falls at best, in milli-GPUs, and on which GPU."""
        if not pod.shared:
            fall = self.cost(rooms) - self.cost(after(rooms, pod, None))
            return Scores(fall, np.zeros(len(rooms), np.int64))
        left = np.maximum(rooms.gpus - pod.share, 0)
        tables = self.remainder[rooms.gpus // 10] - self.remainder[left // 10]
        now = after(rooms, pod, tightest(rooms, pod))  # which GPU doesn't matter to `stranded`
        split = self.measure.after_shared(rooms, pod.cpu, pod.share) / 10
        others = (self._others(rooms) - stranded(now, self.measure.kappa))[:, None] - split
        return _best_slot(tables + others, rooms, pod)


def baselines(seed: int, measure: Measure) -> dict[str, Policy]:
    """Return FGD's six policies by the number and name of its artifact."""
    return {
        "01-Random": Random(seed),
        "02-DotProd": DotProduct(),
        "03-GpuClustering": Clustering(),
        "04-GpuPacking": Packing(),
        "05-BestFit": BestFit(),
        "06-FGD": Gradient(measure),
    }
