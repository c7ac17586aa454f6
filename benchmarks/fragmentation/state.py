"""The cluster under simulation: one numpy row per node, in the seed's node order.

A node's free GPUs are a row of 8 milli-GPU numbers, 0 where the node has fewer; a `Rooms` is any
batch of such rows (real nodes or hypothetical ones), so policies score many at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.fragmentation.trace import GPU, Pod, Workload

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

WIDTH = 8


@dataclass
class Rooms:
    """Free room of n nodes: cpu, memory, model and kinds (n,), gpus (n, 8) in milli.

    `kinds` has a bit for each kind of GPU pod running there (see `kind`).
    """

    cpu: Ints
    memory: Ints
    gpus: Ints
    model: Ints
    count: Ints
    kinds: Ints

    def __len__(self) -> int:
        return len(self.cpu)

    def take(self, rows: Ints | Bools) -> Rooms:
        """Return a copy of some rows."""
        return Rooms(
            self.cpu[rows],
            self.memory[rows],
            self.gpus[rows],
            self.model[rows],
            self.count[rows],
            self.kinds[rows],
        )

    @property
    def whole(self) -> Ints:
        """Untouched GPUs per node."""
        untouched: Ints = (self.gpus == GPU).sum(axis=1)
        return untouched

    @property
    def free(self) -> Ints:
        """Free milli-GPUs per node."""
        milli: Ints = self.gpus.sum(axis=1)
        return milli


def empty(workload: Workload, order: tuple[int, ...]) -> Rooms:
    """Return the empty cluster in the given node order."""
    nodes = [workload.nodes[i] for i in order]
    count = np.array([n.gpus for n in nodes])
    return Rooms(
        cpu=np.array([n.cpu for n in nodes]),
        memory=np.array([n.memory for n in nodes]),
        gpus=np.where(np.arange(WIDTH) < count[:, None], GPU, 0),
        model=np.array([workload.models.index(n.model) for n in nodes]),
        count=count,
        kinds=np.zeros(len(nodes), np.int64),
    )


def kind(pod: Pod) -> int:
    """A pod's kind as a bit: shared, 1-gpu, 2-gpu, …; 0 without GPU (FGD's clustering)."""
    if pod.gpus == 0:
        return 0
    return 1 if pod.shared else 1 << pod.gpus


def allowed(workload: Workload) -> Bools:
    """Which models a class may run on: (classes, models)."""
    return np.array(
        [
            [not c.models or c.gpus == 0 or m in c.models.split("|") for m in workload.models]
            for c in workload.classes
        ]
    )


def fits(rooms: Rooms, pod: Pod, models: Bools) -> Bools:
    """Which rooms take the pod; `models` is the row of `allowed` for its class."""
    ok = (rooms.cpu >= pod.cpu) & (rooms.memory >= pod.memory)
    if pod.gpus == 0:
        return ok
    ok &= models[rooms.model]
    ok &= (rooms.gpus >= pod.share).sum(axis=1) >= pod.gpus
    return ok


def whole_slots(rooms: Rooms, pod: Pod) -> Bools:
    """Which GPUs a pod of whole GPUs takes: the first untouched ones, (n, 8)."""
    untouched = rooms.gpus == GPU
    slots: Bools = untouched & (untouched.cumsum(axis=1) <= pod.gpus)
    return slots


def after(rooms: Rooms, pod: Pod, slot: Ints | None) -> Rooms:
    """Return the rooms with the pod placed; `slot` (n,) says which GPU a shared pod takes."""
    gpus = rooms.gpus.copy()
    if pod.shared:
        assert slot is not None
        gpus[np.arange(len(gpus)), slot] -= pod.share
    elif pod.gpus:
        gpus[whole_slots(rooms, pod)] = 0
    return Rooms(
        rooms.cpu - pod.cpu,
        rooms.memory - pod.memory,
        gpus,
        rooms.model,
        rooms.count,
        rooms.kinds | kind(pod),
    )
