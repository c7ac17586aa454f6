"""Carries plans out: one turn of each unfinished plan's state machine after the other.

`fairstow.packing.execution` decides; this shell reads, writes and acts. A turn that changes a
plan's status does nothing else, so what is acted upon has been on record before.

Rights used: packingplans and packingpolicies (get), packingplans/status (patch), pods/eviction
(create), nodes (patch: `TARGET`); those of `engines`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from controllers import metrics
from controllers.pace import SHARE, Pace
from controllers.packing import engines
from controllers.packing.extender import Extender
from controllers.packing.measure import Measure
from controllers.packing.parts import Parts
from fairstow.api import PackingPlan, PackingPlanStatus, Reason
from fairstow.api.status import condition, conditions_of
from fairstow.cluster.errors import InputError
from fairstow.kube.aio.api import Outcome
from fairstow.kube.aio.paths import path_of
from fairstow.kube.problems import ApiError
from fairstow.packing import announce
from fairstow.packing.execution.gate import gate
from fairstow.packing.execution.progress import Progress
from fairstow.packing.execution.turn import Ask, Gate, Seen, decide
from fairstow.packing.history import closed
from fairstow.packing.reservations import holds_of, reserves

if TYPE_CHECKING:
    from fairstow.cluster.engines import Engines
    from fairstow.cluster.model import Pod
    from fairstow.kube.aio.api import Api

MANAGER = "fairstow-plans"
TARGET = "fairstow.dev/plan-target"
"""Label of nodes that a plan under way needs: the plan and its step.

