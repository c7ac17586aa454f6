"""Lets queued Spark applications go as cores become free, charges their users, and tells people.

Run by `controllers.runtime` under the operator's Lease. `fairstow.spark` decides: whose turn it is
(`accounts`), who may go now (`admission`), whether there is room (`room`). Nothing half done can be
left: an application is let go by one write to its own object, and all else follows from what the
objects say.

Rights used: those of `acting`, `keeping` and `telling`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from controllers.health import Turns
from controllers.pace import Pace
from controllers.spark import metrics
from controllers.spark.acting import Hands
from controllers.spark.elastic import Elastic, held
from controllers.spark.keeping import Keeper
from controllers.spark.objects import SparkObjects
from controllers.spark.rooms import Rooms
from controllers.spark.sizing import Sizes
from controllers.spark.telling import Teller
from fairstow.api import Reason, SparkQueue, SparkReservation
from fairstow.api.fields import duration_milliseconds
from fairstow.api.spark_queue import MOST_CORES
from fairstow.cluster.live import LiveCluster
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.recorder import Recorder
from fairstow.kube.problems import ApiError
from fairstow.spark.accounts import Account
from fairstow.spark.admission import Decision, beyond_reserved, decide
from fairstow.spark.applications import Application, Phase
from fairstow.spark.estimates import Estimates
from fairstow.spark.fair_queueing import FairQueue
from fairstow.spark.line import Busy, Waiting
from fairstow.spark.pods import SparkPod
from fairstow.spark.room import Room, Taken
from fairstow.spark.standings import Expected
from fairstow.spark.usage import Usage

logger = logging.getLogger(__name__)

_LOOP = "spark"
_LEAST = 0.5
_IDLE = 5
_SAVE_SECONDS = 10.0
_REFUSED_SECONDS = 60.0
_REFUSED = (400, 403)
_BEGUN = (Phase.ADMITTED, Phase.RUNNING)
"""Of RBAC, or of somebody's admission policy for one namespace: others go on."""


@dataclass
class Seen:
    """One queue in a turn.

    Attributes:
        first, cores: milli-CPU by application.
        starting: those whose first pods have no nodes yet.
        taken: room that was found for those that go now.
        reserved: room that is kept for those that begin.
        order: those that wait and queue, who is due first first.
        holds: whether new executors are to wait; held: those that do, by application.
    """

    name: str
    queue: SparkQueue | None
    apps: list[Application]
    account: Account
    first: dict[str, int]
    cores: dict[str, int] = field(default_factory=dict)
    expected: dict[str, Expected] = field(default_factory=dict)
    starting: set[str] = field(default_factory=set)
    taken: dict[str, tuple[Taken, ...]] = field(default_factory=dict)
    reserved: dict[str, SparkReservation] = field(default_factory=dict)
    holds: bool = False
    held: dict[str, list[SparkPod]] = field(default_factory=dict)
    order: list[Application] = field(default_factory=list)

    @property
    def used(self) -> int:
        """Milli-CPU that aren't reserved and that applications have or are kept for them."""
        assert self.queue is not None
        ids = {app.id for app in self.apps if app.lasting}
        lasting = sum(cores for app_id, cores in self.cores.items() if app_id in ids)
        whole = sum(self.cores.values())
        return whole - lasting + beyond_reserved(self.queue.spec, lasting)


