"""Coroutines that run beside each other until the first of them ends; and the signal to end.

Used by programs that stay: whatever ends first, by itself, by an error or because it was told to,
ends the others.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any


def stop_signal() -> asyncio.Event:
    """Return an event that is set by SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stopped.set)
    return stopped


@asynccontextmanager
async def running(
    coroutines: Iterable[Coroutine[Any, Any, Any]],
) -> AsyncIterator[asyncio.Future[None]]:
    """Run all of them meanwhile; yields what is done, or fails, as soon as one of them is."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    ended = asyncio.ensure_future(first(*tasks))
    try:
        yield ended
    finally:
        for task in (ended, *tasks):
            task.cancel()
        await asyncio.gather(ended, *tasks, return_exceptions=True)


async def first(*awaitables: Awaitable[Any]) -> None:
    """Wait for the first of them to end; raises what it raised."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def cancelled(task: asyncio.Task[Any]) -> None:
    """End a task and wait until it has."""
    task.cancel()
    await asyncio.wait({task})