Autoscalers are told to keep them, and the label's change makes the scheduler try those pods again
that the extender refused a node before; it would look at them only every five minutes otherwise.
"""

_KEPT = {
    "cluster-autoscaler.kubernetes.io/scale-down-disabled": "true",
    "karpenter.sh/do-not-disrupt": "true",
}
_LOOP = "plans"
_LEAST = 0.5
"""Seconds between turns."""
_IDLE_SECONDS = 30
_AFTER_FAILURE = 5.0
_ASK_AGAIN = 5
"""Seconds until an eviction is asked for again; its outcome is seen by then."""

logger = logging.getLogger(__name__)


class PlanLoop:
    """See the module.

    Args:
        parts: what all packing controllers work with.
        api: to act with.
        extender: who keeps the room of plans.
        fresh: whether what is known of nodes and pods is up to date.
        held: whether this replica still has the Lease.
    """

    def __init__(
        self,
        parts: Parts,
        api: Api,
        extender: Extender,
        fresh: Callable[[], bool],
        held: Callable[[], bool],
    ) -> None:
        self._parts, self._api, self._extender = parts, api, extender
        self._fresh, self._held = fresh, held
        self._pace = Pace(parts, _LEAST)
        self._measure = Measure(parts)
        self._seen: dict[str, Seen | None] = {}
        self._asked: dict[str, int] = {}
        self._rested: dict[str, tuple[object, float]] = {}
        parts.cluster.listeners.append(lambda _kind, _name: self._pace.wake())
        parts.objects.listeners.append(lambda _kind, _name: self._pace.wake())

    async def run(self) -> None:
        """Take turns until cancelled."""
        self._measure.begin()
        await self._pace.run(_LOOP, self.turn)

    async def turn(self) -> int | None:
        """Look at all plans once; return when to look again if nothing changes."""
        # 1. What a predecessor left behind: nodes kept for plans that aren't under way any more,
        #    and engines that drain for them.
        plans = [p for p in self._parts.objects.plans if not p.what_if]
        await self._keep_targets(plans)
        await engines.release(self._api, self._parts.cluster.engine_drains, plans)

        # 2. Each plan by itself; one that fails doesn't stop the others.
        waits: list[float] = []
        for plan in plans:
            if not closed(plan):
                again = await self._guarded(plan)
                waits.append(_IDLE_SECONDS if again is None else min(again, _IDLE_SECONDS))
        self._forget(plans)
        self._measure.room_kept()
        return self._parts.now + int(min(waits)) if waits else None

    async def _guarded(self, plan: PackingPlan) -> float | None:
        """Take a plan's turn; a server that can't be reached is the matter of the whole loop."""
        try:
            return await self._turn(plan)
        except ApiError as error:
            logger.warning("plan %s: %s", plan.metadata.name, error)
        except InputError:
            raise
        except Exception:
            logger.exception(
                "plan %s: a turn failed by a fault of Fairstow's own", plan.metadata.name
            )
        metrics.TURN_FAILURES.labels(_LOOP).inc()
        return _AFTER_FAILURE

    def _rests(self, plan: PackingPlan, known: object) -> float:
        """Return for how long a plan that waits isn't looked at, itself and its gate unchanged.

        In a large cluster that changes all the time, plans that wait for a person for days would
        else keep a core busy.
        """
        before, until = self._rested.get(plan.metadata.name, (None, 0.0))
        return until - time.monotonic() if before == known else 0.0

    def _forget(self, plans: Iterable[PackingPlan]) -> None:
        """Forget what was seen of plans that have ended or are gone, and what is long past."""
        now = self._parts.now
        unfinished = {plan.metadata.name for plan in plans if not closed(plan)}
        self._rested = {name: rest for name, rest in self._rested.items() if name in unfinished}
        self._asked = {uid: at for uid, at in self._asked.items() if now - at < _ASK_AGAIN}
        self._seen = {name: seen for name, seen in self._seen.items() if name in unfinished}

    async def _turn(self, plan: PackingPlan) -> float | None:
        # 1. Snapshot. What is behind isn't acted upon.
        parts, now = self._parts, self._parts.now
        if not self._fresh():
            return 1.0
        known = plan.metadata.resource_version, gate(plan, parts.objects.policies, now).shut
        if not reserves(plan) and (rest := self._rests(plan, known)) > 0:
            return rest
        allowed = await self._gate(plan)
        kept = await self._extender.enforcement(plan, now)
        with self._pace.work():
            snapshot = parts.cluster.snapshot()
        asked = frozenset(uid for uid, at in self._asked.items() if now - at < _ASK_AGAIN)
        seen = self._seen.get(plan.metadata.name)
        ask = Ask(plan, snapshot, now, allowed, kept, seen, asked)

        # 2. Decide.
        began = time.monotonic()
        turn = await asyncio.to_thread(decide, ask)
        ended = time.monotonic()
        self._rested[plan.metadata.name] = known, ended + SHARE * (ended - began)
        self._seen[plan.metadata.name] = turn.seen

        # 3. Write down what changed, before anything is done.
        if not turn.settled:
            written_plan = await self._write(plan, turn.status)
            if written_plan is not None:
                self._report(plan, written_plan)
            return 0.0

        # 4. Act.
        for pool, pod in turn.drain:
            if await self._still(plan):
                await engines.begin(self._api, self._parts.cluster, plan, pool, pod)
        if turn.evict and not await self._shut(plan, turn.progress):
            await self._evict(plan, turn.evict, snapshot.engines)
        return turn.again

    async def _write(self, plan: PackingPlan, status: PackingPlanStatus) -> PackingPlan | None:
        """Write a plan's status; None if the plan changed meanwhile or is gone: look again."""
        obj = {
            "apiVersion": plan.api_version,
            "kind": plan.kind,
            "metadata": {
                "name": plan.metadata.name,
                "uid": plan.metadata.uid,
                "resourceVersion": plan.metadata.resource_version,
            },
            "status": status.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
        try:
            reply = await self._api.apply(obj, MANAGER, subresource="status")
        except ApiError as error:
            if error.status in (404, 409):
                await self._unchanged(plan)
                return None
            raise
        self._parts.objects.put(reply)
        return PackingPlan.model_validate(reply)

    async def _gate(self, plan: PackingPlan) -> Gate:
        """Return what a plan's policy allows, as the API server has it now."""
        policy = await self._parts.policy(plan.spec.policy) if plan.spec.policy else None
        return gate(plan, [policy] if policy else [], self._parts.now)

    async def _shut(self, plan: PackingPlan, progress: Progress | None) -> bool:
        """Whether its policy has come to forbid a step that can still be left undone."""
        untouched = progress is not None and progress.untouched
        return untouched and (await self._gate(plan)).shut is not None

    async def _evict(self, plan: PackingPlan, pods: tuple[Pod, ...], known: Engines) -> None:
        step = plan.status.steps_done or 0 if plan.status else 0
        moved = {move.uid for move in plan.spec.moves}
        for index, pod in enumerate(pods):
            if not await self._still(plan):
                return
            if not await engines.still_drains(self._api, known.drain(pod)):
                return
            if index == 0:
                self._tell(announce.moves(plan, step))
            self._asked[pod.uid] = self._parts.now
            done = await self._api.evict(pod.namespace, pod.name, pod.uid)
            kind = "move" if pod.uid in moved else "eviction"
            metrics.EVICTIONS.labels(kind, done.outcome.value).inc()
            if done.outcome not in (Outcome.EVICTED, Outcome.GONE):
                logger.info("plan %s: pod %s: %s", plan.metadata.name, pod.ref, done.said)

    async def _still(self, plan: PackingPlan) -> bool:
        """Whether a plan may still evict, asked right before each eviction: others take their time.

        The plan itself is read from the API server, so that nothing is evicted after it says that
        the plan was aborted, given up or deleted.
        """
        if not await self._unchanged(plan):
            return False
        kept = await self._extender.enforcement(plan, self._parts.now)
        return not kept.missing and self._fresh() and self._held()

    async def _unchanged(self, plan: PackingPlan) -> bool:
        """Whether a plan is still as we know it; if it changed, we know it anew from now on."""
        try:
            now = await self._api.get(path_of(plan.api_version, plan.kind, name=plan.metadata.name))
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        unchanged = bool(now["metadata"]["resourceVersion"] == plan.metadata.resource_version)
        if not unchanged:
            self._parts.objects.put(now)
        return unchanged

    async def _keep_targets(self, plans: Iterable[PackingPlan]) -> None:
        """Keep autoscalers from the nodes that plans under way need, and from no others."""
        nodes = self._parts.cluster.nodes
        wanted = {
            node: f"{plan.metadata.name}.{holds.step}"
            for plan in plans
            for holds in (holds_of(plan),)
            if not holds.over(self._parts.now)
            for node in holds.nodes & nodes.keys()
        }
        marked = {
            name: node.labels[TARGET] for name, node in nodes.items() if TARGET in node.labels
        }
        for name in sorted(wanted.keys() | marked.keys()):
            if wanted.get(name) == marked.get(name):
                continue
            try:
                await self._mark(name, wanted.get(name))
            except ApiError as error:  # plans are carried out, and end, whatever nodes say
                logger.warning("node %s can't be labelled: %s", name, error)

    async def _mark(self, name: str, step: str | None) -> None:
        """Have a node say that a plan's step needs it, or take that back; others' words stay."""

        def node(annotations: Mapping[str, str]) -> dict[str, Any]:
            marks = {"labels": {TARGET: step}, "annotations": annotations} if step else {}
            return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, **marks}}

        try:
            await self._api.apply(node(_KEPT), MANAGER, force=False)
        except ApiError as error:
            if error.status != 409:
                raise
            ours = {key: value for key, value in _KEPT.items() if key not in error.said}
            logger.warning("node %s: somebody else decides on it: %s", name, error.said)
            await self._api.apply(node(ours), MANAGER)

    def _tell(self, announcements: Iterable[announce.Announcement]) -> None:
        for each in announcements:
            self._parts.announce(each)

    def _report(self, before: PackingPlan, after: PackingPlan) -> None:
        """Tell the owners of pods, the log and the metrics what changed."""
        old = condition(conditions_of(before), "Succeeded")
        new = condition(conditions_of(after), "Succeeded")
        if new is None or (old is not None and old.reason == new.reason):
            return
        logger.info("plan %s: %s: %s", after.metadata.name, new.reason, new.message)
        reason = Reason.named(new.reason)
        if reason is None:
            return
        if closed(after):
            self._measure.ended(before, after, reason)
            if reason is not Reason.SUCCEEDED:
                self._tell(announce.given_up(after, reason))
        elif reserves(after):
            step = after.status.steps_done or 0 if after.status else 0
            self._tell(announce.room_is_made(after, step))
        else:
            self._tell(announce.would_run(after, reason))
