"""The openb trace and FGD's arrival protocol: shuffle, inflate, place one by one.

Data: Alibaba cluster-trace-gpu-v2023 in the form of the FGD simulator (Apache-2.0), read from the
folder that FAIRSTOW_DATA names. Units: milli-CPU, MiB, milli-GPU (1000 is one GPU).

Protocol (FGD, ATC'23, section 6): all pods of the workload in random order, then pods drawn from
the workload with replacement, until the next would lift the requested GPUs above 130 % of the
cluster's. Nobody leaves, a pod that fits nowhere is lost, and equal scores go to the node that
comes first in an order drawn once per seed.
"""

from __future__ import annotations

import csv
import os
import random
from collections import Counter
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

GPU = 1000
INFLATION = 1.3
WORKLOADS = ("default", "cpu100", "gpushare60", "gpuspec20", "multigpu20")
HINT = "name its folder in FAIRSTOW_DATA (it holds openb/openb_node_list_gpu_node.csv)"


class Pod(NamedTuple):
    """What a pod asks for: `gpus` GPUs with `share` milli of each; models "" means any."""

    cpu: int
    memory: int
    gpus: int
    share: int
    models: str

    @property
    def milli(self) -> int:
        """All the GPU it asks for."""
        return self.gpus * self.share

    @property
    def shared(self) -> bool:
        """Whether it takes a part of one GPU."""
        return self.gpus == 1 and self.share < GPU


class Node(NamedTuple):
    """An empty node."""

    cpu: int
    memory: int
    gpus: int
    model: str


@dataclass(frozen=True)
class Workload:
    """Nodes and the pods of one workload, in the order of the file."""

    name: str
    nodes: tuple[Node, ...]
    pods: tuple[Pod, ...]

    @cached_property
    def capacity(self) -> int:
        """The cluster's milli-GPUs."""
        return GPU * sum(node.gpus for node in self.nodes)

    @cached_property
    def classes(self) -> tuple[Pod, ...]:
        """Distinct pods, sorted."""
        return tuple(sorted(set(self.pods)))

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """How many pods each class has."""
        of = Counter(self.pods)
        return tuple(of[c] for c in self.classes)

    @cached_property
    def models(self) -> tuple[str, ...]:
        """GPU models, sorted."""
        return tuple(sorted({node.model for node in self.nodes}))


class Arrivals(NamedTuple):
    """One seed: indices into `Workload.classes`, and the order of the nodes."""

    classes: tuple[int, ...]
    nodes: tuple[int, ...]


def folder() -> Path | None:
    """Return the folder of the trace, or None where it isn't."""
    root = os.environ.get("FAIRSTOW_DATA", "")
    path = Path(root) / "openb"
    return path if root and (path / "openb_node_list_gpu_node.csv").is_file() else None


@lru_cache
def load(path: Path, name: str) -> Workload:
    """Read a workload by its short name (`default`, `gpushare60`, …)."""
    with (path / "openb_node_list_gpu_node.csv").open(newline="") as file:
        nodes = tuple(
            Node(int(r["cpu_milli"]), int(r["memory_mib"]), int(r["gpu"]), r["model"])
            for r in csv.DictReader(file)
        )
    with (path / f"openb_pod_list_{name}.csv").open(newline="") as file:
        pods = tuple(_pod(row) for row in csv.DictReader(file))
    return Workload(name, nodes, pods)


def _pod(row: dict[str, str]) -> Pod:
    gpus = int(row["num_gpu"])
    share = int(row["gpu_milli"]) if gpus else 0
    models = row.get("gpu_spec") or ""
    return Pod(int(row["cpu_milli"]), int(row["memory_mib"]), gpus, share, models)


def arrivals(workload: Workload, seed: int) -> Arrivals:
    """Return the arrivals of a seed: the whole workload shuffled, then draws up to 130 %."""
    rng = random.Random(seed)
    number = {c: i for i, c in enumerate(workload.classes)}
    order = [number[pod] for pod in workload.pods]
    rng.shuffle(order)
    asked = sum(pod.milli for pod in workload.pods)
    while True:
        pod = rng.choice(workload.pods)
        if asked + pod.share > INFLATION * workload.capacity:
            break
        asked += pod.milli
        order.append(number[pod])
    nodes = list(range(len(workload.nodes)))
    rng.shuffle(nodes)
    return Arrivals(tuple(order), tuple(nodes))


@lru_cache
def published(path: Path) -> dict[tuple[str, str], dict[str, float]]:
    """Return FGD's published means by (workload, policy number), allocated and fragment in %."""
    with (path / "fgd_reference.csv").open(newline="") as file:
        return {
            (row["workload"].removeprefix("openb_pod_list_"), row["policy"][:2]): {
                key: float(value) for key, value in row.items() if "_pct_" in key
            }
            for row in csv.DictReader(file)
        }
