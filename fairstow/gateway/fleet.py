"""The engines of a gateway: what each one is, whether it answers, whether it drains.

One loop per engine asks what it is until it says so, then how busy it is, once a second. Whoever
finds an engine broken says so (`suspect`), and it is asked at once: an engine that doesn't answer
is *lost* until it does, and then its facts are asked anew, since it may be another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

import structlog

from fairstow.gateway.engines.protocol import Capabilities, Engine, EngineError, Load
from fairstow.gateway.ledger import Place
from fairstow.serving.model import State as ViewState
from fairstow.serving.wire import State

POLL_SECONDS = 1.0
STARTING_SECONDS = 0.5
ANSWER_SECONDS = 5.0
"""An engine that takes longer is lost: a busy one answers late, a dead one never."""
UNKNOWN_CAPACITY = 1 << 40

log = structlog.get_logger(__name__)


class Instance:
    """One engine.

    Attributes:
        engine: its adapter.
        state: what is done with it.
        facts: what it said it is; None before.
        place: our requests on it.
        load: its own count.
        moved, recomputed: requests that left it, with their KV copied or not.
        problem: why it is lost.
        copying: a request's memory is on its way from or to it.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.name = engine.name
        self.facts: Capabilities | None = None
        self.place = Place(engine.name, UNKNOWN_CAPACITY, 16, "")
        self.load: Load | None = None
        self.moved = 0
        self.recomputed = 0
        self.problem = ""
        self.copying = False
        self.draining = False
        self.answers = False
        self.known = False
        self.asked = asyncio.Event()

    @property
    def state(self) -> State:
        """What is done with it."""
        if not self.answers:
            return State.LOST if self.facts else State.STARTING
        return State.DRAINING if self.draining else State.SERVING

    def learn(self, facts: Capabilities) -> None:
        """Take in what it is."""
        self.facts = facts
        self.place.learn(facts.kv_tokens or UNKNOWN_CAPACITY, max(1, facts.block))
        self.place.view.compatibility = facts.compatibility
        self.place.view.speed = facts.speed
        self.show()

    def show(self) -> None:
        """Let policies see its state; those that don't answer aren't shown at all."""
        self.place.view.state = ViewState.DRAINING if self.draining else ViewState.READY


class Fleet:
    """All engines, by name.

    Attributes:
        changed: called after any engine's state changed.
        answered: called with an engine that said what it is, for the first time or again.
    """

    def __init__(self) -> None:
        self.instances: dict[str, Instance] = {}
        self.changed: Callable[[], None] = lambda: None
        self.answered: Callable[[Instance], None] = lambda _: None
        self._loops: dict[str, asyncio.Task[None]] = {}

    def __getitem__(self, name: str) -> Instance:
        return self.instances[name]

    def add(self, engine: Engine) -> Instance:
        """Begin to use an engine."""
        instance = self.instances[engine.name] = Instance(engine)
        self._loops[engine.name] = asyncio.create_task(self._watch(instance))
        return instance

    async def remove(self, name: str) -> None:
        """Stop to use an engine; requests on it have to be gone, or break."""
        loop = self._loops.pop(name)
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop
        del self.instances[name]
        self.changed()

    async def close(self) -> None:
        """Stop to watch all of them."""
        for name in list(self._loops):
            await self.remove(name)

    def serving(self) -> list[Instance]:
        """Return those that new requests may go to."""
        return [each for each in self.instances.values() if each.state is State.SERVING]

    def answering(self) -> list[Instance]:
        """Return those that answer, draining ones too."""
        return [each for each in self.instances.values() if each.answers and each.facts]

    def drain(self, names: Iterable[str]) -> None:
        """Let exactly these drain."""
        wanted = set(names)
        for instance in self.instances.values():
            if instance.draining != (instance.name in wanted):
                instance.draining = not instance.draining
                instance.show()
                log.info("drains" if instance.draining else "serves", engine=instance.name)
        self.changed()

    def suspect(self, instance: Instance) -> None:
        """It may be dead: nothing is sent there until it has answered."""
        instance.answers = instance.known = False
        instance.asked.set()
        self.changed()

    async def _watch(self, instance: Instance) -> None:
        while True:
            instance.asked.clear()
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    new = not instance.known
                    if new:
                        instance.learn(await instance.engine.probe())
                    instance.load = await instance.engine.load()
                    instance.place.correct(instance.load)
            except (EngineError, TimeoutError) as error:
                self._missed(instance, str(error) or "no answer in time")
                instance.known = False
            else:
                instance.known = True
                self._answered(instance, new=new)
            with suppress(TimeoutError):
                pause = POLL_SECONDS if instance.answers else STARTING_SECONDS
                await asyncio.wait_for(instance.asked.wait(), pause)

    def _missed(self, instance: Instance, problem: str) -> None:
        if instance.answers or not instance.problem:
            log.warning("doesn't answer", engine=instance.name, problem=problem)
        was, instance.answers, instance.problem = instance.answers, False, problem
        if was:
            self.changed()

    def _answered(self, instance: Instance, *, new: bool) -> None:
        facts = instance.facts
        if new and facts is not None:
            log.info(
                "answers",
                engine=instance.name,
                model=facts.model,
                movement=facts.movement,
                missing=list(facts.missing),
            )
        was, instance.answers, instance.problem = instance.answers, True, ""
        if new:
            self.answered(instance)
        if not was:
            self.changed()
