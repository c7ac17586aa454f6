"""A pool whose engines are groups of pods: the real LeaderWorkerSet, scaled by Fairstow.

Covered (`full`): the set's own controller and webhooks make groups of two on a real API server; its
scale grows to the pool's minimum; of two groups the last is drained and goes, whole, and no stream
with it; a ScaledObject (KEDA's own kind) of the same set has Fairstow stand back until it is gone.
Not covered: what KEDA's operator does with it, rollouts of a set, groups that fail, gangs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from e2e.controlplane.build import BuildError
from e2e.rights import scaling
from e2e.serving import leader_worker_sets
from e2e.serving.scaled import Site, clock, rights, scaled, served, workload
from e2e.serving.scene import controller

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.controlplane.client import Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.full]

KIND = "LeaderWorkerSet"
MEMBERS = 2
"""Of a group."""


@pytest.fixture(scope="module", autouse=True)
def _sets(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    try:
        with leader_worker_sets.running(cluster, tmp_path_factory.mktemp("lws")):
            yield
    except BuildError as error:
        pytest.skip(f"no LeaderWorkerSet: {error}")


def play(
    cluster: Cluster,
    namespace: str,
    folder: Path,
    test: Callable[[Site, AsyncExitStack], Awaitable[None]],
) -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            site = await stack.enter_async_context(served(cluster, namespace, folder))
            await site.apply(*scaling(namespace))
            await stack.enter_async_context(controller(site.operator, site.identity, clock=clock))
            await test(site, stack)

    with rights(cluster, namespace):
        asyncio.run(scenario())


async def groups(site: Site) -> int:
    """What the set asks for."""
    found: int = (await site.get("leaderworkerset/llama"))["spec"]["replicas"]
    return found


def scaled_object(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "theirs", "namespace": namespace},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "leaderworkerset.x-k8s.io/v1",
                "kind": KIND,
                "name": "llama",
            },
            "triggers": [{"type": "cron", "metadata": {"timezone": "UTC", "desiredReplicas": "9",
                          "start": "0 0 * * *", "end": "1 0 * * *"}}],
        },
    }  # fmt: skip


def test_a_set_loses_its_last_group_and_no_stream(
    cluster: Cluster, namespace: str, gpu_nodes: Callable[..., list[str]], tmp_path: Path
) -> None:
    gpu_nodes(1, gpus=0)

    async def test(site: Site, _stack: AsyncExitStack) -> None:
        # 1. It grows to the least there may be; members aren't taken for engines.
        idle = scaled(namespace, KIND, site.port, minReplicas=2)
        await site.apply(workload(namespace, KIND, 1), idle)
        await site.serving(2)
        assert (await groups(site), len(await site.pods())) == (2, 2 * MEMBERS)

        # 2. It may shrink: the last group is drained and goes, and what it served goes on.
        streams = site.streams(6, 600)
        await site.running(6)
        await site.apply(scaled(namespace, KIND, site.port, inAboveSteps=1_100))
        await site.settled(MEMBERS)
        assert await groups(site) == 1
        assert sorted(await site.pods()) == ["llama-0", "llama-0-1"]
        await site.heard(streams, 600)

    play(cluster, namespace, tmp_path, test)


def test_a_scaled_object_of_the_set_has_fairstow_stand_back(
    cluster: Cluster, namespace: str, gpu_nodes: Callable[..., list[str]], tmp_path: Path
) -> None:
    gpu_nodes(1, gpus=0)
    leader_worker_sets.keda(cluster)

    async def test(site: Site, _stack: AsyncExitStack) -> None:
        await site.apply(scaled_object(namespace), workload(namespace, KIND, 1))
        await site.apply(scaled(namespace, KIND, site.port, minReplicas=2))
        await site.said("ScaledElsewhere")
        await site.serving(1)
        await asyncio.sleep(3)  # half a minute of the controller's
        assert await groups(site) == 1
        await site.kubectl("delete", "scaledobject/theirs")
        await site.serving(2)
        assert await groups(site) == 2

    play(cluster, namespace, tmp_path, test)
