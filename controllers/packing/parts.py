"""What the packing controllers are made of, and how they write statuses and sleep.

Put together by `controllers.runtime`.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from controllers import metrics
from controllers.health import Turns
from controllers.packing.objects import Objects
from fairstow.api import PackingPolicy
from fairstow.api.model import CustomResource, Model
from fairstow.cluster.errors import InputError
from fairstow.cluster.live import LiveCluster
from fairstow.kube.aio.paths import path_of
from fairstow.kube.problems import ApiError
from fairstow.packing.announce import Announcement
from fairstow.packing.planner import Solver

logger = logging.getLogger(__name__)

LONGEST_SLEEP = 60.0
"""Seconds until a controller looks again though nothing told it to."""

SHARE = 20
"""A controller rests this many times longer than it worked: a twentieth of a core at most."""

_AFTER_FAILURE = 5.0
_POLICIES = path_of("fairstow.dev/v1alpha1", "PackingPolicy")


class Writer(Protocol):
    """What is asked of `fairstow.kube.aio.api.Api`."""

    async def get(self, path: str) -> dict[str, Any]:
        """Return an object."""

    async def create(self, path: str, obj: dict[str, Any]) -> dict[str, Any]:
        """Create an object in a collection."""

    async def apply(
        self, obj: dict[str, Any], manager: str, *, subresource: str | None = None
    ) -> dict[str, Any]:
        """Server-side apply."""

    async def delete(self, path: str, *, uid: str | None = None) -> bool:
        """Delete an object."""


@dataclass(frozen=True)
class Parts:
    """What a packing controller works with.

    Attributes:
        solve: where searches run.
        enforced: schedulers that have Fairstow's filter attached.
        identity: the operator's own user name, by which it approves plans in mode Auto.
        announce: tells the owners of pods.
        clock: seconds since 1970.
        turns: told of each turn.
    """

    cluster: LiveCluster
    objects: Objects
    api: Writer
    solve: Solver
    enforced: frozenset[str] = frozenset()
    identity: str = ""
    announce: Callable[[Announcement], None] = field(default=lambda _: None)
    clock: Callable[[], float] = time.time
    turns: Turns = field(default_factory=Turns)

    @property
    def now(self) -> int:
        """The moment, in whole seconds since 1970."""
        return int(self.clock())

    async def policy(self, name: str) -> PackingPolicy | None:
        """Return a policy as the API server has it now: a watch may lag, or hang for minutes."""
        try:
            self.objects.put(await self.api.get(f"{_POLICIES}/{name}"))
        except ApiError as error:
            if error.status != 404:
                raise
            self.objects.drop(PackingPolicy, name)
        return next((p for p in self.objects.policies if p.metadata.name == name), None)

    async def report(self, obj: CustomResource, status: Model, manager: str) -> None:
        """Write an object's status; an object that is gone needs none."""
        body = {
            "apiVersion": obj.api_version,
            "kind": obj.kind,
            "metadata": {"name": obj.metadata.name},
            "status": status.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
        try:
            self.objects.put(await self.api.apply(body, manager, subresource="status"))
        except ApiError as error:
            if error.status != 404:
                raise


class Pace:
    """When a controller's next turn is: woken, or at a moment, but never without a rest.

    Args:
        parts: what the controller works with.
        least: seconds of rest; more after turns with much `work`.
    """

    def __init__(self, parts: Parts, least: float) -> None:
        self._clock, self._turns, self._least = parts.clock, parts.turns, least
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