class SparkLoop:
    """See the module.

    Args:
        fresh: whether nodes and pods are known as they are now.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        api: Api,
        cluster: LiveCluster,
        objects: SparkObjects,
        keeper: Keeper,
        *,
        recorder: Recorder,
        fresh: Callable[[], bool],
        clock: Callable[[], float],
        turns: Turns,
    ) -> None:
        self.clock, self.turns = clock, turns
        self._cluster, self._objects, self._keeper, self._fresh = cluster, objects, keeper, fresh
        self._hands = Hands(api)
        self._sizes = Sizes(self._hands, cluster)
        self._rooms = Rooms(cluster, objects, self._sizes)
        self._teller = Teller(api, objects, recorder)
        self._elastic = Elastic(api, self._hands, self._sizes, self._teller)
        self._usage = Usage()
        self._accounts: dict[str, Account] | None = None
        self._refused: dict[str, float] = {}
        self._released: dict[str, float] = {}
        self._saved = 0.0
        self._pace = Pace(self, _LEAST)

    async def run(self) -> None:
        """Take turns until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._objects.changes(self._pace.wake))
            group.create_task(self._pace.run(_LOOP, self.turn))

    async def turn(self) -> int | None:
        """See to every queue once; return when the next turn is due."""
        await self._objects.synced()
        now = self.clock()
        # 1. What there is, and what a predecessor knew.
        if self._accounts is None:
            self._accounts = await self._keeper.load()
            for known in self._objects.admissions.values():
                self._usage.resume(known.application, known.status.served_core_seconds)
        with self._pace.work():
            apps, queues = self._objects.applications(), self._objects.queues()
            self._usage.look(now, apps)
            self._forget(apps)
        by_queue: dict[str, list[Application]] = defaultdict(list)
        for app in apps:
            by_queue[app.queue].append(app)
        # 2. Who is due, in each queue.
        with self._pace.work():
            seen = [
                await self._look(name, queues.get(name), by_queue.get(name, []), now)
                for name in sorted({*queues, *by_queue})
            ]
        # 3. Who goes now: one after the other, each finding the room that others left.
        starting = [app for each in seen for app in each.apps if app.id in each.starting]
        with self._pace.work():
            room = self._rooms.free(starting, now)
        decisions: dict[str, Decision] = {}
        for each in seen:
            with metrics.decides(), self._pace.work():
                decision = self._decide(each, seen, room, now)
            # 4. Let them go.
            done = [
                (app_id, reason)
                for app_id, reason in decision.release
                if await self._release(each, app_id, reason, now)
            ]
            decision = decisions[each.name] = replace(decision, release=tuple(done))
            if self._known_now():
                await self._elastic.let_go(each, decision, now)
            # 5. Tell people.
            await self._teller.tell(each, decision, self._usage, now)
        # 6. What was borrowed comes back, from executors.
        if self._known_now():
            await self._elastic.give_back(seen, decisions, now)
        # 7. Keep the accounts.
        await self._save(seen, queues)
        metrics.forget_queues(queues.keys())
        return int(now) + _IDLE if apps else None

    async def _look(
        self, name: str, queue: SparkQueue | None, apps: list[Application], now: float
    ) -> Seen:
        assert self._accounts is not None
        account = self._accounts.get(name)
        if account is None:
            cores = queue.spec.cores if queue else 0
            account = self._accounts[name] = Account(FairQueue(cores, now), Estimates())
        first = self._first(apps)
        seen = Seen(name, queue, apps, account, first, held=held(apps))
        seen.holds = bool(queue and queue.status and queue.status.holds_executors)
        if queue is None:
            return seen
        for app, expected in account.look(now, queue.spec, apps, self._usage, first):
            served, virtual = self._usage.of(app.id), account.fair.virtual
            metrics.ended(name, app, served, expected, virtual, now)
        waits = {app.id: app for app in apps if app.phase is Phase.WAITING}
        seen.order = [waits[app_id] for app_id in account.order() if app_id in waits]
        lasting = [app for app in waits.values() if app.lasting]
        # Of those that run a predecessor knew it, and which executors are beyond their first.
        running = [app for app in apps if app.phase in _BEGUN and not app.missed]
        if await self._sizes.read([*lasting, *seen.order, *running], now):
            seen.first = self._first(apps)
        seen.expected = {app.id: account.expected(app) for app in apps if not app.missed}
        timeout = duration_milliseconds(queue.spec.bind_timeout) / 1000
        for app in apps:
            self._count(seen, app, now, timeout)
            if app.id in seen.starting and (kept := self._rooms.of(app, now)):
                seen.reserved[app.id] = kept
        return seen

    def _first(self, apps: Iterable[Application]) -> dict[str, int]:
        return {app.id: self._sizes.size(app).first_milli for app in apps if not app.missed}

    def _count(self, seen: Seen, app: Application, now: float, timeout: float) -> None:
        """Note what an application has, or what is kept for it until its first pods have nodes."""
        if app.phase not in _BEGUN:
            return
        seen.cores[app.id] = app.milli
        since = app.admitted or self._released.get(app.id)
        first = seen.first.get(app.id, 0)
        if since is not None and app.milli < first and not app.ending:
            if now - since < timeout:
                seen.cores[app.id] = first
                seen.starting.add(app.id)
            elif now - since < timeout + 60:
                self._teller.late(app)

    def _decide(self, seen: Seen, others: Iterable[Seen], room: Room, now: float) -> Decision:
        by_id = {app.id: app for app in seen.apps}
        ordered = {app.id for app in seen.order}
        waits = (app for app in seen.apps if app.phase is Phase.WAITING and app.id not in ordered)
        rest = sorted(waits, key=lambda app: app.created)
        waiting = [self._waiting(seen, app, now) for app in (*seen.order, *rest)]
        busy = [self._busy(seen, by_id[app_id], cores) for app_id, cores in seen.cores.items()]
        if seen.queue is None or not self._known_now():
            spec = _GONE if self._known_now() else _CLOSED
            return decide(spec, waiting, busy, lambda _: False)
        known = self._sizes.known

        def fits(app_id: str) -> bool:
            taken = room.take(self._sizes.demand(by_id[app_id])) if known(by_id[app_id]) else None
            if taken is None:
                return False
            seen.taken[app_id] = taken
            return True

        def ever(app_id: str) -> bool:
            return not known(by_id[app_id]) or room.ever(self._sizes.demand(by_id[app_id]))

        lent = _lent(seen, others)
        return decide(seen.queue.spec, waiting, busy, fits, ever=ever, lent=lent)

    def _known_now(self) -> bool:
        return self._fresh() and self._objects.fresh()

    def _waiting(self, seen: Seen, app: Application, now: float) -> Waiting:
        expected = seen.expected.get(app.id, Expected())
        return Waiting(
            id=app.id,
            user=app.user,
            first=seen.first.get(app.id, 0),
            low=expected.low,
            high=expected.high,
            slack=seen.account.slack(expected.due) if expected.due is not None else 0.0,
            waited=seen.account.waited(app, now),
            lasting=app.lasting,
            obstacle=self._obstacle(seen, app, now),
        )

    def _obstacle(self, seen: Seen, app: Application, now: float) -> Reason | None:
        if app.own_suspend:
            return Reason.SUSPENDED_BY_USER
        if app.held:
            return Reason.HELD_BY_PERSON
        if seen.queue is None and seen.account.waited(app, now) <= _GONE_WAIT:
            return Reason.QUEUE_NOT_FOUND
        if now - self._refused.get(app.namespace, float("-inf")) < _REFUSED_SECONDS:
            return Reason.NOT_PERMITTED
        return self._sizes.problems.get(app.id)

    def _busy(self, seen: Seen, app: Application, cores: int) -> Busy:
        expected, served = seen.expected.get(app.id, Expected()), self._usage.of(app.id)
        return Busy(
            id=app.id,
            user=app.user,
            milli=cores,
            low=max(expected.low - served, 0.0),
            # One that took longer than expected goes on for as long as is usual then.
            high=max(expected.high - served, served / 2),
            lasting=app.lasting,
        )

    async def _release(self, seen: Seen, app_id: str, reason: Reason, now: float) -> bool:
        """Let an application go; return whether it was."""
        app = next(each for each in seen.apps if each.id == app_id)
        await self._reserve(seen, app, now)
        try:
            done = await self._hands.release(app, now)
        except ApiError as error:
            if error.status not in _REFUSED:
                raise
            logger.warning("%s/%s can't be let go: %s", app.namespace, app.name, error.said)
            self._refused[app.namespace] = now
            done = False
        if done:
            self._released[app_id] = now
            seen.cores[app_id] = seen.first[app_id]
            metrics.released(seen.name, reason, now - app.created)
            self._teller.released(app, reason)
        else:
            seen.reserved.pop(app_id, None)
            self._rooms.forget(app_id)
        return done

    async def _reserve(self, seen: Seen, app: Application, now: float) -> None:
        """Have schedulers keep the room that was found for an application."""
        if seen.queue is None or app.id not in seen.taken:
            return
        timeout = duration_milliseconds(seen.queue.spec.bind_timeout) / 1000
        kept = self._rooms.reserve(app, seen.taken[app.id], now + timeout)
        if kept is not None:
            seen.reserved[app.id] = kept
            await self._teller.reserve(seen, app, self._usage, now)

    async def _save(self, seen: Iterable[Seen], queues: Mapping[str, SparkQueue]) -> None:
        if time.monotonic() - self._saved < _SAVE_SECONDS:
            return
        assert self._accounts is not None
        for each in seen:
            if each.queue is not None:
                await self._keeper.save(each.name, each.account)
        for name in [name for name in self._accounts if name not in queues]:
            if not any(each.name == name and each.apps for each in seen):
                await self._keeper.forget(name)
                del self._accounts[name]
        self._saved = time.monotonic()

    def _forget(self, apps: Iterable[Application]) -> None:
        there = {app.id for app in apps}
        self._sizes.forget(apps)
        self._rooms.retain(apps)
        self._released = {each: at for each, at in self._released.items() if each in there}


