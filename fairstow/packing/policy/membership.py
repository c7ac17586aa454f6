"""Which nodes a GpuPool has, and which pending pods are its own.

Called by everything that speaks of a pool. Selectors mean what Kubernetes' label selectors mean;
an empty one takes every node that has the accelerator.
"""

from collections.abc import Iterable

from fairstow.api import GpuPoolSpec
from fairstow.cluster.model import Node, Pod
from fairstow.cluster.rules import affinity_mismatch, untolerated
from fairstow.cluster.selectors import selector, selects


def members(pool: GpuPoolSpec, nodes: Iterable[Node]) -> tuple[Node, ...]:
    """Return the pool's nodes."""
    wanted, resource = selector(pool.node_selector), pool.accelerator_resource
    if not wanted.requirements:
        return tuple(n for n in nodes if n.allocatable.get(resource, 0) > 0)
    return tuple(n for n in nodes if selects(wanted, n.labels))


def takes(node: Node) -> bool:
    """Whether a node takes pods at all now."""
    return not node.closed and not node.unschedulable


def asks(pod: Pod, resource: str) -> bool:
    """Whether a pod asks for an accelerator."""
    return any(name == resource for name, _ in pod.shape.requests)


def may_run(pod: Pod, node: Node) -> bool:
    """Whether a node's own rules admit a pod; that it is cordoned or not Ready is set aside."""
    if affinity_mismatch(pod.shape, node):
        return False
    # Kubernetes taints such nodes too, so their taints tell nothing.
    return not takes(node) or untolerated(pod.shape, node) is None
