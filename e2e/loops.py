"""The pool and policy controllers in a thread of the tests' own process, on a real API server.

They are the very classes that the operator runs, without its Lease; whatever they announce is kept.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from controllers.packing.objects import OWN, Objects
from controllers.packing.parts import Parts
from controllers.packing.policies import PolicyLoop
from controllers.packing.pools import PoolLoop
from fairstow.cluster.kinds import READ
from fairstow.cluster.live import LiveCluster
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.reflector import Reflector
from fairstow.packing.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fairstow.packing.announce import Announcement

_GRACE = 0.25
"""Seconds that aiohttp's TLS connections need to close."""

IDENTITY = "system:serviceaccount:fairstow-system:fairstow-operator"


@contextmanager
def running(
    kubeconfig: Path, worker: Worker, *, enforced: frozenset[str] = frozenset()
) -> Iterator[list[Announcement]]:
    """Run both controllers; yields what they announce."""
    told: list[Announcement] = []
    ready, loop = threading.Event(), asyncio.new_event_loop()

    async def serve() -> None:
        async with Api.connect(str(kubeconfig)) as api:
            cluster, objects = LiveCluster(), Objects()
            parts = Parts(cluster, objects, api, worker, enforced, IDENTITY, told.append)
            pools, policies = PoolLoop(parts), PolicyLoop(parts)
            reflectors = [Reflector(api, kind, cluster) for kind in READ]
            reflectors += [Reflector(api, kind, objects) for kind in OWN]
            tasks = [asyncio.create_task(r.run()) for r in reflectors]
            await asyncio.gather(*(r.synced.wait() for r in reflectors))
            tasks += [asyncio.create_task(run()) for run in (pools.run, policies.run)]
            ready.set()
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    main = loop.create_task(serve())
    thread = threading.Thread(target=lambda: drive(loop, main), daemon=True)
    thread.start()
    try:
        assert ready.wait(60), "the controllers' watches aren't synced"
        yield told
    finally:
        loop.call_soon_threadsafe(main.cancel)
        thread.join(30)


def drive(loop: asyncio.AbstractEventLoop, main: asyncio.Task[None]) -> None:
    """Run a loop of its own thread until its main task ends, and close it."""
    try:
        loop.run_until_complete(main)
    except asyncio.CancelledError:
        pass
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.run_until_complete(asyncio.sleep(_GRACE))
        loop.close()
