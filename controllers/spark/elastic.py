"""Executors that wait are let go as cores become free, and borrowed ones are given back.

Used by the Spark controller, after it has decided which applications go. `fairstow.spark.elastic`
decides; what was asked of pods is remembered until watches show it, and who was let go for minutes.
An executor is ended by eviction: budgets may refuse it, and its own grace period holds; one that
moves its shuffle data (Spark's decommissioning, which hangs on the pod's preStop hook) has longer.

Rights used: pods/eviction (create); pods (patch) in the namespaces of spark.namespaces.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from controllers.spark import metrics
from controllers.spark.acting import Hands
from controllers.spark.sizing import Sizes
from controllers.spark.telling import Teller
from fairstow.api import Reason
from fairstow.api.fields import duration_milliseconds
from fairstow.kube.aio.api import Api, Outcome
from fairstow.kube.problems import ApiError
from fairstow.spark.admission import Decision
from fairstow.spark.applications import Application, Phase
from fairstow.spark.elastic import Executor, Share, give_back, let_go, losable
from fairstow.spark.pods import SparkPod

if TYPE_CHECKING:
    from controllers.spark.queues import Seen

logger = logging.getLogger(__name__)

_WAIT = (Reason.WAITS_FOR_CORES, Reason.WAITS_FOR_ROOM)
_ASKED_SECONDS = 10.0
_GONE_SECONDS = 600.0
_REFUSED_SECONDS = 30.0
_DECOMMISSION_SECONDS = 120
MOST_LET_GO = 50
"""Executors in a turn and queue."""


class Elastic:
    """See the module."""

    def __init__(self, api: Api, hands: Hands, sizes: Sizes, teller: Teller) -> None:
        self._api, self._hands, self._sizes, self._teller = api, hands, sizes, teller
        self._asked: dict[str, float] = {}
        self._gone: dict[str, float] = {}
        self._refused: dict[str, float] = {}

    async def let_go(self, seen: Seen, decision: Decision, now: float) -> None:
        """Let executors of a queue go, as many as it has cores for; all, where it was deleted."""
        self._forget(now)
        if seen.queue is None:
            for pod, _ in self._held(seen)[:MOST_LET_GO]:
                await self._free(pod, now)
            return
        # One that never ends has no place among them, and may wait for its own room for good.
        waits = any(each.position and each.reason in _WAIT for each in decision.line.places)
        # What was let go and has no node yet isn't in the decision's figures.
        free = decision.free - self._coming(seen, now)
        seen.holds = waits or free <= 0
        if not seen.held:
            return
        by_id = {app.id: app for app in seen.apps}
        has: dict[str, int] = defaultdict(int)
        for app_id, cores in seen.cores.items():
            has[by_id[app_id].user] += cores
        waiting = self._held(seen)
        going = let_go(
            [_executor(pod, app) for pod, app in waiting],
            {app_id: self._lacks(by_id[app_id]) for app_id in seen.held},
            0 if waits else max(free, 0),
            has,
            seen.account.weights,
        )
        pods = {pod.uid: pod for pod, _ in waiting}
        for each in going[:MOST_LET_GO]:
            await self._free(pods[each.uid], now)

    def _held(self, seen: Seen) -> list[tuple[SparkPod, Application]]:
        """Return the executors that wait and may go, each with its application."""
        return [
            (pod, app)
            for app in seen.apps
            if app.id in seen.held and _goes_on(app)
            for pod in seen.held[app.id]
            if pod.uid not in self._gone and pod.uid not in self._refused
        ]

    async def give_back(
        self, seen: Iterable[Seen], decisions: Mapping[str, Decision], now: float
    ) -> None:
        """Have queues that borrow give back what their lenders need."""
        cohorts: dict[str, list[Seen]] = defaultdict(list)
        for each in seen:
            if each.queue is not None and each.queue.spec.cohort is not None:
                cohorts[each.queue.spec.cohort].append(each)
        for cohort in cohorts.values():
            shares = [self._share(each, decisions.get(each.name, Decision())) for each in cohort]
            going = {one.uid for one in give_back(shares)}
            for each in cohort:
                for app in each.apps:
                    for pod in app.pods:
                        if pod.uid in going:
                            await self._end(each, app, pod, now)

    def _share(self, seen: Seen, decision: Decision) -> Share:
        assert seen.queue is not None
        spec = seen.queue.spec
        lasting = {app.id for app in seen.apps if app.lasting}
        own = (spec.cores - spec.reserved_cores) * 1000
        used = seen.used
        head = next((p.id for p in decision.line.places if p.position and p.reason in _WAIT), None)
        first = seen.first.get(head, 0) if head else 0
        ending = [
            p for app in seen.apps if app.id not in lasting for p in app.pods if self._ends(p)
        ]
        return Share(
            queue=seen.name,
            own=own,
            used=used,
            needs=first if used + first <= own else 0,
            losable=tuple(each for app in seen.apps for each in self._losable(app)),
            ending=sum(pod.cores for pod in ending),
            ends=len(ending),
        )

    def _losable(self, app: Application) -> tuple[Executor, ...]:
        if app.phase is not Phase.RUNNING or app.lasting or app.missed or app.ending:
            return ()
        if not self._sizes.known(app):
            return ()
        runs = [_executor(p, app) for p in app.pods if _runs(p) and not self._ends(p)]
        found = losable(runs, self._sizes.size(app).first)
        return tuple(each for each in found if each.uid not in self._refused)

    def _lacks(self, app: Application) -> int:
        there = sum(_runs(pod) or self._on_its_way(pod) for pod in app.pods if not pod.driver)
        return max(self._sizes.size(app).first - there, 0)

    def _ends(self, pod: SparkPod) -> bool:
        return _runs(pod) and (pod.leaving or pod.uid in self._asked)

    def _on_its_way(self, pod: SparkPod) -> bool:
        """Whether an executor was let go, or never waited, and has no node yet."""
        there = not (pod.driver or pod.node or pod.over or pod.leaving)
        return there and (not pod.gated or pod.uid in self._gone)

    def _coming(self, seen: Seen, now: float) -> int:
        """Return what executors will have that are on their way, beyond what counts already.

        One that has found no node for as long as first pods may take isn't waited for.
        """
        assert seen.queue is not None
        patience = duration_milliseconds(seen.queue.spec.bind_timeout) / 1000
        total = 0
        for app in seen.apps:
            if app.lasting or app.id not in seen.cores:
                continue
            coming = sum(
                pod.cores
                for pod in app.pods
                if self._on_its_way(pod)
                and now - max(pod.created, self._gone.get(pod.uid, 0)) < patience
            )
            total += max(app.milli + coming - seen.cores[app.id], 0)
        return total

    async def _free(self, pod: SparkPod, now: float) -> None:
        try:
            done = await self._hands.ungate(pod)
        except ApiError as error:
            if error.status not in (400, 403):
                raise
            logger.warning("%s/%s can't be let go: %s", pod.namespace, pod.name, error.said)
            done = False
        (self._gone if done else self._refused)[pod.uid] = now

    async def _end(self, seen: Seen, app: Application, pod: SparkPod, now: float) -> None:
        done = await self._api.evict(pod.namespace, pod.name, pod.uid, grace=grace(pod))
        metrics.RECLAIMED.labels(seen.name, done.outcome.value).inc()
        if done.outcome in (Outcome.EVICTED, Outcome.GONE):
            self._asked[pod.uid] = now
            self._teller.reclaimed(app, pod)
            return
        logger.info("%s/%s isn't ended: %s", pod.namespace, pod.name, done.said)
        self._refused[pod.uid] = now

    def _forget(self, now: float) -> None:
        spans = (
            (self._asked, _ASKED_SECONDS),
            (self._gone, _GONE_SECONDS),
            (self._refused, _REFUSED_SECONDS),
        )
        for table, span in spans:
            for uid in [uid for uid, at in table.items() if now - at > span]:
                del table[uid]


def grace(pod: SparkPod) -> int | None:
    """Return the seconds that an executor has to end, None for its own."""
    return max(pod.grace, _DECOMMISSION_SECONDS) if pod.decommissions else None


def held(apps: Iterable[Application]) -> dict[str, list[SparkPod]]:
    """Return the executors that wait, by application."""
    return {app.id: found for app in apps if (found := [p for p in app.pods if _held(p)])}


def _goes_on(app: Application) -> bool:
    """Whether an application has use for more executors."""
    begun = app.phase in (Phase.ADMITTED, Phase.RUNNING)
    return begun and not (app.held or app.ending)


def _held(pod: SparkPod) -> bool:
    return pod.gated and not (pod.driver or pod.over or pod.leaving)


def _runs(pod: SparkPod) -> bool:
    """Whether an executor has a node."""
    return bool(pod.node) and not pod.driver and not pod.over


def _executor(pod: SparkPod, app: Application) -> Executor:
    return Executor(uid=pod.uid, app=app.id, user=app.user, milli=pod.cores, since=pod.created)
