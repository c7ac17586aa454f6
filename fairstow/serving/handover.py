"""One request's way over engines, as a state machine: events in, actions out.

The client sees exactly what is delivered, and a delivered token is never taken back. Let n be the
number of ids so far (prompt and delivered). A leg starts from exactly the n ids of that moment, and
what it says is delivered only while it continues them:

    parked ──placed──▶ running ──move──▶ preparing ──▶ switching ──▶ running (on the destination)
       ▲                  │  ▲ └────────── stays ◀────────┘
       └─────broken───────┘

*Preparing* brings what the source has computed of the first n ids to the destination (or has it
recomputed there) while the source goes on. It is repeated, since n grew meanwhile, until little is
left. *Switching* is make before break: the destination starts from n ids while what the source
says past n is kept aside. With the destination's first token that is dropped and the source
aborted; if the destination fails or takes too long it is delivered, and the request stays. Only a
source that can't copy while it runs (`Way.STOPPED`) is aborted first.

Whatever breaks, the ids are at hand: with no leg left the request is parked and starts anew from
its ids wherever there is room. So does one that is paused for the sake of others. A leg that its
engine refuses for good, or `STRIKES` legs one after the other that broke without a token, end the
request, so that one which kills engines doesn't kill them all.

Source: Llumnix (OSDI'24) section 4.2, multi-stage migration; on stock engines nobody but the
gateway knows the order of tokens, so that the hand-over is decided here. The gateway's `streams`
carries the actions out.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from fairstow.serving.tokens import Piece

STRIKES = 3
STAGES = 4
"""Most stages of preparation; each leaves what was decoded during the one before."""


class Way(StrEnum):
    """How what was computed gets to the destination."""

    COPIED = "Copied"
    STOPPED = "Stopped"
    RECOMPUTED = "Recomputed"


class Fault(StrEnum):
    """Why a leg ended without a finish reason."""

    BROKEN = "Broken"
    UNREACHABLE = "Unreachable"
    REFUSED = "Refused"


class Event(msgspec.Struct, frozen=True, gc=False):
    """What happened. Events of legs and moves that are over change nothing."""


class Placed(Event, frozen=True, gc=False):
    """A parked request is given an engine."""

    engine: str


class Said(Event, frozen=True, gc=False):
    """A leg said something."""

    leg: int
    piece: Piece


class Ended(Event, frozen=True, gc=False):
    """A leg ended without a finish reason."""

    leg: int
    fault: Fault


class Move(Event, frozen=True, gc=False):
    """Go to another engine.

    Attributes:
        slack: ids that the last stage may have to bring, a block or two.
    """

    destination: str
    way: Way
    slack: int = 32


class Prepared(Event, frozen=True, gc=False):
    """A stage of preparation is done, or failed."""

    move: int
    done: bool = True


class Withdrawn(Event, frozen=True, gc=False):
    """The move took too long, or its destination is not to be used any more."""

    move: int


class Pause(Event, frozen=True, gc=False):
    """Give the place up for a while, unless it is on its way elsewhere."""


class Over(Event, frozen=True, gc=False):
    """The client left, or the record ended itself."""


class Action(msgspec.Struct, frozen=True, gc=False):
    """What is to be done, in this order."""


class Start(Action, frozen=True, gc=False):
    """Start a leg from the first `length` ids.

    Attributes:
        source: has computed them; "" recomputes.
        move: whose last stage it is; 0 if it isn't one.
    """

    leg: int
    engine: str
    length: int
    source: str = ""
    move: int = 0


class Abort(Action, frozen=True, gc=False):
    """End a leg; it has no more to say."""

    leg: int


class Prepare(Action, frozen=True, gc=False):
    """Bring the first `length` ids to the destination; `source` "" has them recomputed there."""

    move: int
    destination: str
    length: int
    source: str


class Deliver(Action, frozen=True, gc=False):
    """Append to the record, and to what the client sees."""

    leg: int
    piece: Piece


class Park(Action, frozen=True, gc=False):
    """Nothing runs: place it anew. Attributes: paused: it was told to wait its turn again."""

    paused: bool = False


class Moved(Action, frozen=True, gc=False):
    """A move is over, the request runs on its destination."""

    move: int
    source: str
    destination: str
    stages: int
    dropped: int


class Stayed(Action, frozen=True, gc=False):
    """A move is over, and didn't happen."""

    move: int
    destination: str
    reason: str


class Fail(Action, frozen=True, gc=False):
    """The request can't be served."""

    fault: Fault


class _Leg(msgspec.Struct):
    number: int
    engine: str
    spoke: bool = False


class _Going(msgspec.Struct):
    """A move under way; it switches once `leg` is set."""

    number: int
    to: Move
    reached: int
    stages: int = 1
    leg: _Leg | None = None
    aside: list[Piece] = []


