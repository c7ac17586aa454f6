"""Pools of accelerators: how many there are, how many are free, and how large the holes are.

Who calls it: `fairstow pools`, the headers of plans and explanations, the report.
"""

from dataclasses import dataclass

from fairstow.cluster.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class PoolSummary:
    """Nodes of one product, in one accelerator resource.

    Attributes:
        product: the accelerator's product label; "" where the nodes carry none.
        resource: as in allocatable, such as nvidia.com/gpu.
        nodes: how many offer it.
        free: requested by no pod; what is on nodes over capacity counts as 0.
        unavailable: of `free`, on nodes that take no pods now (cordoned, not Ready, going away).
        largest_free_block: the most that is free on one node that takes pods.
        pending_pods: pods that ask for the resource, wait, and may run on such nodes.
    """

    product: str
    resource: str
    nodes: int
    total: int
    allocated: int
    free: int
    unavailable: int
    largest_free_block: int
    pending_pods: int


@dataclass(frozen=True, slots=True)
class Free:
    """One accelerator resource over the whole cluster; terms as in `PoolSummary`."""

    resource: str
    nodes: int
    total: int
    allocated: int
    free: int
    unavailable: int
    largest_free_block: int
    pending_pods: int


def is_accelerator(resource: str) -> bool:
    """Whether a resource counts accelerators or slices of them."""
    return resource == "nvidia.com/gpu"


def pools(snapshot: Snapshot) -> tuple[PoolSummary, ...]:
    """Return the cluster's pools, by resource and product."""
    _ = snapshot
    return ()


def free_summary(snapshot: Snapshot) -> tuple[Free, ...]:
    """Return each accelerator resource over the whole cluster, by name."""
    _ = snapshot
    return ()
