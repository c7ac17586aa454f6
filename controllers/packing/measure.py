"""What is measured of plans: how long pods and plans take, and what becomes of the room kept.

Told by `plans`, the loop that carries plans out, so only the replica that acts measures.
"""

from controllers import metrics
from controllers.packing.parts import Parts
from fairstow.api import PackingPlan, Reason
from fairstow.cluster.kinds import Kind
from fairstow.cluster.model import Pod
from fairstow.cluster.times import seconds
from fairstow.packing.reservations import arrived, holds_of, reserves


class Measure:
    """See the module."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._waiting: dict[str, int] = {}

    def begin(self) -> None:
        """Follow the pods that wait."""
        for pod in self._parts.cluster.waiting():
            self._seen(pod.ref, pod)
        self._parts.cluster.listeners.append(self._changed)

    def room_kept(self) -> None:
        """Count the pods for which plans under way keep room."""
        plans = self._parts.objects.plans
        metrics.RESERVATIONS.set(sum(self._open(plan) for plan in plans if reserves(plan)))

    def ended(self, before: PackingPlan, after: PackingPlan, reason: Reason) -> None:
        """Count a plan that has ended; `before` is what was known until then."""
        metrics.PLANS_ENDED.labels(reason.value).inc()
        made = seconds(after.metadata.creation_timestamp or "")
        if made is not None:
            took = max(self._parts.now - made, 0)
            metrics.PLAN_SECONDS.labels(after.spec.policy or "", reason.value).observe(took)
        if reason is not Reason.SUCCEEDED and reserves(before):
            metrics.RESERVATIONS_EXPIRED.labels(reason.value).inc(self._open(before))

    def _open(self, plan: PackingPlan) -> int:
        holds = holds_of(plan)
        filled, _ = arrived(holds, self._parts.cluster)
        return len(holds.holds) - len(filled)

    def _changed(self, kind: Kind, name: str) -> None:
        if kind.name == "Pod":
            self._seen(name, self._parts.cluster.pod_named(name))

    def _seen(self, name: str, pod: Pod | None) -> None:
        if pod is None:
            self._waiting.pop(name, None)
        elif pod.node:
            since = self._waiting.pop(name, None)
            if since is not None:
                self._placed(pod, since)
        elif pod.waiting_since is not None:
            self._waiting.setdefault(name, pod.waiting_since)

    def _placed(self, pod: Pod, since: int) -> None:
        for plan in self._parts.objects.plans:
            if reserves(plan) and _gives(plan, pod):
                took = max(self._parts.now - since, 0)
                metrics.WAIT_SECONDS.labels(plan.spec.policy or "").observe(took)
                return


def _gives(plan: PackingPlan, pod: Pod) -> bool:
    """Whether a plan gives that pod its node, other than to one that it moves."""
    placements = {placement.uid for placement in plan.spec.placements}
    return any(
        hold.pod in placements and (hold.beneficiary, hold.node) == (pod.workload, pod.node)
        for hold in holds_of(plan).holds
    )
