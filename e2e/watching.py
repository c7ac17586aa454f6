"""A cluster watched by this process, for tests: reflectors that fill a LiveCluster."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from fairstow.cluster.errors import InputError
from fairstow.cluster.kinds import READ
from fairstow.cluster.live import LiveCluster
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.reflector import Reflector
from fairstow.kube.client import connect
from fairstow.kube.live import read_snapshot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from e2e.controlplane.client import Cluster
    from fairstow.cluster.kinds import Kind
    from fairstow.cluster.snapshot import Snapshot

T = TypeVar("T")


class Watched:
    """A live cluster and what fills it."""

    def __init__(self, cluster: Cluster, api: Api, kinds: Sequence[Kind]) -> None:
        self.cluster = cluster
        self.api = api
        self.live = LiveCluster()
        self.reflectors = {kind: Reflector(api, kind, self.live) for kind in kinds}

    async def synced(self) -> None:
        async with asyncio.timeout(60):
            for reflector in self.reflectors.values():
                await reflector.synced.wait()

    async def agrees(self) -> Snapshot:
        """Wait until the live cluster is what a fresh reading says, and return that."""
        connection = connect(str(self.cluster.kubeconfig))
        differing: set[str] = set()

        async def same() -> Snapshot | None:
            try:
                fresh = await asyncio.to_thread(read_snapshot, connection)
            except InputError:  # it may just be starting
                return None
            mine, theirs = quiet(self.live.snapshot()), quiet(fresh)
            differing.clear()
            differing.update(k for k in theirs if mine[k] != theirs[k])
            return None if differing else fresh

        try:
            agreed: Snapshot = await eventually(same, f"agreement (differing: {differing})")
        finally:
            connection.close()
        return agreed


def quiet(snapshot: Snapshot) -> dict[str, Any]:
    """What of a snapshot doesn't change by itself from second to second."""
    return {
        "nodes": snapshot.nodes,
        "pods": snapshot.pods,
        "budgets": snapshot.budgets,
        "jobs": snapshot.disruptable_jobs,
        "classes": snapshot.priority_classes,
        "namespaces": snapshot.namespaces,
        "storage": snapshot.storage,
        "known": snapshot.known,
    }


@asynccontextmanager
async def watching(cluster: Cluster, kinds: Sequence[Kind] = READ) -> AsyncIterator[Watched]:
    """Watch a cluster; everything was listed once when this yields."""
    async with Api.connect(str(cluster.kubeconfig)) as api:
        watched = Watched(cluster, api, kinds)
        async with running(*(r.run for r in watched.reflectors.values())):
            await watched.synced()
            yield watched


@asynccontextmanager
async def running(*functions: Callable[[], Any]) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """Run coroutines beside the test; an error in one of them is the test's."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(function()) for function in functions]
        yield tasks
        for task in tasks:
            task.cancel()


async def eventually(probe: Callable[[], Any], what: str, timeout: float = 60) -> Any:
    """Call `probe`, a function or coroutine function, until it returns something true."""
    deadline = time.monotonic() + timeout
    while True:
        found = probe()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout:g} s")
        await asyncio.sleep(0.1)
