"""How far the step under way is.

A step evicts its pods together and is finished when they are gone and every pod that is to arrive
has arrived. A pod that moves is recreated by its controller under another uid, so arrivals are
counted per workload and node (`reservations`). Three things can come instead of an arrival:

- the pod of a placement is gone: its workload no longer wants it (`missing`);
- it got another node from the scheduler (`elsewhere`), which is as good for it;
- nobody is waiting for the place of a pod that was moved (`vacant`): its replacement went elsewhere
  or its workload was scaled down. Controllers need a moment to recreate a pod, so that is only said
  once nothing has changed for a while (`Progress.settled`).
"""

from collections import Counter
from dataclasses import dataclass

from fairstow.api import PackingPlan
from fairstow.cluster.model import Pod
from fairstow.packing.reservations import Hold, PlanHolds, World, arrived

QUIET_SECONDS = 15
"""How long nothing must have changed before a place that nobody waits for is given up."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The pods and places of the step under way.

    Attributes:
        step: its index.
        to_evict: pods that are still to be evicted.
        leaving: evicted pods that are terminating.
        arrived: places that are taken by those they are for.
        awaited: places with a pod that waits for them, as (place, pod).
        coming: places of moved pods that have yet to go, as (place, pod).
        elsewhere: places whose pod runs on another node.
        vacant: places of moved pods for which nobody waits.
        missing: places of pending pods that no longer exist.
    """

    step: int
    to_evict: tuple[Pod, ...]
    leaving: tuple[Pod, ...]
    arrived: tuple[Hold, ...]
    awaited: tuple[tuple[Hold, Pod], ...]
    coming: tuple[tuple[Hold, Pod], ...]
    elsewhere: tuple[Hold, ...]
    vacant: tuple[Hold, ...]
    missing: tuple[Hold, ...]

    @property
    def untouched(self) -> bool:
        """Whether the step can still be left undone as if it had not begun."""
        return not (self.leaving or self.arrived or self.elsewhere or self.vacant)

    def settled(self, quiet: float) -> bool:
        """Whether it is finished but for places that nobody has waited for, for `quiet` seconds."""
        waiting = self.to_evict or self.leaving or self.awaited or self.missing
        return not waiting and (not self.vacant or quiet >= QUIET_SECONDS)

    @property
    def mark(self) -> tuple[object, ...]:
        """What differs whenever anything of it has changed."""
        return (
            self.step,
            tuple(pod.uid for pod in self.to_evict),
            tuple(pod.uid for pod in self.leaving),
            len(self.arrived),
            tuple(pod.uid for _, pod in self.awaited),
            len(self.elsewhere),
            len(self.vacant),
        )


def look(plan: PackingPlan, holds: PlanHolds, world: World) -> Progress:
    """Return how far the step under way is."""
    placed = {entry.uid for entry in plan.spec.placements}
    step = plan.spec.steps[holds.step]
    present = [pod for each in step.evict if (pod := world.pod(each.uid)) is not None]
    filled, open_ = arrived(holds, world)
    awaited: list[tuple[Hold, Pod]] = []
    coming: list[tuple[Hold, Pod]] = []
    elsewhere: list[Hold] = []
    vacant: list[Hold] = []
    missing: list[Hold] = []
    waiting = _waiting(open_, world)
    for hold in open_:
        planned = world.pod(hold.pod)
        if waiting[hold.beneficiary]:
            awaited.append((hold, _next(waiting[hold.beneficiary], hold)))
        elif hold.pod not in placed:
            if planned is None:
                vacant.append(hold)
            else:
                coming.append((hold, planned))
        elif planned is not None and planned.node:
            elsewhere.append(hold)
        else:
            missing.append(hold)
    return Progress(
        step=holds.step,
        to_evict=tuple(pod for pod in present if not pod.terminating),
        leaving=tuple(pod for pod in present if pod.terminating),
        arrived=tuple(filled),
        awaited=tuple(awaited),
        coming=tuple(coming),
        elsewhere=tuple(elsewhere),
        vacant=tuple(vacant),
        missing=tuple(missing),
    )


def known(holds: PlanHolds, world: World) -> tuple[str, ...]:
    """Return the uids of pods that are on a step's places already, before it has begun."""
    places: dict[str, set[str]] = {}
    for hold in holds.holds:
        if hold.step == holds.step:
            places.setdefault(hold.beneficiary, set()).add(hold.node)
    found = {
        pod.uid for who, nodes in places.items() for pod in world.pods_of(who) if pod.node in nodes
    }
    return tuple(sorted(found))


def _waiting(holds: list[Hold], world: World) -> dict[str, list[Pod]]:
    """Return the pods of each beneficiary that wait for a node and ask for what is held."""
    asked = Counter((hold.beneficiary, hold.requests) for hold in holds)
    return {
        who: sorted(
            (
                pod
                for pod in world.pods_of(who)
                if not pod.node and not pod.terminating and (who, pod.shape.requests) in asked
            ),
            key=lambda pod: pod.uid,
        )
        for who in {hold.beneficiary for hold in holds}
    }


def _next(waiting: list[Pod], hold: Hold) -> Pod:
    """Take a waiting pod for a place: the very pod that the plan names, if it is there."""
    chosen = next((pod for pod in waiting if pod.uid == hold.pod), waiting[0])
    waiting.remove(chosen)
    return chosen
