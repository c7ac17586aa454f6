"""Why a pool's pending pods wait, one word each: what `kubectl get gpool -o yaml` shows.

Called for a pool's status and to tell whether a plan could help at all. By the rules of the nodes
and by room alone, once per shape of pods: cheap enough for every turn; `explain` has the whole
story. A pod is the pool's if it asks for the pool's accelerator and may by its node selector and
affinity run on one of the pool's nodes; or if it may on no node of the cluster that has the
accelerator, since then it would be nobody's. In the order in which they are asked:

    NoSuchAccelerator  no node with the accelerator matches its node selector and affinity
    NodesUnavailable   all that match are cordoned, not Ready or being removed
    Tainted            all others have a taint that it doesn't tolerate
    TooLarge           it would fit none of the rest even if they were empty
    FitsNow            one has room: what else keeps it waiting are rules between pods, volumes, …
    Fragmented         none has, but all of them together have of everything it asks for
    NoRoom             not even together
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fairstow.api import GpuPoolSpec, Reason
from fairstow.cluster.model import Node, Pod, Shape
from fairstow.cluster.rules import affinity_mismatch, deficits, untolerated
from fairstow.cluster.snapshot import Snapshot
from fairstow.packing.policy.membership import asks, takes

HOPEFUL = frozenset({Reason.FITS_NOW, Reason.FRAGMENTED, Reason.NO_ROOM})
"""With these a plan may help: room can move, if only from nodes that others may leave."""


@dataclass(frozen=True)
class Waiting:
    """The pool's pending pods, each with the reason."""

    pods: tuple[tuple[Pod, Reason], ...]

    @property
    def hopeful(self) -> tuple[Pod, ...]:
        """Those for which a plan may do something."""
        return tuple(pod for pod, reason in self.pods if reason in HOPEFUL)

    @property
    def by_reason(self) -> Mapping[Reason, int]:
        """How many there are of each reason, most first."""
        counts: dict[Reason, int] = {}
        for _, reason in self.pods:
            counts[reason] = counts.get(reason, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def waiting(snapshot: Snapshot, pool: GpuPoolSpec, nodes: Sequence[Node]) -> Waiting:
    """Return the pending pods of a pool, highest priority first; `nodes` are its nodes."""
    resource = pool.accelerator_resource
    own = {node.name for node in nodes}
    others = [n for n in snapshot.nodes if n.name not in own and n.allocatable.get(resource, 0) > 0]
    free = {node.name: snapshot.free(node) for node in nodes if takes(node)}
    known: dict[Shape, Reason | None] = {}
    found = []
    for pod in snapshot.pending:
        if not asks(pod, resource):
            continue
        if pod.shape not in known:
            known[pod.shape] = _why(pod.shape, nodes, others, free)
        reason = known[pod.shape]
        if reason is not None:
            found.append((pod, reason))
    return Waiting(tuple(found))


def _why(
    shape: Shape, nodes: Iterable[Node], others: Iterable[Node], free: Mapping[str, dict[str, int]]
) -> Reason | None:
    """Return why pods of a shape wait; None where they are another pool's."""
    matching = [n for n in nodes if not affinity_mismatch(shape, n)]
    if not matching:
        elsewhere = any(not affinity_mismatch(shape, n) for n in others)
        return None if elsewhere else Reason.NO_SUCH_ACCELERATOR
    taking = [n for n in matching if takes(n)]
    if not taking:
        return Reason.NODES_UNAVAILABLE
    tolerated = [n for n in taking if untolerated(shape, n) is None]
    if not tolerated:
        return Reason.TAINTED
    large = [n for n in tolerated if not deficits(shape, n.allocatable)]
    if not large:
        return Reason.TOO_LARGE
    if any(not deficits(shape, free[n.name]) for n in large):
        return Reason.FITS_NOW
    together: dict[str, int] = {}
    for node in tolerated:
        for resource, amount in free[node.name].items():
            together[resource] = together.get(resource, 0) + max(amount, 0)
    return Reason.NO_ROOM if deficits(shape, together) else Reason.FRAGMENTED
