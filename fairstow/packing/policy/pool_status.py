"""A GpuPool's status: what is in the pool now, in numbers a person reads.

Called by the pool controller each turn, and by the policy controller for what both need to know of
a pool (`survey`).
"""

from dataclasses import dataclass

from fairstow.api import GpuPool, GpuPoolStatus, Reason
from fairstow.api.gpu_pool import PendingPods
from fairstow.api.status import Condition, conditions_of, with_condition
from fairstow.cluster.model import Node
from fairstow.cluster.snapshot import Snapshot
from fairstow.cluster.times import written
from fairstow.packing.fragmentation import permille, room, typical_pods
from fairstow.packing.policy.enforcement import schedulers
from fairstow.packing.policy.membership import members, takes
from fairstow.packing.policy.pending import Waiting, waiting

_LISTED = 16
_INT32_MAX = 2**31 - 1


@dataclass(frozen=True)
class PoolView:
    """A pool in a snapshot. Attributes: nodes: its nodes; waiting: its pending pods."""

    pool: GpuPool
    nodes: tuple[Node, ...]
    waiting: Waiting

    @property
    def names(self) -> frozenset[str]:
        """Names of its nodes."""
        return frozenset(node.name for node in self.nodes)


def survey(pool: GpuPool, snapshot: Snapshot) -> PoolView:
    """Return a pool's nodes and pending pods."""
    nodes = members(pool.spec, snapshot.nodes)
    return PoolView(pool, nodes, waiting(snapshot, pool.spec, nodes))


def pool_status(view: PoolView, snapshot: Snapshot, now: int) -> GpuPoolStatus:
    """Return a pool's status; conditions keep their times where they still hold."""
    pool, nodes = view.pool, view.nodes
    resource = pool.spec.accelerator_resource
    free = {n.name: max(snapshot.free(n).get(resource, 0), 0) for n in nodes if takes(n)}
    rooms = [room(snapshot, n, resource) for n in nodes if takes(n)]
    pending = [pod for pod, _ in view.waiting.pods]
    reasons = view.waiting.by_reason
    return GpuPoolStatus(
        nodes=len(nodes),
        nodes_closed=sum(not takes(n) for n in nodes),
        gpus_total=_count(sum(n.allocatable.get(resource, 0) for n in nodes)),
        gpus_allocated=_count(sum(snapshot.used[n.name].get(resource, 0) for n in nodes)),
        gpus_free=_count(sum(free.values())),
        largest_free_block=_count(max(free.values(), default=0)),
        fragmentation_permille=permille(rooms, typical_pods(snapshot, resource, nodes)),
        pending_pods=len(pending),
        pending_by_reason=tuple(PendingPods(reason=r, pods=n) for r, n in reasons.items()),
        schedulers=tuple(schedulers(snapshot, nodes, pending)[:_LISTED]),
        conditions=_conditions(view, now),
        observed_generation=pool.metadata.generation,
    )


def _conditions(view: PoolView, now: int) -> tuple[Condition, ...]:
    resource = view.pool.spec.accelerator_resource
    if not view.nodes:
        reason = Reason.NO_NODES
    elif not any(n.allocatable.get(resource, 0) for n in view.nodes):
        reason = Reason.NO_ACCELERATORS
    else:
        reason = Reason.POOL_READY
    ready = Condition(
        type="Ready",
        status="True" if reason is Reason.POOL_READY else "False",
        observed_generation=view.pool.metadata.generation,
        last_transition_time=written(now),
        reason=reason.value,
        message=reason.sentence,
    )
    before = conditions_of(view.pool)
    return with_condition((c for c in before if c.type == "Ready"), ready)


def _count(amount: int) -> int:
    """Return a number that the API holds, whatever a node says that it has."""
    return min(amount, _INT32_MAX)