_CLOSED = SparkQueue.model_validate(
    {"metadata": {"name": "closed"}, "spec": {"cores": 1, "hold": True}}
).spec
"""While the cluster isn't known as it is now."""
_GONE = SparkQueue.model_validate(
    {"metadata": {"name": "gone"}, "spec": {"cores": MOST_CORES, "reservedCores": MOST_CORES // 2}}
).spec
"""Of a queue that isn't there: nobody's limits hold, and nothing waits beyond the usual maxWait."""
_GONE_WAIT = duration_milliseconds(_GONE.max_wait) / 1000


def _lent(seen: Seen, others: Iterable[Seen]) -> int:
    """Return the milli-CPU that the cohort doesn't use; where somebody waits, nothing is lent."""
    assert seen.queue is not None
    if seen.queue.spec.cohort is None:
        return 0
    idle = 0
    for each in others:
        if each is seen or each.queue is None or each.queue.spec.cohort != seen.queue.spec.cohort:
            continue
        spec = each.queue.spec
        left = (spec.cores - spec.reserved_cores) * 1000 - each.used
        idle += min(left, 0)  # what it borrows itself
        if any(app.phase is Phase.WAITING and not app.own_suspend for app in each.apps):
            continue
        idle += max(left, 0)
    return max(idle, 0)
