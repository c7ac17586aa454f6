"""Whether everything that may land on a pool passes Fairstow's filter.

Called for the condition ReservationNotEnforced. A plan's room is kept by the filter of the
scheduler extender, so by those schedulers that have it attached. That is enough if the default
scheduler is among them, or else if a taint keeps out who doesn't mean to come and all who tolerate
it use such a scheduler. DaemonSets are set apart: their pods are made per node and no plan counts
on room that one of them would take. Otherwise plans are carried out only if a person approves.
"""

from collections.abc import Collection, Sequence

from fairstow.cluster.model import Node, Pod
from fairstow.cluster.snapshot import Snapshot
from fairstow.packing.policy.membership import may_run

DEFAULT_SCHEDULER = "default-scheduler"
_KEEPING_OUT = ("NoSchedule", "NoExecute")
_OF_KUBERNETES = "node.kubernetes.io/"
"""Prefix of taints that come and go with a node's health."""


def unenforced(snapshot: Snapshot, nodes: Sequence[Node], enforced: Collection[str]) -> str:
    """Say why room on a pool's nodes can't be kept for a plan; "" if it can.

    Args:
        snapshot: the cluster.
        nodes: the pool's.
        enforced: schedulers that have the filter attached.
    """
    if DEFAULT_SCHEDULER in enforced:
        return ""
    if not enforced:
        return "no scheduler has Fairstow's filter attached"
    bare = [node.name for node in nodes if not _keeps_out(node)]
    if bare:
        return (
            f"{_some(bare)} {'has' if len(bare) == 1 else 'have'} no NoSchedule taint, so pods of "
            f"{DEFAULT_SCHEDULER} may land there, which doesn't have Fairstow's filter attached"
        )
    own = {node.name for node in nodes}
    strangers = [
        pod
        for pod in snapshot.pods
        if pod.shape.scheduler not in enforced
        and not pod.mirror
        and not (pod.owner is not None and pod.owner.kind == "DaemonSet")
        and (pod.home in own if pod.home else any(may_run(pod, node) for node in nodes))
    ]
    if not strangers:
        return ""
    names = _some([f"pod {pod.ref}" for pod in strangers])
    schedulers = ", ".join(sorted({pod.shape.scheduler for pod in strangers}))
    uses = "uses" if len(strangers) == 1 else "use"
    return f"{names} {uses} {schedulers}, which doesn't have Fairstow's filter attached"


def schedulers(snapshot: Snapshot, nodes: Sequence[Node], waiting: Sequence[Pod]) -> list[str]:
    """Return the schedulers whose pods are on the pool's nodes or wait for it, by name."""
    there = [pod for node in nodes for pod in snapshot.pods_on[node.name]]
    return sorted(
        {
            pod.shape.scheduler
            for pod in (*there, *waiting)
            if not pod.mirror and not (pod.owner is not None and pod.owner.kind == "DaemonSet")
        }
    )


def _keeps_out(node: Node) -> bool:
    return any(
        t.effect in _KEEPING_OUT and not t.key.startswith(_OF_KUBERNETES) for t in node.taints
    )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
