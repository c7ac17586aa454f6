"""A pool of engines and a policy in simulated time: what became of each request.

Called by `fairstow simulate serving` and benchmarks. Policies and engines are those of production
and of the cost-model server; only time is made up. Events are taken in order of time: an arrival,
a change on an engine (`engine.due`), a stage of a migration, the policy's turn every `interval`.
Engines are brought up to the time before anybody looks at them. Without randomness of its own: the
same workload and policy give the same outcome.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from msgspec.structs import replace

from fairstow.serving.cost_model import Profile
from fairstow.serving.engine import NEVER, Engine
from fairstow.serving.jobs import Change
from fairstow.serving.model import (
    Dispatch,
    Migration,
    Phase,
    PoolView,
    RequestView,
    Scale,
    State,
)
from fairstow.serving.policies.protocols import Policy
from fairstow.serving.simulator.arrivals import Arrival
from fairstow.serving.simulator.instance import Instance, Served
from fairstow.serving.simulator.moving import Move

HISTORY = 1_000
"""Outputs that policies are told of."""

OFFERED = 100
"""Of the pool's queue, how many are offered to the policy at once."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is simulated.

    Attributes:
        profiles: of the instances at the beginning, one each.
        interval: seconds between the policy's turns.
        scaling: whether the policy's scaler is obeyed; new instances have the first profile.
        start: seconds until a new instance is ready.
        reports: seconds between instances' reports, each after the iteration under way; the policy
            knows nothing else of them. None: it knows what it has sent there, as our gateway does.
        clients: how many there are, each sending the next request when its last has ended,
            whatever times the workload says. None: requests come at these times.
    """

    policy: Policy
    profiles: Sequence[Profile]
    interval: float = 0.5
    scaling: bool = False
    start: float = 30.0
    reports: float | None = None
    clients: int | None = None


@dataclass(slots=True)
class Glance:
    """The pool at one time.

    Attributes:
        instances: (name, share of KV held, batch, queued) each.
        fragmented: share of the pool's KV that would hold requests which wait, if what is free
            lay on one instance (Llumnix fig. 12).
    """

    at: float
    instances: list[tuple[str, float, int, int]]
    fragmented: float


@dataclass(slots=True)
class Result:
    """What became of a workload.

    Attributes:
        moved: (when, request, source, destination) of each migration that was carried out.
        instance_seconds: between the first arrival and the last end, over all instances.
    """

    served: list[Served]
    end: float
    instance_seconds: float = 0.0
    preemptions: int = 0
    requeued: int = 0
    pauses: int = 0
    declined: int = 0
    most_instances: int = 0
    moved: list[tuple[float, str, str, str]] = field(default_factory=list)
    glances: list[Glance] = field(default_factory=list)


class Simulation:
    """One run."""

    def __init__(
        self,
        arrivals: Sequence[Arrival],
        setup: Setup,
        *,
        watch: Callable[[int], None] | None = None,
        glance: float = NEVER,
    ) -> None:
        """Prepare a run.

        Args:
            arrivals: in order of time.
            setup: what they meet.
            watch: told how many requests have ended, after each.
            glance: seconds between pictures of the instances.
        """
        self._setup = setup
        self._policy = setup.policy
        self._watch = watch
        self._glance = glance
        self._glanced = -NEVER
        self._arrivals = deque(enumerate(arrivals))
        slowest = max((p.scale for p in setup.profiles), default=1.0)
        self._slowest = slowest
        self._longest = min(Engine(profile).longest for profile in setup.profiles)
        self._block = setup.profiles[0].block
        self._numbers = itertools.count()
        self._instances: list[Instance] = []
        self._pool = PoolView(instances=[])
        self._outputs: deque[int] = deque(maxlen=HISTORY)
        self._pool.outputs = self._outputs
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._queue: list[Served] = []
        self._waiting: list[RequestView] = []
        self._alive = len(arrivals)
        self._total = len(arrivals)
        self._result = Result(served=[], end=0.0)
        for profile in setup.profiles:
            self._add(0.0, profile)

    def run(self) -> Result:
        """Play the workload to its end."""
        turns = (self._policy.rescheduler, self._policy.pauser, self._setup.scaling)
        if any(turns) or self._glance < NEVER:
            self._at(self._setup.interval, self._turn)
        events, arrivals = self._events, self._arrivals
        clients = self._setup.clients
        for _ in range(clients or 0):
            self._at(0.0, self._send)
        now = 0.0
        while self._alive:
            if arrivals and clients is None and (not events or arrivals[0][1].at <= events[0][0]):
                number, arrival = arrivals.popleft()
                now = arrival.at
                self._arrive(now, number, arrival)
            elif events:
                now, _, act = heapq.heappop(events)
                act(now)
            else:
                raise RuntimeError(f"{self._alive} requests wait and nothing will happen")
        self._result.end = now
        for instance in self._instances:
            self._result.instance_seconds += now - instance.born
        return self._result

    def _at(self, time: float, act: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (time, next(self._order), act))

    # Engines.

    def _add(self, now: float, profile: Profile, *, born: float | None = None) -> None:
        instance = Instance.of(
            f"instance-{next(self._numbers)}",
            profile,
            born=now if born is None else born,
            speed=self._slowest / profile.scale,
        )
        self._instances.append(instance)
        self._pool.instances = [i.view for i in self._instances]
        self._result.most_instances = max(self._result.most_instances, len(self._instances))

    def _sync(self, instance: Instance, now: float) -> None:
        """Bring an engine up to now and book what happened there."""
        for at, change, name in instance.engine.advance(now):
            served = instance.served[name]
            if change is Change.FIRST:
                self._resume(served, at)
            elif change is Change.FINISH:
                self._finish(instance, served, at)
                if self._setup.clients is not None:
                    self._at(now, self._send)
            else:
                served.lost = at
                served.preempted += 1
                self._result.preemptions += 1
        due = instance.engine.due
        if due < instance.woken:
            instance.woken = due
            self._at(due, partial(self._wake, instance))

    def _wake(self, instance: Instance, now: float) -> None:
        if instance.woken != now:
            return
        instance.woken = NEVER
        before = self._alive
        self._sync(instance, now)
        if self._alive < before and self._queue:
            self._offer(now)
        if instance.view.state is State.DRAINING:
            self._leave(now, instance)

    def _sync_all(self, now: float) -> None:
        for instance in self._instances:
            self._sync(instance, now)
            instance.look(now, self._setup.reports)
        self._pool.now = now

    def _resume(self, served: Served, at: float) -> None:
        served.first = min(served.first, at)
        if served.lost < NEVER:
            served.waited += at - served.lost
            served.longest_wait = max(served.longest_wait, at - served.lost)
            served.lost = NEVER
        if served.handed < NEVER:
            served.downtime += at - served.handed
            served.handed = NEVER

    def _finish(self, instance: Instance, served: Served, at: float) -> None:
        served.finished = at
        served.view.generated = served.arrival.output
        instance.forget(served)
        served.keys = served.view.keys = ()
        self._outputs.append(served.arrival.output)
        self._alive -= 1
        if self._watch is not None:
            self._watch(self._total - self._alive)

    # Requests.

    def _send(self, now: float) -> None:
        """Let a client whose request has ended send the next one, if there is one."""
        if self._arrivals:
            number, arrival = self._arrivals.popleft()
            self._arrive(now, number, replace(arrival, at=now))

    def _arrive(self, now: float, number: int, arrival: Arrival) -> None:
        view = RequestView(
            id=str(number),
            prompt=arrival.prompt,
            limit=self._longest - arrival.prompt,
            arrived=now,
            priority=arrival.priority,
            kind=arrival.kind,
            deadline=now + arrival.deadline,
            pace=arrival.pace,
            keys=arrival.keys(self._block) if arrival.hashes else (),
        )
        served = Served(arrival, view, keys=tuple(view.keys))
        self._result.served.append(served)
        self._sync_all(now)
        self._pool.waiting = self._waiting
        if not self._place(now, served):
            self._queue.append(served)
            self._waiting.append(view)

    def _place(self, now: float, served: Served) -> bool:
        """Give a request to the instance that the policy chooses; say whether there is one."""
        answer: Dispatch = self._policy.dispatcher.dispatch(served.view, self._pool)
        if answer.instance is None:
            return False
        instance = self._named(answer.instance)
        instance.take(now, served)
        self._pool.turn += 1
        self._sync(instance, now)
        instance.look(now, self._setup.reports)
        return True

    def _offer(self, now: float) -> None:
        """Offer the pool's queue to the policy, in its order, the first `OFFERED` of it."""
        self._sync_all(now)
        rank = self._policy.order.key(self._pool)
        self._queue.sort(key=lambda served: rank(served.view))
        refused: list[Served] = []
        self._pool.waiting = before = []
        for served in self._queue[:OFFERED]:
            if not self._place(now, served):
                refused.append(served)
                before.append(served.view)
        self._queue[:OFFERED] = refused
        self._waiting = [served.view for served in self._queue]

    def _named(self, name: str) -> Instance:
        return next(i for i in self._instances if i.name == name)

    # The policy's turn.

    def _turn(self, now: float) -> None:
        if self._alive:
            self._at(now + self._setup.interval, self._turn)
        self._sync_all(now)
        if now - self._glanced >= self._glance:
            self._take_glance(now)
        self._pool.waiting = self._waiting
        if self._policy.rescheduler is not None:
            for migration in self._policy.rescheduler.migrations(self._pool):
                self._migrate(now, migration)
        if self._policy.pauser is not None and self._queue:
            self._pause(now)
        if self._setup.scaling and self._policy.scaler is not None:
            scale = self._policy.scaler.scale(self._pool)
            if scale is not None:
                self._scale(now, scale)
        if self._queue:
            self._offer(now)

    def _migrate(self, now: float, migration: Migration) -> None:
        source, destination = self._named(migration.source), self._named(migration.destination)
        served = source.served.get(migration.request)
        if served is None or served.view.moving or destination.view.state is not State.READY:
            self._result.declined += 1
            return
        if source.engine.phase(migration.request) is Phase.QUEUED:
            source.give(now, served)
            destination.take(now, served)
            self._result.requeued += 1
        else:
            self._result.moved.append((now, served.view.id, source.name, destination.name))
            Move(served, source, destination, partial(self._later, source, destination)).begin(now)
        self._sync(source, now)
        self._sync(destination, now)

    def _later(
        self,
        source: Instance,
        destination: Instance,
        time: float,
        act: Callable[[float], None],
    ) -> None:
        """Have a stage of a migration done, both engines brought up to then."""

        def stage(now: float) -> None:
            self._sync(source, now)
            self._sync(destination, now)
            act(now)
            self._sync(source, now)
            self._sync(destination, now)
            if source.view.state is State.DRAINING:
                self._leave(now, source)

        self._at(time, stage)

    def _pause(self, now: float) -> None:
        pauser = self._policy.pauser
        assert pauser is not None
        for pause in pauser.pauses(self._waiting, self._pool):
            instance = self._named(pause.instance)
            served = instance.served.get(pause.request)
            if served is None or served.view.moving:
                continue
            instance.give(now, served)
            served.lost = now
            served.view.pauses += 1
            self._result.pauses += 1
            served.view.phase = Phase.QUEUED
            self._queue.append(served)
            self._waiting.append(served.view)
            self._sync(instance, now)

    def _scale(self, now: float, scale: Scale) -> None:
        count = sum(i.view.state is State.READY for i in self._instances)
        if scale.victim is None and scale.desired < count + self._pool.starting:
            return  # what was begun here starts
        self._pool.scaled = now
        if scale.victim is not None:
            victim = self._named(scale.victim)
            victim.view.state = State.DRAINING
            self._leave(now, victim)
            return
        self._pool.starting += 1

        def ready(then: float) -> None:
            self._pool.starting -= 1
            self._pool.scaled = then
            self._add(then, self._setup.profiles[0], born=now)

        self._at(now + self._setup.start, ready)

    def _leave(self, now: float, instance: Instance) -> None:
        """Take a drained instance away."""
        if instance.served or instance.moves or instance not in self._instances:
            return
        self._instances.remove(instance)
        self._pool.instances = [i.view for i in self._instances]
        self._result.instance_seconds += now - instance.born

    def _take_glance(self, now: float) -> None:
        self._glanced = now
        self._result.glances.append(
            Glance(
                now,
                [
                    (i.name, i.view.used / i.view.capacity, i.view.batch, i.view.queued)
                    for i in self._instances
                ],
                self._fragmented(),
            )
        )

    def _fragmented(self) -> float:
        views = [i.view for i in self._instances]
        whole = sum(view.capacity for view in views)
        free = whole - sum(view.used for view in views)
        blocked = [view.head for view in views if view.head > view.capacity - view.used]
        blocked += [request.length + 1 for request in self._waiting]
        held = 0
        for size in sorted(blocked):
            if held + size > free:
                break
            held += size
        return held / max(1, whole)
