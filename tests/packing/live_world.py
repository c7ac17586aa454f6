"""A small cluster that lives: controllers recreate pods, a scheduler binds them, pods terminate.

`LiveWorld` plays what a plan's execution meets. Every pod is a raw object; the scheduler asks the
planner's own filter rules (`State`) and then the reservations, as the extender has it do. What it
leaves out (budgets' own controller, preemption), end-to-end tests have.
"""

import copy
import itertools
from collections.abc import Callable

from fairstow.api import PackingPlan
from fairstow.cluster.snapshot import Snapshot
from fairstow.cluster.state import State
from fairstow.packing.execution.turn import Ask, Enforcement, Gate, Seen, Turn, decide
from fairstow.packing.history import closed
from fairstow.packing.reservations import Reservations, SnapshotWorld, holds_of, reserves
from tests.packing.checker_clusters import Json, ref
from tests.packing.clusters import snapshot

OPEN = Gate()
KEPT = Enforcement(expected=True)


class LiveWorld:
    """A cluster and the plan that is carried out in it.

    Args:
        objects: raw objects to begin with.
        plan: approved.
        choose: which of the feasible nodes the scheduler takes.
    """

    def __init__(
        self,
        objects: list[Json],
        plan: PackingPlan,
        choose: Callable[[list[str]], str] = min,
    ) -> None:
        self.objects = copy.deepcopy(objects)
        self.plan = plan
        self.choose = choose
        self.now = 1_000_000
        self.evicted: list[str] = []
        self.turns: list[Turn] = []
        self._serial = itertools.count()
        self._seen: Seen | None = None

    @property
    def snapshot(self) -> Snapshot:
        """The cluster as it is."""
        return snapshot(self.objects)

    def pods(self) -> list[Json]:
        """Raw pods."""
        return [o for o in self.objects if o["kind"] == "Pod"]

    def turn(self, gate: Gate = OPEN, enforcement: Enforcement = KEPT) -> Turn:
        """Take one turn, write its status or do what it says."""
        turn = decide(Ask(self.plan, self.snapshot, self.now, gate, enforcement, self._seen))
        self._seen = turn.seen
        self.turns.append(turn)
        if not turn.settled:
            self.plan = self.plan.model_copy(update={"status": turn.status})
        for pod in turn.evict:
            self.evict(pod.uid)
        return turn

    def evict(self, uid: str) -> None:
        """A pod begins to terminate, and its controller recreates it."""
        item = next(o for o in self.pods() if o["metadata"]["uid"] == uid)
        if "deletionTimestamp" in item["metadata"]:
            return
        self.evicted.append(uid)
        item["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"
        if not item["metadata"]["ownerReferences"]:
            return
        again = copy.deepcopy(item)
        del again["metadata"]["deletionTimestamp"]
        again["metadata"] |= {"name": f"again-{next(self._serial)}"}
        again["metadata"]["uid"] = f"uid-{again['metadata']['name']}"
        again["spec"].pop("nodeName")
        again["status"] = {"phase": "Pending"}
        self.objects.append(again)

    def terminate(self) -> None:
        """Everything that terminates is gone."""
        self.objects = [o for o in self.objects if "deletionTimestamp" not in o["metadata"]]

    def schedule(self) -> None:
        """Bind each waiting pod that a node takes and the reservations let through."""
        for item in self.pods():
            if "nodeName" in item["spec"] or "deletionTimestamp" in item["metadata"]:
                continue
            now = self.snapshot
            pod = next(p for p in now.pods if p.uid == item["metadata"]["uid"])
            state = State(now)
            feasible = [n.name for n in now.nodes if state.refusal(pod, n) is None]
            kept = Reservations([holds_of(self.plan)] if reserves(self.plan) else [])
            if left := kept.verdict(pod, feasible, SnapshotWorld(now)).nodes:
                item["spec"]["nodeName"] = self.choose(sorted(left))
                item["status"] = {"phase": "Running"}

    def run(self, most: int = 400) -> None:
        """Let time pass until the plan has ended."""
        for _ in range(most):
            if closed(self.plan):
                return
            self.turn()
            self.terminate()
            self.schedule()
            self.now += 5
        raise AssertionError(f"no end: {self.plan.status}")

    def reason(self, kind: str = "Succeeded") -> str:
        """The reason of a condition."""
        conditions = self.plan.status.conditions if self.plan.status else ()
        return next((c.reason for c in conditions if c.type == kind), "")


__all__ = ["KEPT", "OPEN", "LiveWorld", "ref"]
