"""When a controller takes its next turn, and what becomes of a turn that fails.

Used by every loop of the operator that reconciles something.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from controllers import metrics
from controllers.health import Turns
from fairstow.cluster.errors import InputError
from fairstow.kube.problems import ApiError

logger = logging.getLogger(__name__)

LONGEST_SLEEP = 60.0
"""Seconds until a controller looks again though nothing told it to."""

SHARE = 20
"""A controller rests this many times longer than it worked: a twentieth of a core at most."""

_AFTER_FAILURE = 5.0


class Timed(Protocol):
    """Who has a clock, in seconds since 1970, and is told of turns."""

    @property
    def clock(self) -> Callable[[], float]:
        """Tells the seconds since 1970."""

    @property
    def turns(self) -> Turns:
        """Is told of each turn."""


class Pace:
    """When a controller's next turn is: woken, or at a moment, but never without a rest.

    Args:
        timed: its clock, and who is told of its turns.
        least: seconds of rest; more after turns with much `work`.
    """

    def __init__(self, timed: Timed, least: float) -> None:
        self._clock, self._turns, self._least = timed.clock, timed.turns, least
        self._woken = asyncio.Event()
        self._worked = 0.0

    @contextmanager
    def work(self) -> Iterator[None]:
        """Count what is done meanwhile as the turn's work."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._worked += time.monotonic() - began

    def wake(self) -> None:
        """Have the next turn soon."""
        self._woken.set()

    async def run(self, name: str, turn: Callable[[], Awaitable[int | None]]) -> None:
        """Take turns for good. A turn returns when the next is due at the latest, or None.

        A turn that fails is logged and taken again: it begins by looking at everything anew.
        """
        while True:
            self._turns.finished(name)
            self._woken.clear()
            self._worked, due, rest = 0.0, None, self._least
            try:
                due = await turn()
            except (ApiError, InputError) as error:
                logger.warning("%s: %s", name, error)
                metrics.TURN_FAILURES.labels(name).inc()
                due, rest = int(self._clock()), _AFTER_FAILURE
            except Exception:
                logger.exception("%s: a turn failed by a fault of Fairstow's own", name)
                metrics.TURN_FAILURES.labels(name).inc()
                due, rest = int(self._clock()), LONGEST_SLEEP
            await asyncio.sleep(max(rest, SHARE * self._worked))
            await self._until(due)

    async def _until(self, due: int | None) -> None:
        seconds = LONGEST_SLEEP if due is None else min(due - self._clock(), LONGEST_SLEEP)
        try:
            await asyncio.wait_for(self._woken.wait(), max(seconds, 0))
        except TimeoutError:
            return
