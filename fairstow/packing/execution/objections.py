"""Whether what is left of a plan still holds in the cluster as it is now, and if not, why.

What is left is replayed on a fresh snapshot with the scheduler's own rules (`State`): the step
under way from where it has got to, then the steps after it. Only the plan's pods, nodes and
disruption budgets are looked at, so changes elsewhere don't make a plan stale. A pod that has not
been recreated yet is judged by the pod it replaces, or by another of its workload.

A disruption budget that allows nothing right now is no reason to give up: it recovers when the pods
moved before are ready. So it only makes the plan wait (`Objection.passes`). So does a serving pool
that can't spare an instance right now.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from fairstow.api import PackingPlan, Reason
from fairstow.cluster.model import Pod, Resources
from fairstow.cluster.movable import Movability
from fairstow.cluster.snapshot import Snapshot
from fairstow.cluster.state import State
from fairstow.cluster.times import seconds
from fairstow.packing.execution.progress import Progress
from fairstow.packing.reservations import Hold, PlanHolds, SnapshotWorld


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a plan can't go on. Attributes: passes: it may do so a little later."""

    reason: Reason
    message: str
    passes: bool = False


def objections(
    plan: PackingPlan, holds: PlanHolds, progress: Progress, snapshot: Snapshot
) -> tuple[Objection, ...]:
    """Return why the rest of a plan doesn't hold; empty if it does. The first is told to people."""
    return tuple(_Replay(plan, holds, snapshot).run(progress))


