"""Spark scheduling policies by name, as the command line and the benchmarks choose them."""

from collections.abc import Callable, Mapping
from typing import Final

from fairstow.spark.policies.baselines import DueDate, Fair, Fifo, UserJobFair
from fairstow.spark.policies.protocols import Load, Policy
from fairstow.spark.policies.virtual_finish import ClusterFairQueueing, UserWeightedFairQueueing

POLICIES: Final[Mapping[str, Callable[[float], Policy]]] = {
    "uwfq": UserWeightedFairQueueing,
    "cfq": ClusterFairQueueing,
    "ujf": lambda _: UserJobFair(),
    "fair": lambda _: Fair(),
    "fifo": lambda _: Fifo(),
    "edd": DueDate,
}
"""By name; each is made for a number of cores."""

__all__ = ["POLICIES", "Load", "Policy"]
