"""Pods on their way: answered by the filter, not yet bound: the plugin *steer*.

Between our answer and the watch that shows the pod bound lie milliseconds in which the scheduler
asks about the next pod. So each answer that touches room which plans keep is *assumed* at once:

- a pod that a plan steers goes to one node, and counts as arrived there: of two pods of a
  workload, the second isn't sent after the same hold;
- any other pod counts on each of the nodes it was left, since we aren't told which one the
  scheduler takes: two competitors can't both take what is over on a node.

On more than a hundred nodes the scheduler looks at some of them only, each time at others. A pod
whose node has room and wasn't looked at is held back for its next turn, for a minute at most.

An assumption ends when the watch shows the pod bound or gone, when the scheduler asks about the
pod again (it didn't bind), or when it expires. Called by `verbs.py` and, on pod events, `index.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from fairstow.api.reasons import Reason
from fairstow.cluster.live import LiveCluster
from fairstow.cluster.model import Pod
from fairstow.packing.reservations import Reservations, Verdict

EXPIRY_SECONDS = 30.0
"""How long an assumption holds if nothing is heard of the pod: far longer than a binding takes."""

SAMPLE = 100
"""With fewer feasible nodes than this, the scheduler has looked at all there are."""
_MOST_HELD = 1000
_NOTHING: Mapping[str, int] = {}
PATIENCE_SECONDS = 60.0
"""How long a pod is held back for a node that the scheduler doesn't name."""


@dataclass(frozen=True)
class Assumption:
    """A pod on its way. Attributes: nodes: it goes to one of these; steered: to the only one."""

    pod: Pod
    nodes: tuple[str, ...]
    steered: bool
    until: float


def narrowed(verdict: Verdict) -> Verdict:
    """Return a verdict that steers to one node: which hold a pod fills must not be left open."""
    if not verdict.steered or len(verdict.nodes) < 2:
        return verdict
    chosen, *others = sorted(verdict.nodes)
    said = f"{verdict.steered} has this pod run on {chosen}"
    failed = {**verdict.failed, **dict.fromkeys(others, said)}
    return Verdict([chosen], failed, verdict.steered, verdict.reason)


def overlooked(
    verdict: Verdict, reservations: Reservations, pod: Pod, nodes: list[str], world: Assumed
) -> Verdict:
    """Return a verdict that holds a pod back if the scheduler just didn't look at its node."""
    if verdict.steered or len(nodes) < SAMPLE:
        return verdict
    others = [node for node in sorted(reservations.nodes - set(nodes)) if world.fits(pod, node)]
    wider = reservations.verdict(pod, [*nodes, *others], world)
    if not wider.steered or not world.patient(pod.uid):
        return verdict
    where = ", ".join(sorted(wider.nodes))
    said = f"{wider.steered} has this pod run on {where}, at which the scheduler didn't look"
    return Verdict([], dict.fromkeys(nodes, said), "", Reason.STEERED)


class Assumed:
    """The live cluster with the pods on their way: the `World` that reservations are judged by.

    Nominations don't count, neither those of a preemption (the scheduler's own filters keep that
    room) nor a plan's hints (holds keep it): each would be counted twice.

    Attributes:
        version: grows when a steered pod is assumed or no longer is.
    """

    def __init__(self, live: LiveCluster, clock: Callable[[], float]) -> None:
        self.version = 0
        self._live = live
        self._clock = clock
        self._by_uid: dict[str, Assumption] = {}
        self._by_name: dict[str, str] = {}
        self._tentative: dict[str, dict[str, int]] = {}
        self._held: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._by_uid)

    # What changes

    def take(self, pod: Pod, nodes: Iterable[str], *, steered: bool) -> None:
        """Assume that a pod will be bound to one of the nodes."""
        self.release(pod.uid)
        until = self._clock() + EXPIRY_SECONDS
        assumption = Assumption(pod, tuple(nodes), steered, until)
        self._by_uid[pod.uid] = assumption
        self._by_name[pod.ref] = pod.uid
        self._count(assumption, 1)

    def release(self, uid: str) -> None:
        """Forget what was assumed of a pod."""
        assumption = self._by_uid.pop(uid, None)
        if assumption is not None:
            self._by_name.pop(assumption.pod.ref, None)
            self._count(assumption, -1)

    def _count(self, assumption: Assumption, sign: int) -> None:
        if assumption.steered:
            self.version += 1
            return
        for node in assumption.nodes:
            taken = self._tentative.setdefault(node, {})
            for resource, amount in assumption.pod.shape.requests:
                taken[resource] = taken.get(resource, 0) + sign * amount
            if not any(taken.values()):
                del self._tentative[node]

    def expire(self) -> None:
        """Forget what nothing was heard of for too long."""
        now = self._clock()
        # In the order of their expiry: each was taken with the same span.
        while self._by_uid:
            uid, oldest = next(iter(self._by_uid.items()))
            if oldest.until > now:
                return
            self.release(uid)

    def patient(self, uid: str) -> bool:
        """Whether a pod may be held back once more; its minute runs from the first time."""
        now = self._clock()
        if len(self._held) > _MOST_HELD:
            self._held = {u: at for u, at in self._held.items() if now - at < 2 * PATIENCE_SECONDS}
        return now - self._held.setdefault(uid, now) < PATIENCE_SECONDS

    def pod_changed(self, name: str) -> None:
        """Look at "namespace/name", of which the watch has news."""
        uid = self._by_name.get(name)
        if uid is None:
            return
        pod = self._live.pod(uid)
        if pod is None or pod.node or pod.terminating:
            self.release(uid)

    # What is asked

    def pod(self, uid: str) -> Pod | None:
        """Return a pod that hasn't ended, by uid."""
        return self._live.pod(uid)

    def free(self, node: str) -> Mapping[str, int] | None:
        """Return what is left on a node, terminating pods and those on their way counted."""
        found = self._live.nodes.get(node)
        if found is None:
            return None
        left = self.settled(node)
        for resource, amount in self.tentative(node).items():
            left[resource] = left.get(resource, 0) - amount
        return left

    def settled(self, node: str) -> dict[str, int]:
        """Return what is left on a node if of the pods on their way only the steered ones come."""
        found = self._live.nodes.get(node)
        left = dict(found.allocatable) if found else {}
        for pod in self._live.pods_on(node):
            if pod.node:
                _subtract(left, pod)
        for assumption in self._by_uid.values():
            if assumption.steered and node in assumption.nodes:
                _subtract(left, assumption.pod)
        return left

    def tentative(self, node: str) -> Mapping[str, int]:
        """Return what pods that aren't steered may take of a node, on their way."""
        return self._tentative.get(node, _NOTHING)

    def fits(self, pod: Pod, node: str) -> bool:
        """Whether a node has the room for a pod, whatever else is kept there."""
        left = self.free(node)
        return left is not None and all(
            amount <= left.get(resource, 0) for resource, amount in pod.shape.requests
        )

    def pods_of(self, beneficiary_: str) -> Iterable[Pod]:
        """Return the pods of a workload or of a name; those steered are where they are going."""
        found = {pod.uid: pod for pod in self._live.pods_of(beneficiary_)}
        for assumption in self._by_uid.values():
            pod = assumption.pod
            if assumption.steered and pod.workload == beneficiary_:
                found[pod.uid] = replace(pod, node=assumption.nodes[0])
        return found.values()


def _subtract(left: dict[str, int], pod: Pod) -> None:
    for resource, amount in pod.shape.requests:
        left[resource] = left.get(resource, 0) - amount
