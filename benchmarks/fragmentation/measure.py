"""FGD's measure for many rooms at once (the pure form is `fairstow.packing.fragmentation`).

Demands that ask alike of the GPUs (share, number) are one key k. For a room on model t,

    F = free − Σ_k P_{t,k}(cpu) · usable_k
    usable_k = Σ_{g: r_g ≥ s_k} r_g where at least n_k such g are, else 0

where P_{t,k}(c) is the popularity of key k's demands that may run on t with at most c milli-CPU:
one lookup in a table sorted by CPU replaces a loop over the demands. Demands without GPU are in
no key, so they count the whole free part, as in the published figures.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.fragmentation.trace import GPU, Workload
from fairstow.packing.fragmentation import Demand, Typical, typical

if TYPE_CHECKING:
    from benchmarks.fragmentation.state import Floats, Ints, Rooms


def distribution(workload: Workload) -> Typical:
    """Return the workload's typical pods as FGD takes them: with those without GPU, no memory."""
    counts: Counter[Demand] = Counter()
    for pod, count in zip(workload.classes, workload.counts, strict=True):
        kinds = tuple(sorted(set(pod.models.split("|")))) if pod.models and pod.gpus else None
        counts[Demand(pod.cpu, pod.share, pod.gpus, 0, kinds)] += count
    return typical(counts, without_gpu=True)


@dataclass(frozen=True)
class Measure:
    """The measure of one distribution; K keys with share, number and popularity by model, CPU.

    Attributes:
        cpu: CPU thresholds, sorted.
        table: (models, thresholds + 1, K): popularity of demands within the first i thresholds.
        kappa: the typical pods' milli-CPU per milli-GPU.
    """

    share: Ints
    number: Ints
    cpu: Ints
    table: Floats
    kappa: float

    @staticmethod
    def of(workload: Workload, *, free_shares: bool = True) -> Measure:
        """Build it from the workload's pods.

        Without `free_shares`, shared pods that may run on any model are left out: what a table of
        remainders covers already.
        """
        pods = distribution(workload)
        demands = [
            (d, n)
            for d, n in pods.demands
            if d.gpus and (free_shares or d.share == GPU or d.kinds is not None)
        ]
        keys = sorted({(d.share, d.gpus) for d, _ in demands})
        cpu = np.array(sorted({d.cpu for d, _ in demands}), np.int64)
        table = np.zeros((len(workload.models), len(cpu) + 1, len(keys)))
        for demand, count in demands:
            enough = np.arange(len(cpu) + 1) > np.searchsorted(cpu, demand.cpu)
            for t, model in enumerate(workload.models):
                if demand.kinds is None or model in demand.kinds:
                    key = keys.index((demand.share, demand.gpus))
                    table[t, enough, key] += count / pods.total
        share, number = np.array(keys, np.int64).reshape(-1, 2).T
        return Measure(share, number, cpu, table, pods.cpu / pods.milli)

    def weights(self, cpu: Ints, model: Ints) -> Floats:
        """Return P per room and key, (n, K)."""
        popularity: Floats = self.table[model, np.searchsorted(self.cpu, cpu, side="right")]
        return popularity

    def fragmentation(self, rooms: Rooms) -> Floats:
        """Return F of each room in milli-GPUs, (n,)."""
        reach = rooms.gpus[:, :, None] >= self.share
        usable = (reach * rooms.gpus[:, :, None]).sum(axis=1)
        usable[reach.sum(axis=1) < self.number] = 0
        used: Floats = (self.weights(rooms.cpu, rooms.model) * usable).sum(axis=1)
        return rooms.free - used

    def after_shared(self, rooms: Rooms, cpu: int, share: int) -> Floats:
        """Return F of each room with a shared pod on each of its GPUs, (n, 8).

        What other GPUs contribute doesn't change, so one GPU's old part is swapped for its new.
        """
        before = rooms.gpus[:, :, None]
        left = before - share
        reach, reach_left = before >= self.share, left >= self.share
        part = reach * before
        usable = part.sum(axis=1)[:, None, :] - part + reach_left * left
        number = reach.sum(axis=1)[:, None, :] - reach + reach_left
        usable[number < self.number] = 0
        weights = self.weights(rooms.cpu - cpu, rooms.model)
        left_over: Floats = (rooms.free - share)[:, None] - np.einsum("nk,ngk->ng", weights, usable)
        return left_over
