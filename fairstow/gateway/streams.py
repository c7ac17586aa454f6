"""A movable request while it runs: what `handover` decides is carried out here.

Whatever comes of its tasks at engines (`legs`) is an event for the state machine, whose actions are
done at once and in order. So the record grows in one place, whatever goes on at how many engines.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import structlog

from fairstow.gateway import metrics
from fairstow.gateway.dispatching import Dispatcher, Ticket
from fairstow.gateway.engines.protocol import Movement
from fairstow.gateway.fleet import Fleet, Instance
from fairstow.gateway.hops import Hops
from fairstow.gateway.legs import Legs, Request
from fairstow.gateway.outbox import Outbox
from fairstow.gateway.pairs import Pairs
from fairstow.gateway.tracing import Parts
from fairstow.serving import handover, prefixes
from fairstow.serving.handover import Action, Event, Fault, Handover, Said, Way
from fairstow.serving.model import Phase, RequestView
from fairstow.serving.record import Record
from fairstow.serving.tokens import Piece, Sampling
from fairstow.serving.wire import Hop, Outcome
from fairstow.web.errors import ApiError
from fairstow.web.trace import Trace

MOVE_SECONDS = 60.0
SWITCH_SECONDS = 15.0
"""Most time in which a client may wait for its destination's first token."""
WAYS = {
    Movement.PRE_COPY: Way.COPIED,
    Movement.COPY: Way.STOPPED,
    Movement.RECOMPUTE: Way.RECOMPUTED,
}
RETRY_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Pool(NamedTuple):
    """What all streams share. Attributes: moved: set when a move ended, either way."""

    fleet: Fleet
    dispatcher: Dispatcher
    pairs: Pairs
    moved: asyncio.Event
    hops: Hops