class _Replay:
    def __init__(self, plan: PackingPlan, holds: PlanHolds, snapshot: Snapshot) -> None:
        self._plan, self._holds = plan, holds
        self._nodes = snapshot.node_by_name
        self._world = SnapshotWorld(snapshot)
        self._state = State(snapshot)
        # Budgets and serving pools are asked for each step by itself.
        self._movable = Movability(replace(snapshot, budgets=(), engine_pools=()))
        self._engines = snapshot.engines
        self._budgets = Movability(snapshot)
        self._from = {entry.uid: entry.from_ for entry in plan.spec.moves}
        self._from |= {entry.uid: entry.from_ for entry in plan.spec.evictions}
        self._used: set[str] = set()
        self._queues: dict[tuple[str, Resources], list[Pod]] = {}

    def run(self, progress: Progress) -> Iterator[Objection]:
        """Yield what stands against the step under way and those after it."""
        if not (self._plan.status and self._plan.status.step):
            yield from self._all_there()
        for hold in progress.missing:
            yield _gone(self._ref(hold), "no longer exists or waits")
        yield from self._other(progress.vacant)
        yield from self._leave(progress.to_evict)
        yield from self._allowed(progress.to_evict)
        for pod in progress.leaving:
            self._take_off(pod)
        for hold, pod in (*progress.awaited, *progress.coming):
            self._used.add(pod.uid)
            yield from self._arrive(hold, pod)
        for step in range(self._holds.step + 1, len(self._plan.spec.steps)):
            yield from self._later(step)

    def _other(self, vacant: tuple[Hold, ...]) -> Iterator[Objection]:
        """A pod that comes back asking for something else has no place in the plan."""
        for hold in vacant:
            for pod in self._world.pods_of(hold.beneficiary):
                if self._came_back(pod) and pod.shape.requests != hold.requests:
                    said = f"pod {pod.ref} asks for something else than the pod that was moved"
                    yield Objection(Reason.POD_CHANGED, f"{said}: its workload was changed")

    def _came_back(self, pod: Pod) -> bool:
        """Whether a pod was made since the step began, as far as that can be told."""
        status = self._plan.status
        began = seconds(status.step.started_at) if status and status.step else None
        if pod.terminating or began is None or pod.uid in (self._holds.known or ()):
            return False
        since = pod.started if pod.node else pod.waiting_since
        return since >= began if since is not None else pod.pending

    def _all_there(self) -> Iterator[Objection]:
        """Before a step begins nobody has evicted its pods, so they must run."""
        for each in self._plan.spec.steps[self._holds.step].evict:
            pod = self._world.pod(each.uid)
            if pod is None or pod.terminating:
                yield _gone(f"pod {each.namespace}/{each.name}", "no longer runs")

    def _later(self, step: int) -> Iterator[Objection]:
        found: list[Pod] = []
        for each in self._plan.spec.steps[step].evict:
            pod = self._world.pod(each.uid)
            if pod is None or pod.terminating:
                yield _gone(f"pod {each.namespace}/{each.name}", "no longer runs")
            else:
                found.append(pod)
        yield from self._leave(tuple(found))
        for hold in self._holds.holds:
            if hold.step != step:
                continue
            candidate = self._candidate(hold)
            if candidate is None:
                yield _gone(self._ref(hold), "no longer exists or waits")
            else:
                self._used.add(candidate.uid)
                yield from self._arrive(hold, candidate)

    def _leave(self, pods: tuple[Pod, ...]) -> Iterator[Objection]:
        for pod in pods:
            source = self._from.get(pod.uid, pod.node)
            if pod.node != source:
                yield Objection(
                    Reason.POD_CHANGED, f"pod {pod.ref} is not on {source} as the plan says"
                )
            elif why := self._movable.refusal(pod):
                yield Objection(Reason.POD_PROTECTED, f"pod {pod.ref} may not be moved: {why}")
            elif len(self._budgets.budgets(pod)) > 1:
                yield Objection(
                    Reason.POD_PROTECTED, f"several disruption budgets select pod {pod.ref}"
                )
            self._take_off(pod)

    def _allowed(self, pods: tuple[Pod, ...]) -> Iterator[Objection]:
        down = Counter(budget for pod in pods for budget in self._budgets.budgets(pod))
        for budget, count in down.items():
            if count > budget.allowed:
                said = f"disruption budget {budget.ref} allows {budget.allowed} now"
                yield Objection(
                    Reason.BUDGET_EXHAUSTED, f"{said}, the step evicts {count} of its pods", True
                )

        for pod in pods:
            if why := self._engines.needed(pod):
                yield Objection(Reason.ENGINE_NEEDED, f"pod {pod.ref} has to wait: {why}", True)

    def _arrive(self, hold: Hold, pod: Pod) -> Iterator[Objection]:
        node = self._nodes.get(hold.node)
        if node is None:
            yield Objection(Reason.NODE_GONE, f"node {hold.node} no longer exists")
            return
        self._take_off(pod)
        if refusal := self._state.refusal(pod, node):
            reason = Reason.NODE_GONE if node.closed else Reason.NODE_CHANGED
            yield Objection(
                reason, f"node {hold.node} no longer takes {self._ref(hold)}: {refusal.detail}"
            )
        self._state.add(pod, node)

    def _take_off(self, pod: Pod) -> None:
        if self._state.home(pod) is not None:
            self._state.remove(pod)

    def _candidate(self, hold: Hold) -> Pod | None:
        """Return the pod that a later step's place is for: waiting, or to be evicted before."""
        planned = self._world.pod(hold.pod)
        if planned is not None and hold.pod in self._from:
            return planned
        waiting = self._waiting(hold)
        if (
            planned is not None
            and planned.pending
            and planned.shape.requests == hold.requests
            and hold.pod not in self._used
        ):
            return planned
        while waiting and waiting[-1].uid in self._used:
            waiting.pop()  # what is used stays used
        return waiting[-1] if waiting else None

    def _waiting(self, hold: Hold) -> list[Pod]:
        """Return the pods that wait and would do for a place, the first one last."""
        key = hold.beneficiary, hold.requests
        if key not in self._queues:
            self._queues[key] = sorted(
                (
                    pod
                    for pod in self._world.pods_of(hold.beneficiary)
                    if pod.pending and pod.shape.requests == hold.requests
                ),
                key=lambda pod: pod.uid,
                reverse=True,
            )
        return self._queues[key]

    def _ref(self, hold: Hold) -> str:
        return f"pod of {hold.beneficiary}"


def _gone(what: str, how: str) -> Objection:
    return Objection(Reason.POD_GONE, f"{what} {how}")
