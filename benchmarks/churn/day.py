"""What happens on the day: nodes, pods that run when it begins, and pods that arrive.

Nodes: every tenth of openb's 1,213 GPU nodes. Pods: rows of openb's default workload, each with
what it asks for and how long it lived, drawn together. Left out are rows that share a GPU, since
Kubernetes counts whole ones; lives are cut at a day, else a few pods that ran for months would hold
most of the cluster and nothing would churn.

Arrivals are Poisson with the rate λ at which the pods, were there always room, would on average
hold `load` of the GPUs: λ · mean(gpus · life) = load · capacity. The day begins in the equilibrium
of that process: of each row, λ · life pods are there on average, and what is left of each one's
life is uniform. They come in random order at the beginning and are scheduled like all others.
"""

from __future__ import annotations

import csv
import random
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

DAY = 86_400.0
NODES = 120
PRIORITIES = {"LS": 200, "Guaranteed": 100, "Burstable": 100, "BE": 0}
_GPU = 1000


class Ask(NamedTuple):
    """A row of the trace: milli-CPU, MiB, GPUs, priority, seconds of life."""

    cpu: int
    memory: int
    gpus: int
    priority: int
    life: float

    @property
    def service(self) -> bool:
        """Whether it is latency-sensitive: a ReplicaSet's; else it is a Job's, which stays."""
        return self.priority == PRIORITIES["LS"]


class Host(NamedTuple):
    """An empty node."""

    name: str
    cpu: int
    memory: int
    gpus: int
    model: str


class Arrival(NamedTuple):
    """A pod that comes. Attributes: at: seconds; life: what is left of it once it runs."""

    at: float
    number: int
    ask: Ask
    life: float


@dataclass(frozen=True)
class Trace:
    """The nodes, and the rows that pods are drawn from."""

    hosts: tuple[Host, ...]
    asks: tuple[Ask, ...]

    @cached_property
    def gpus(self) -> int:
        """GPUs of all nodes."""
        return sum(host.gpus for host in self.hosts)

    def rate(self, load: float) -> float:
        """Return how many pods arrive a second."""
        held = sum(ask.gpus * ask.life for ask in self.asks) / len(self.asks)
        return load * self.gpus / held


@lru_cache
def read(path: Path) -> Trace:
    """Read openb's folder."""
    with (path / "openb_node_list_gpu_node.csv").open(newline="") as file:
        nodes = list(csv.DictReader(file))[::10][:NODES]
    with (path / "openb_pod_list_default.csv").open(newline="") as file:
        pods = list(csv.DictReader(file))
    hosts = tuple(
        Host(r["sn"], int(r["cpu_milli"]), int(r["memory_mib"]), int(r["gpu"]), r["model"])
        for r in nodes
    )
    return Trace(hosts, tuple(_ask(r) for r in pods if _whole(r) and _life(r) > 0))


def _whole(row: dict[str, str]) -> bool:
    return int(row["num_gpu"]) == 0 or int(row["gpu_milli"]) == _GPU


def _life(row: dict[str, str]) -> float:
    return min(float(row["deletion_time"]) - float(row["creation_time"]), DAY)


def _ask(row: dict[str, str]) -> Ask:
    return Ask(
        int(row["cpu_milli"]),
        int(row["memory_mib"]),
        int(row["num_gpu"]),
        PRIORITIES[row["qos"]],
        _life(row),
    )


def arrivals(trace: Trace, load: float, seconds: float, seed: int) -> list[Arrival]:
    """Return who is there at 0, in random order, and who comes until `seconds`."""
    rng = random.Random(seed)
    rate = trace.rate(load)
    lives = [ask.life for ask in trace.asks]
    there = _poisson(rng, rate * sum(lives) / len(lives))
    first = rng.choices(trace.asks, lives, k=there)
    found = [(0.0, ask, rng.uniform(0, ask.life)) for ask in first]
    at = rng.expovariate(rate)
    while at < seconds:
        ask = rng.choice(trace.asks)
        found.append((at, ask, ask.life))
        at += rng.expovariate(rate)
    return [Arrival(at, number, ask, life) for number, (at, ask, life) in enumerate(found)]


def _poisson(rng: random.Random, mean: float) -> int:
    """Return how many arrivals a unit of time sees that sees `mean` on average."""
    count, at = 0, rng.expovariate(mean)
    while at < 1:
        count, at = count + 1, at + rng.expovariate(mean)
    return count
