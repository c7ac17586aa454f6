"""A simulated instance: an engine, the requests on it, and the view that policies get of it.

Called by `run` and `moving`, who bring it up to the time before they ask.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from fairstow.serving.cost_model import Profile
from fairstow.serving.engine import NEVER, Engine
from fairstow.serving.jobs import Job
from fairstow.serving.model import InstanceView, Phase, RequestView
from fairstow.serving.simulator.arrivals import Arrival

URGENT = -1_000
"""Engine priority of a hand-over: before all that wait, preempted last."""


@dataclass(slots=True, eq=False)
class Served:
    """One request from its arrival to its end.

    Attributes:
        before: tokens it generated on earlier legs.
        instance: where it is, if anywhere.
        waited: seconds it was preempted or paused, between its tokens, summed.
        longest_wait: the longest of these times.
        lost: since when it is.
        downtime: seconds between its last token on one instance and the next on another, summed.
        handed: since when it has been on its way, with its source aborted.
    """

    arrival: Arrival
    view: RequestView
    before: int = 0
    instance: "Instance | None" = None
    first: float = NEVER
    finished: float = NEVER
    waited: float = 0.0
    longest_wait: float = 0.0
    lost: float = NEVER
    preempted: int = 0
    migrations: int = 0
    downtime: float = 0.0
    handed: float = NEVER
    keys: tuple[Hashable, ...] = ()


@dataclass(slots=True, eq=False)
class Instance:
    """One engine of a pool.

    Attributes:
        woken: when it will be looked at next.
        born: when it was asked for.
        moves: migrations from or to it that are under way.
        looked: when the view was last brought up.
    """

    name: str
    engine: Engine
    view: InstanceView
    born: float
    woken: float = NEVER
    served: dict[str, Served] = field(default_factory=dict)
    priorities: dict[int, int] = field(default_factory=dict)
    moves: int = 0
    looked: float = -1.0

    @classmethod
    def of(cls, name: str, profile: Profile, *, born: float, speed: float) -> "Instance":
        """Return a new one, empty."""
        engine = Engine(profile)
        view = InstanceView(name, profile.capacity, requests=list, block=profile.block, speed=speed)
        instance = cls(name, engine, view, born)
        view.requests = instance.requests
        view.priorities = instance.priorities
        view.cached = instance.cached
        return instance

    def look(self, now: float, every: float | None) -> None:
        """Bring the view up to what the engine says, or what it said when it last reported."""
        engine, view = self.engine, self.view
        if every is not None and not self._has_reported(now, every):
            return
        self.looked = now
        block = view.block
        view.used = engine.used * block
        view.batch = engine.batch
        view.queued = engine.waiting
        view.head = engine.next_wants * block
        view.demand = engine.wanted * block

    def _has_reported(self, now: float, every: float) -> bool:
        """Whether it has since the last look: after the first iteration that ends past its time."""
        due = not every or now // every > self.looked // every
        return due and self.engine.began > self.looked

    def requests(self) -> Iterable[RequestView]:
        """Return what is on it, brought up to date."""
        engine = self.engine
        for name, served in self.served.items():
            served.view.generated = served.before + engine.generated(name)
            served.view.phase = engine.phase(name)
        return [served.view for served in self.served.values()]

    def cached(self, request: RequestView) -> int:
        """Return how much of a request's prompt its prefix cache has."""
        return self.engine.cached(request.keys)

    def take(self, now: float, served: Served, *, priority: int | None = None) -> None:
        """Queue a request here, to go on from where it is."""
        view, arrival = served.view, served.arrival
        block = self.engine.profile.block
        self.engine.submit(
            now,
            Job(
                id=view.id,
                prompt=arrival.prompt + served.before,
                output=arrival.output - served.before,
                priority=view.priority if priority is None else priority,
                keys=served.keys[: (arrival.prompt + served.before) // block],
            ),
        )
        served.instance = self
        view.phase = Phase.QUEUED
        view.resumed = now
        self.served[view.id] = served
        self.priorities[view.priority] = self.priorities.get(view.priority, 0) + 1

    def give(self, now: float, served: Served) -> None:
        """End a request here; it keeps its tokens."""
        served.before += self.engine.abort(now, served.view.id)
        served.view.generated = served.before
        self.forget(served)

    def forget(self, served: Served) -> None:
        """Take a request off the books that the engine knows no more."""
        del self.served[served.view.id]
        served.instance = None
        priority = served.view.priority
        self.priorities[priority] -= 1
        if not self.priorities[priority]:
            del self.priorities[priority]

    def full_blocks(self, served: Served) -> int:
        """Return how many blocks of a running request are full of computed KV."""
        generated = served.before + self.engine.generated(served.view.id)
        return (served.arrival.prompt + generated - 1) // self.engine.profile.block
