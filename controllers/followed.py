"""What objects of a controller that come through reflectors have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fairstow.kube.aio.reflector import Reflector


class Followed:
    """Attributes: reflectors: what keeps them up to date; changed: set when any of them has."""

    reflectors: tuple[Reflector, ...]
    changed: asyncio.Event

    def tasks(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Return what has to run."""
        return tuple(each.run() for each in self.reflectors)

    async def synced(self) -> None:
        """Return once all kinds have been listed."""
        for each in self.reflectors:
            await each.synced.wait()

    async def changes(self, told: Callable[[], None]) -> None:
        """Tell of every change, until cancelled."""
        while True:
            await self.changed.wait()
            self.changed.clear()
            told()
