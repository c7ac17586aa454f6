"""Pools of accelerators: how many there are, how many are free, and how large the holes are.

Who calls it: the command line and the report, so that both say the same.
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

PRODUCTS = (
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
class Pool:
    """Nodes of one product, in one accelerator resource.

    Attributes:
        product: the accelerator's product label; "" where the nodes carry none, or where the pool
            is the whole cluster.
        resource: as in allocatable, such as nvidia.com/gpu.
        nodes: how many offer it.
        closed: of those, how many take no pods now (cordoned, not Ready, being removed).
        free: requested by no pod, on nodes that take pods; none on a node over capacity.
        shut: the same on closed nodes.
        largest: the most that is free on one node that takes pods.
        pending_pods: pods that ask for the resource, wait, and may run on such nodes, cordons set
            aside; `pending` is what they ask for.
    """

    product: str
    resource: str
    nodes: int
    closed: int
    total: int
    allocated: int
    free: int
    shut: int
    largest: int
    pending_pods: int
    pending: int


def is_accelerator(resource: str) -> bool:
    """Whether a resource counts accelerators or slices of them."""
    return resource.startswith(_ACCELERATORS)


def product(node: Node) -> str:
    """Return the accelerator that a node says it has, "" if it doesn't say."""
    return next((node.labels[key] for key in PRODUCTS if key in node.labels), "")


def accelerators(node: Node) -> Mapping[str, int]:
    """Return what a node offers of each accelerator resource, amounts > 0."""
    return {r: n for r, n in sorted(node.allocatable.items()) if n and is_accelerator(r)}


def pools(snapshot: Snapshot) -> tuple[Pool, ...]:
    """Return the cluster's pools, the largest first."""
    members: dict[tuple[str, str], list[Node]] = {}
    for node in snapshot.nodes:
        for resource in accelerators(node):
            members.setdefault((product(node), resource), []).append(node)
    waiting, rules = _waiting(snapshot), Rules(snapshot)
    found = []
    for (name, resource), nodes in members.items():
        asking = [
            (dict(shape.requests)[resource], count)
            for shape, (pod, count) in waiting.items()
            if _asks(shape, resource) and _may_use(rules, pod, nodes)
        ]
        found.append(_pool(snapshot, name, resource, nodes, asking))
    return tuple(sorted(found, key=lambda p: (-p.total, p.product, p.resource)))


def over_all(snapshot: Snapshot) -> tuple[Pool, ...]:
    """Return each accelerator resource over the whole cluster, by name, whatever the product."""
    members: dict[str, list[Node]] = {}
    for node in snapshot.nodes:
        for resource in accelerators(node):
            members.setdefault(resource, []).append(node)
    return tuple(
        _pool(
            snapshot,
            "",
            resource,
            nodes,
            [(dict(p.shape.requests)[resource], 1) for p in snapshot.pending
             if _asks(p.shape, resource)],
        )
        for resource, nodes in sorted(members.items())
    )  # fmt: skip


def _pool(
    snapshot: Snapshot,
    name: str,
    resource: str,
    nodes: list[Node],
    asking: list[tuple[int, int]],
) -> Pool:
    """Return a pool; `asking` is (amount, pods) of those who wait."""
    taking = [n for n in nodes if not n.closed and not n.unschedulable]
    free = {n.name: max(snapshot.free(n).get(resource, 0), 0) for n in nodes}
    available = [free[n.name] for n in taking]
    return Pool(
        product=name,
        resource=resource,
        nodes=len(nodes),
        closed=len(nodes) - len(taking),
        total=sum(n.allocatable.get(resource, 0) for n in nodes),
        allocated=sum(snapshot.used[n.name].get(resource, 0) for n in nodes),
        free=sum(available),
        shut=sum(free.values()) - sum(available),
        largest=max(available, default=0),
        pending_pods=sum(pods for _, pods in asking),
        pending=sum(amount * pods for amount, pods in asking),
    )


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