class Handover:
    """One request's legs.

    Attributes:
        length: ids so far, prompt included.
        ended: nothing more is done.
    """

    __slots__ = ("_going", "_leg", "_numbers", "_strikes", "ended", "length")

    def __init__(self, length: int) -> None:
        self.length = length
        self.ended = False
        self._leg: _Leg | None = None
        self._going: _Going | None = None
        self._numbers = 0
        self._strikes = 0

    @property
    def engine(self) -> str:
        """Where the leg runs that the client hears; "" if none does."""
        return self._leg.engine if self._leg else ""

    @property
    def destination(self) -> str:
        """Where it goes to, "" if nowhere."""
        return self._going.to.destination if self._going else ""

    @property
    def decoding(self) -> bool:
        """Whether the leg that the client hears has said something."""
        return self._leg is not None and self._leg.spoke

    def on(self, event: Event) -> list[Action]:
        """Return what is to be done about it."""
        if self.ended:
            return []
        match event:
            case Said():
                return self._said(event.leg, event.piece)
            case Ended():
                return self._ended(event.leg, event.fault)
            case Prepared():
                return self._prepared(event)
            case Placed():
                parked = self._leg is None and self._going is None
                return [self._start(event.engine)] if parked else []
            case Move():
                return self._move(event)
            case Pause():
                return self._pause()
            case Withdrawn():
                going = self._going
                known = going is not None and going.number == event.move
                return self._stay("Withdrawn") if known else []
            case _:
                self.ended = True
                return self._abort_all()

    def _said(self, leg: int, piece: Piece) -> list[Action]:
        going, now = self._going, self._leg
        if going is not None and going.leg is not None:
            if going.leg.number == leg:
                return self._switch(going, going.leg, piece)
            if now is None or now.number != leg:
                return []
            going.aside.append(piece)
            # The source finished first: what it said is the end, and nothing has to move.
            return self._stay("Finished") if piece.finish else []
        if now is None or now.number != leg:
            return []
        return self._deliver(now, piece)

    def _deliver(self, leg: _Leg, piece: Piece) -> list[Action]:
        if piece.tokens:
            leg.spoke, self._strikes = True, 0
            self.length += len(piece.tokens)
        actions: list[Action] = [Deliver(leg.number, piece)]
        if piece.finish is not None:
            self.ended = True
            self._leg = None  # it ended by itself
            actions += self._abort_all()
        return actions

    def _switch(self, going: _Going, leg: _Leg, piece: Piece) -> list[Action]:
        if not piece.tokens and piece.finish is None:
            return []
        actions: list[Action] = []
        source = self._leg
        if source is not None:
            actions.append(Abort(source.number))
        dropped = sum(len(aside.tokens) for aside in going.aside)
        came_from = source.engine if source else ""
        self._leg, self._going = leg, None
        moved = Moved(going.number, came_from, leg.engine, going.stages, dropped)
        return [*actions, moved, *self._deliver(leg, piece)]

    def _ended(self, number: int, fault: Fault) -> list[Action]:
        going, now = self._going, self._leg
        if going is not None and going.leg is not None and going.leg.number == number:
            going.leg = None
            return self._stay(fault.value)
        if now is None or now.number != number:
            return []
        self._leg = None
        if going is not None and going.leg is not None:
            return []  # the destination has started from our ids: it decides
        if fault is Fault.REFUSED and going is None:
            self.ended = True
            return [Fail(fault)]
        if fault is Fault.BROKEN and not now.spoke:
            self._strikes += 1
        if self._strikes >= STRIKES:
            self.ended = True
            return [*self._give_up("Broken"), Fail(fault)]
        if going is not None:  # some of it is there already
            return [*self._give_up("SourceLost"), self._start(going.to.destination)]
        return [Park()]

    def _move(self, move: Move) -> list[Action]:
        leg = self._leg
        if leg is None or self._going is not None or leg.engine == move.destination:
            return []
        if not leg.spoke:  # nothing computed that is worth copying
            source = leg.engine
            start = self._start(move.destination)
            moved = Moved(self._number(), source, move.destination, 0, 0)
            return [Abort(leg.number), moved, start]
        self._going = _Going(self._number(), move, self.length, aside=[])
        if move.way is Way.STOPPED:
            self._leg = None
            return [Abort(leg.number), self._last(self._going, leg.engine)]
        return [self._prepare(self._going, leg.engine)]

    def _pause(self) -> list[Action]:
        leg = self._leg
        if leg is None or self._going is not None or not leg.spoke:
            return []
        self._leg = None
        return [Abort(leg.number), Park(paused=True)]

    def _prepared(self, event: Prepared) -> list[Action]:
        going = self._going
        if going is None or going.number != event.move or going.leg is not None:
            return []
        if not event.done:
            return self._stay("NotPrepared")
        left = self.length - going.reached
        if left <= going.to.slack or going.stages >= STAGES:
            return [self._last(going, self.engine)]
        going.stages += 1
        going.reached = self.length
        return [self._prepare(going, self.engine)]

    def _prepare(self, going: _Going, engine: str) -> Action:
        source = engine if going.to.way is Way.COPIED else ""
        return Prepare(going.number, going.to.destination, self.length, source)

    def _last(self, going: _Going, engine: str) -> Action:
        going.leg = _Leg(self._number(), going.to.destination)
        source = "" if going.to.way is Way.RECOMPUTED else engine
        return Start(going.leg.number, going.leg.engine, self.length, source, going.number)

    def _stay(self, reason: str) -> list[Action]:
        """Go on with the source, if there is one, else anywhere."""
        going = self._going
        assert going is not None
        actions = self._give_up(reason)
        leg = self._leg
        for piece in going.aside:
            # A source that broke has said these all the same.
            actions += self._deliver(leg or _Leg(0, ""), piece)
        if leg is None and not self.ended:
            actions.append(Park())
        return actions

    def _give_up(self, reason: str) -> list[Action]:
        going, self._going = self._going, None
        if going is None:
            return []
        stayed = Stayed(going.number, going.to.destination, reason)
        return [Abort(going.leg.number), stayed] if going.leg else [stayed]

    def _start(self, engine: str) -> Action:
        self._leg = _Leg(self._number(), engine)
        return Start(self._leg.number, engine, self.length)

    def _abort_all(self) -> list[Action]:
        legs = [self._leg, self._going.leg if self._going else None]
        actions: list[Action] = [Abort(leg.number) for leg in legs if leg]
        actions += self._give_up("Over")[-1:]
        self._leg = None
        return actions

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers
