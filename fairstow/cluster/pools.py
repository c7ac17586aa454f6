"""Pools of accelerators: how many there are, how many are free, and how large the holes are.

Who calls it: the report; the command line takes from here what an accelerator and its product are.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from fairstow.cluster.model import Node, Pod, Shape
from fairstow.cluster.rules import Rules
from fairstow.cluster.snapshot import Snapshot

_ACCELERATORS = (
    "nvidia.com/gpu",  # also nvidia.com/gpu.shared, the device plugin's time-sliced name
    "nvidia.com/mig-",
    "amd.com/gpu",
    "gpu.intel.com/",
    "google.com/tpu",
    "habana.ai/gaudi",
    "aws.amazon.com/neuron",
    "huawei.com/Ascend",
    "cambricon.com/",
    "tenstorrent.com/",
)
"""How the names of accelerator resources start, as their vendors' device plugins register them."""

_PRODUCTS = (
    "nvidia.com/gpu.product",
    "amd.com/gpu.product-name",
    "beta.amd.com/gpu.product-name",
    "gpu.intel.com/product",
    "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
    "cloud.google.com/gke-tpu-accelerator",
    "node.kubernetes.io/instance-type",
)
"""Labels that say which accelerator a node has, the most specific first."""


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
    return resource.startswith(_ACCELERATORS)


def product(node: Node) -> str:
    """Return the accelerator that a node says it has, "" if it doesn't say."""
    return next((node.labels[key] for key in _PRODUCTS if key in node.labels), "")


def accelerators(node: Node) -> Mapping[str, int]:
    """Return what a node offers of each accelerator resource, amounts > 0."""
    return {r: n for r, n in sorted(node.allocatable.items()) if n and is_accelerator(r)}


def pools(snapshot: Snapshot) -> tuple[PoolSummary, ...]:
    """Return the cluster's pools, by resource and product."""
    members: dict[tuple[str, str], list[Node]] = {}
    for node in snapshot.nodes:
        for resource in accelerators(node):
            members.setdefault((resource, product(node)), []).append(node)
    waiting, rules = _waiting(snapshot), Rules(snapshot)
    return tuple(
        PoolSummary(
            name,
            *_totals(snapshot, resource, nodes),
            pending_pods=sum(
                count
                for shape, (pod, count) in waiting.items()
                if _asks(shape, resource) and _may_use(rules, pod, nodes)
            ),
        )
        for (resource, name), nodes in sorted(members.items())
    )


def free_summary(snapshot: Snapshot) -> tuple[Free, ...]:
    """Return each accelerator resource over the whole cluster, by name."""
    members: dict[str, list[Node]] = {}
    for node in snapshot.nodes:
        for resource in accelerators(node):
            members.setdefault(resource, []).append(node)
    return tuple(
        Free(
            *_totals(snapshot, resource, nodes),
            pending_pods=sum(_asks(p.shape, resource) for p in snapshot.pending),
        )
        for resource, nodes in sorted(members.items())
    )


def _totals(
    snapshot: Snapshot, resource: str, nodes: list[Node]
) -> tuple[str, int, int, int, int, int, int]:
    """Return (resource, nodes, total, allocated, free, unavailable, largest free block)."""
    total = sum(n.allocatable.get(resource, 0) for n in nodes)
    used = {n.name: snapshot.used[n.name].get(resource, 0) for n in nodes}
    free = {n.name: max(n.allocatable.get(resource, 0) - used[n.name], 0) for n in nodes}
    shut = sum(free[n.name] for n in nodes if n.closed or n.unschedulable)
    largest = max((free[n.name] for n in nodes if not n.closed and not n.unschedulable), default=0)
    return resource, len(nodes), total, sum(used.values()), sum(free.values()), shut, largest


def _waiting(snapshot: Snapshot) -> dict[Shape, tuple[Pod, int]]:
    """Return pending pods by shape, one as an example and how many there are."""
    found: dict[Shape, tuple[Pod, int]] = {}
    for pod in snapshot.pending:
        example, count = found.get(pod.shape, (pod, 0))
        found[pod.shape] = (example, count + 1)
    return found


def _asks(shape: Shape, resource: str) -> bool:
    return any(name == resource for name, _ in shape.requests)


def _may_use(rules: Rules, pod: Pod, nodes: list[Node]) -> bool:
    """Whether the rules let a pod run on one of the nodes, cordons and health set aside."""
    shape = replace(pod, labels=())  # existing anti-affinity comes and goes: also set aside
    return any(
        rules.static_refusal(shape, replace(node, closed="", unschedulable=False)) is None
        for node in nodes
    )
