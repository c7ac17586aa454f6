"""A stream's tasks at engines: its legs, the holds they begin from, and what prepares a move.

Each is a task; whatever comes of it is an event for the state machine (`handover`). A task ends
with its context, and with it what the engine does for it. Used by `streams` alone.

What a pull brings is kept on its destination under a salt of the move's own until it is known to be
right, and so is what follows it: an engine keeps pulled blocks for later prompts, and those that
came too late may be another request's. Nobody else ever asks with that salt, nor does this request
once the pull has failed. A destination's other prompts gain nothing from what was pulled.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, NamedTuple

import msgspec
import structlog

from fairstow.gateway.engines.events import Pieces
from fairstow.gateway.engines.protocol import Engine, EngineError, HoldError, Order
from fairstow.gateway.fleet import Fleet
from fairstow.gateway.outbox import Outbox
from fairstow.gateway.tracing import Parts
from fairstow.serving import handover
from fairstow.serving.handover import Ended, Event, Fault, Handover, Said
from fairstow.serving.model import RequestView
from fairstow.serving.record import Record, continued
from fairstow.serving.tokens import Piece, Sampling

_TRANSIENT = frozenset({401, 403, 404, 408, 409, 425, 429})
"""What an engine may answer that says nothing of the request."""

log = structlog.get_logger(__name__)


class Request(NamedTuple):
    """What engines are told. Attributes: salt: the tenant's, for their prefix caches."""

    view: RequestView
    record: Record
    sampling: Sampling
    salt: str


class Legs:
    """One stream's.

    Args:
        tell: takes what happened.

    Attributes:
        started: how many legs there were.
    """

    def __init__(
        self,
        fleet: Fleet,
        request: Request,
        handover: Handover,
        outbox: Outbox,
        trace: Parts,
        tell: Callable[[Event], None],
    ) -> None:
        self._fleet = fleet
        self._view, self._record, self._sampling, self._salt = request
        self._handover, self._outbox = handover, outbox
        self._trace = trace
        self._tell = tell
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._moves: dict[int, str] = {}  # their salts
        self._pulled: dict[str, str] = {}  # by engine, the salt of what is right there
        self.started = 0

    def start(self, start: handover.Start) -> None:
        """Begin a leg."""
        self.started += 1
        held, own = self._salt_on(start.source), self._salt_on(start.engine)
        if start.source:
            own = self._own(start.move, start.engine)
        order = Order(
            id=f"{self._view.id}-{start.leg}",
            tokens=self._record.tokens().tolist(),
            sampling=continued(self._sampling, len(self._record.generated)),
            priority=self._view.priority,
            salt=own,
        )
        self._spawn(start.leg, self._run(start, order, held))

    def prepare(self, stage: handover.Prepare) -> None:
        """Bring what was computed so far to the destination."""
        tokens = self._record.tokens().tolist()
        held = self._salt_on(stage.source)
        own = self._own(stage.move, stage.destination) if stage.source else self._salt
        self._spawn(stage.move, self._prepare(stage, tokens, held, own))

    def _salt_on(self, engine: str) -> str:
        """Return the salt of what it has on an engine: the tenant's unless it was pulled."""
        return self._pulled.get(engine, self._salt)

    def moved(self, move: int, destination: str) -> None:
        """Take note that a move's destination speaks: what it pulled is right."""
        if move in self._moves:
            self._pulled[destination] = self._moves.pop(move)

    def _own(self, move: int, destination: str) -> str:
        """Return a move's salt; what is there isn't known to be right until this pull is over."""
        self._pulled.pop(destination, None)
        return self._moves.setdefault(move, secrets.token_hex(16))

    def cancel(self, number: int) -> None:
        """End a leg, or what prepares a move."""
        task = self._tasks.pop(number, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def _run(self, start: handover.Start, order: Order, held: str) -> None:
        """One leg, from its hold to its end."""
        instance = self._fleet[start.engine]
        fault = Fault.UNREACHABLE
        span = self._trace.span("leg", engine=start.engine, tokens=len(order.tokens))
        span.enter()
        try:
            if start.source:
                order = await self._held(start, order, held)
            async with instance.engine.generate(order) as pieces:
                del order  # its ids are a copy of the record's
                fault = Fault.BROKEN
                await self._listen(start.leg, pieces)
        except HoldError as error:
            log.warning("no hold", engine=start.source, problem=str(error))
        except EngineError as error:
            refused = error.status is not None and 400 <= error.status < 500
            if refused:
                fault = Fault.UNREACHABLE if error.status in _TRANSIENT else Fault.REFUSED
            if not self._handover.ended:
                log.warning("leg broke", engine=start.engine, problem=str(error))
            # One that refuses what another holds answers, and is as good as before.
            if not self._handover.ended and not (refused and start.source):
                self._fleet.suspect(instance)
        finally:
            span.end(tokens_after=len(self._record))
        self._tell(Ended(start.leg, fault))

    async def _listen(self, leg: int, pieces: AsyncIterator[Piece]) -> None:
        """Take in what a leg says, until it or the request has ended."""

        def take(piece: Piece) -> bool:
            self._tell(Said(leg, piece))
            return self._outbox.full

        if isinstance(pieces, Pieces):  # no task's turn for each of them
            await pieces.each(take, self._outbox.room)
            return
        async for piece in pieces:
            if take(piece):
                await self._outbox.room()
            if self._handover.ended:
                return

    async def _held(self, start: handover.Start, order: Order, salt: str) -> Order:
        try:
            hold = await self._fleet[start.source].engine.hold(order.tokens, salt)
        except EngineError as error:
            raise HoldError(error.status, error.said) from error
        return msgspec.structs.replace(order, hold=hold)

    async def _prepare(
        self, stage: handover.Prepare, tokens: list[int], held: str, own: str
    ) -> None:
        self._trace.enter("move")
        destination = self._fleet[stage.destination].engine
        try:
            if stage.source:
                hold = await self._fleet[stage.source].engine.hold(tokens, held)
                await destination.pull(tokens, own, hold)
                self._pulled[stage.destination] = own
            else:
                await self._warm(destination, stage, tokens)
        except EngineError as error:
            log.warning("not prepared", engine=stage.destination, problem=str(error))
            self._tell(handover.Prepared(stage.move, done=False))
        else:
            self._tell(handover.Prepared(stage.move))

    async def _warm(self, engine: Engine, stage: handover.Prepare, tokens: list[int]) -> None:
        """Have the destination compute it, into its prefix cache; what it says is forgotten."""
        order = Order(
            id=f"{self._view.id}-{stage.move}-{len(tokens)}",
            tokens=tokens,
            sampling=Sampling(max_tokens=1, temperature=0.0),
            priority=self._view.priority,
            salt=self._salt_on(stage.destination),
        )
        async with engine.generate(order) as pieces:
            async for _ in pieces:
                pass

    def _spawn(self, number: int, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks[number] = task
        task.add_done_callback(lambda done: self._task_done(number, done))

    def _task_done(self, number: int, task: asyncio.Task[None]) -> None:
        if self._tasks.get(number) is task:
            del self._tasks[number]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a leg failed", request=self._view.id, exc_info=error)
            self._tell(Ended(number, Fault.BROKEN))
            self._tell(handover.Prepared(number, done=False))