class Stream:
    """One request.

    Attributes:
        view: what policies see of it.
        record: its tokens and text.
        handover: where it is.
        outbox: what its client hasn't taken yet.
        moves: how often it moved; `legs` also counts new starts.
        paused: since when it waits for others' sake; None if it doesn't.
        spoke: when it last said something, 0 before.
        done: called once, after its end.
    """

    def __init__(
        self,
        pool: Pool,
        view: RequestView,
        record: Record,
        sampling: Sampling,
        *,
        salt: str,
        weight: float,
        done: Callable[[Stream], None],
        trace: Trace,
    ) -> None:
        self._pool = pool
        self._fleet = pool.fleet
        self._dispatcher = pool.dispatcher
        self._pairs = pool.pairs
        self.view = view
        self.record = record
        self.handover = Handover(len(record))
        self.outbox = Outbox()
        self.moves = 0
        self.spoke = self.poked = 0.0
        self.paused: float | None = None
        self._salt = salt
        self._weight = weight
        self._done = done
        self._trace = Parts(trace)
        self._legs = Legs(
            self._fleet,
            Request(view, record, sampling, salt),
            self.handover,
            self.outbox,
            self._trace,
            self.tell,
        )
        self._ticket: Ticket | None = None
        self._at: Instance | None = None
        self._to: Instance | None = None
        self._lane: tuple[Instance, ...] = ()
        self._alarm: asyncio.TimerHandle | None = None
        self._copies_failed = 0
        self._not_before = 0.0
        self._way_now = Way.RECOMPUTED
        self._why = self._lost = ""
        self._events: deque[Event] = deque()
        self._telling = False
        self._over = False

    def start(self) -> None:
        """Queue it for its first leg."""
        self._trace.begin("queue")
        self._ticket = self._dispatcher.enter(self.view, self._weight, self._placed)

    def leave(self) -> None:
        """Its client is gone, or has been told all."""
        self.tell(handover.Over())
        self._finish()
        self.outbox.poke()

    def move(self, destination: Instance, reason: str) -> str:
        """Begin to move it for a reason; return why that can't be, "" if it begins."""
        now = self._at
        if self.handover.ended or now is None:
            return "it runs nowhere"
        if self.handover.destination:
            return "it is being moved already"
        if now is destination:
            return "it is there already"
        if not destination.place.view.takes(self.view):
            return "the destination doesn't take it"
        self._way_now = self._way(now, destination)
        if self.handover.decoding and self._way_now is not Way.RECOMPUTED:
            if now.copying or destination.copying:
                return "another request is being copied there, or from here"
            self._lane = now, destination
            now.copying = destination.copying = True
        self._why = reason
        self._trace.begin("move", source=now.name, destination=destination.name)
        self.tell(
            handover.Move(destination.name, self._way_now, slack=2 * destination.place.view.block)
        )
        return ""

    def pause(self) -> bool:
        """Give its place up; False if that can't be now. It waits its turn, `hurry` ends that."""
        self.tell(handover.Pause())
        return self.paused is not None

    def hurry(self) -> None:
        """It was paused for long enough: it goes before all others."""
        if self.paused is not None and self._ticket is not None:
            self.paused = None
            self._dispatcher.leave(self._ticket)
            self._ticket = self._dispatcher.resume(self.view, self._placed)

    @property
    def legs(self) -> int:
        """How many legs it had."""
        return self._legs.started

    @property
    def at(self) -> Instance | None:
        """Where the leg runs that its client hears."""
        return self._at

    def may_move(self, now: float) -> bool:
        """Whether a move could begin."""
        return not self.handover.destination and now >= self._not_before

    def tell(self, event: Event) -> None:
        """Let something have happened; actions may tell more, which comes after it."""
        self._events.append(event)
        if self._telling:
            return
        self._telling = True
        try:
            while self._events:
                happened = self._events.popleft()
                # A token that only continues a leg changes nothing about where the request is.
                elsewhere = not isinstance(happened, Said)
                for action in self.handover.on(happened):
                    if isinstance(action, handover.Deliver):
                        if elsewhere:
                            self._sync()
                        self._deliver(action.piece)
                    else:
                        elsewhere = True
                        self._do(action)
                if elsewhere and not self.handover.ended:
                    self._sync()
        finally:
            self._telling = False
        if self.handover.ended:
            self._finish()

    def _way(self, source: Instance, destination: Instance) -> Way:
        if self._copies_failed:
            return Way.RECOMPUTED
        return WAYS[self._pairs.movement(source, destination)]

    def _placed(self, instance: Instance) -> None:
        self._ticket = self.paused = None
        self._at = instance  # the dispatcher has counted it
        self.view.resumed = time.monotonic()
        self._trace.end("queue", engine=instance.name)
        self.tell(handover.Placed(instance.name))

    def _do(self, action: Action) -> None:
        match action:
            case handover.Start(move=move):
                if move:
                    self._set_alarm(move, SWITCH_SECONDS)
                self._legs.start(action)
            case handover.Abort(leg):
                self._legs.cancel(leg)
            case handover.Prepare():
                if self._alarm is None:
                    self._set_alarm(action.move, MOVE_SECONDS)
                self._legs.prepare(action)
            case handover.Moved():
                self._moved(action)
            case handover.Stayed():
                self._stayed(action)
            case handover.Park(paused):
                self._park(paused=paused)
            case handover.Fail(fault):
                self.outbox.fail(_failure(fault))

    def _park(self, *, paused: bool) -> None:
        now = self._at
        self._sync()
        self.view.phase = Phase.QUEUED
        self._trace.begin("queue", paused=paused)
        if paused:
            metrics.PAUSED.inc()
            self.view.pauses += 1
            self.paused = time.monotonic()
            self._ticket = self._dispatcher.wait_again(self.view, self._weight, self._placed)
            return
        metrics.RESUMED.inc()
        if now is not None:
            now.recomputed += 1
            self._lost = now.name
        self._ticket = self._dispatcher.resume(self.view, self._placed)

    def _deliver(self, piece: Piece) -> None:
        delta = self.record.append(piece)
        if self._at is not None:
            self._at.place.spoke(self.view, delta.tokens)
        else:
            self.view.generated += delta.tokens
        if self._lost:
            self._found_again()
        self.spoke = asyncio.get_running_loop().time()
        self.outbox.put(delta)
        if self.record.finish is not None:
            self._events.append(handover.Over())

    def _found_again(self) -> None:
        """It speaks for the first time since it lost its engine."""
        at = self._at.name if self._at else ""
        hop = self._hop(self._lost, at, Outcome.RECOMPUTED, "EngineLost", self._silence())
        self._pool.hops.lost(hop)
        self._lost = ""

    def _silence(self) -> float | None:
        """Return for how long its client has heard nothing; None if it never did."""
        return asyncio.get_running_loop().time() - self.spoke if self.spoke else None

    def _hop(
        self, source: str, destination: str, outcome: Outcome, reason: str, pause: float | None
    ) -> Hop:
        return Hop(
            request=self.view.id,
            source=source,
            destination=destination,
            outcome=outcome,
            reason=reason,
            tokens=len(self.record),
            at=round(time.time(), 3),
            pause=pause,
        )

    def _moved(self, moved: handover.Moved) -> None:
        pause = self._silence() if moved.stages else None
        self._move_over(moved.move)
        self._legs.moved(moved.move, moved.destination)
        self.moves += 1
        source = self._fleet.instances.get(moved.source)
        outcome = Outcome.RECOMPUTED
        if self._way_now is not Way.RECOMPUTED and moved.stages:
            outcome = Outcome.COPIED
            self.view.keys = ()  # it is there under the move's salt: no other prompt hits it
        if source is not None:
            source.moved += outcome is Outcome.COPIED
            source.recomputed += outcome is Outcome.RECOMPUTED
        self._trace.end(
            "move",
            outcome="Moved",
            pause_ms=round(1000 * (pause or 0.0), 1),
            stages=moved.stages,
        )
        hop = self._hop(moved.source, moved.destination, outcome, self._why, pause)
        self._pool.hops.went(hop, stages=moved.stages, dropped=moved.dropped)

    def _stayed(self, stayed: handover.Stayed) -> None:
        self._move_over(stayed.move)
        metrics.MOVED.labels(stayed.reason).inc()
        self._trace.end("move", outcome=stayed.reason)
        if stayed.reason not in ("Finished", "Over"):
            self._copies_failed += 1
            self._not_before = asyncio.get_running_loop().time() + RETRY_SECONDS
            source = self._at.name if self._at else ""
            hop = self._hop(source, stayed.destination, Outcome.STAYED, stayed.reason, None)
            self._pool.hops.stayed(hop)

    def _sync(self) -> None:
        """Let the ledger know where it is and where it goes."""
        at = self._fleet.instances.get(self.handover.engine)
        if at is not self._at:
            if self._at is not None:
                self._at.place.remove(self.view)
            if at is not None:
                at.place.add(self.view)
            self._at = at
        to = self._fleet.instances.get(self.handover.destination)
        if to is not self._to:
            if self._to is not None:
                self._to.place.forget(self.view)
            if to is not None:
                to.place.expect(self.view)
            self._to = to
            self.view.moving = to is not None

    def _remember(self) -> None:
        """Let the ledger know what its engine has cached now; the next prompt may begin with it."""
        if self._at is not None and self.view.keys:
            self._at.place.prefixes.add(prefixes.keys(self.record.tokens(), self._salt))

    def _set_alarm(self, move: int, seconds: float) -> None:
        self._end_alarm()
        loop = asyncio.get_running_loop()
        self._alarm = loop.call_later(seconds, lambda: self.tell(handover.Withdrawn(move)))

    def _move_over(self, number: int) -> None:
        self._legs.cancel(number)
        self._end_alarm()
        for instance in self._lane:
            instance.copying = False
        self._lane = ()
        self._pool.moved.set()

    def _end_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _finish(self) -> None:
        if self._over:
            return
        self._over = True
        self._remember()
        self._trace.end_all()
        self._sync()
        self._end_alarm()
        if self._ticket is not None:
            self._dispatcher.leave(self._ticket)
        self._done(self)


def _failure(fault: Fault) -> ApiError:
    if fault is Fault.REFUSED:
        return ApiError(400, "The model's server refuses this request.")
    return ApiError(502, "The model's server broke off several times at this request.")
