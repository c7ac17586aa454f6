"""Pools whose workload is scaled, on a real API server with its own controllers.

Covered: bounds of a Deployment; a missing right, an autoscaler and a missing workload are said.
Marked `full`, since they take long: a Deployment loses the drained pod and not the one it would
choose itself; it grows with the load, from nothing too; a StatefulSet loses its last pod, whose
streams go on elsewhere token by token; a controller that dies after any of its writes. The engines
are cost-model servers beside the cluster, whose pods are given their addresses. Not covered:
LeaderWorkerSet and KEDA (test_leader_worker_sets.py), and the decisions one by one
(tests/serving/test_scaling.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import openai
import pytest

from e2e.rights import scaling
from e2e.serving.scaled import Site, clock, rights, scaled, served, workload
from e2e.serving.scene import controller, drain
from e2e.serving.test_gateway import KEY
from fairstow.kube.aio.api import Api

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.controlplane.client import Cluster

pytestmark = pytest.mark.e2e

Play = Callable[[Callable[[Site, AsyncExitStack], Awaitable[None]]], None]


@pytest.fixture
def play(
    cluster: Cluster, namespace: str, gpu_nodes: Callable[..., list[str]], tmp_path: Path
) -> Play:
    """Play a scene with a node, servers, a gateway and a client; what is begun ends with it."""
    gpu_nodes(1, gpus=0)

    def played(test: Callable[[Site, AsyncExitStack], Awaitable[None]]) -> None:
        async def scenario() -> None:
            async with AsyncExitStack() as stack:
                site = await stack.enter_async_context(served(cluster, namespace, tmp_path))
                await test(site, stack)

        with rights(cluster, namespace):
            asyncio.run(scenario())

    return played


def test_a_workload_is_kept_within_its_bounds_and_what_is_in_the_way_is_said(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        operator = await asyncio.to_thread(
            cluster.as_service_account, namespace, "fairstow-operator", tmp_path / "operator"
        )
        nobody = openai.AsyncOpenAI(base_url="http://127.0.0.1:9", api_key=KEY)
        site = Site(cluster, operator, namespace, 8000, nobody)
        few = scaled(namespace, "Deployment", site.port, minReplicas=2)
        await site.apply(workload(namespace, "Deployment", 1), few)
        async with controller(operator, site.identity, clock=clock):
            await site.said("TargetRefused")
            await site.apply(*scaling(namespace))
            await site.said("NoGateway")
            assert (await site.get("deployment/llama"))["spec"]["replicas"] == 2
            autoscaler = ("autoscale", "deployment/llama", "--min=1", "--max=3", "--cpu=80%")
            await site.kubectl(*autoscaler)
            await site.said("ScaledElsewhere")
            await site.kubectl("delete", "hpa/llama", "deployment/llama")
            await site.said("TargetNotFound")
            (event,) = [e for e in await site.items("events") if e["reason"] == "ScaledOut"]
            assert event["involvedObject"]["kind"] == "ServingPool"

    with rights(cluster, namespace):
        asyncio.run(scenario())


@pytest.mark.full
def test_a_deployment_loses_the_drained_pod_and_not_the_one_it_would_choose(
    play: Play,
) -> None:
    async def test(site: Site, stack: AsyncExitStack) -> None:
        unscaled = scaled(site.namespace, "Deployment", site.port)
        del unscaled["spec"]["scaling"]
        await site.apply(
            workload(site.namespace, "Deployment", 1), unscaled, *scaling(site.namespace)
        )
        (old,) = await site.until(site.pods, "the first pod")
        await site.kubectl("wait", "--for=condition=Ready", f"pod/{old}")
        await site.kubectl("scale", "deployment/llama", "--replicas=2")
        await stack.enter_async_context(controller(site.operator, site.identity, clock=clock))
        await site.serving(2)
        (new,) = set(await site.pods()) - {old}

        # All streams are on the newer pod, which a Deployment would remove first.
        uid = (await site.get(f"pod/{old}"))["metadata"]["uid"]
        await site.apply(drain(site.namespace, old, uid))
        await site.serving(1)
        streams = site.streams(3, 400)
        await site.running(3)
        await site.kubectl("delete", f"instancedrain/{old}")
        await site.apply(scaled(site.namespace, "Deployment", site.port))
        await site.settled(1)
        assert await site.pods() == [new]
        await site.heard(streams, 400)

    play(test)


@pytest.mark.full
def test_a_deployment_grows_with_the_load(
    play: Play,
) -> None:
    async def test(site: Site, stack: AsyncExitStack) -> None:
        pool = scaled(site.namespace, "Deployment", site.port)
        await site.apply(workload(site.namespace, "Deployment", 1), pool, *scaling(site.namespace))
        await stack.enter_async_context(controller(site.operator, site.identity, clock=clock))
        await site.serving(1)
        (first,) = await site.pods()
        more = site.streams(20, 300, long=350)

        async def grown() -> bool:
            return len(await site.pods()) > 1

        await site.until(grown, "another pod")
        assert first in await site.pods()
        events = await site.items("events")
        assert "ScaledOut" in {each["reason"] for each in events}

        await site.heard(more, 300, long=350)

    play(test)


@pytest.mark.full
def test_a_pool_that_nobody_asks_is_empty_until_somebody_does(
    play: Play,
) -> None:
    async def test(site: Site, stack: AsyncExitStack) -> None:
        pool = scaled(site.namespace, "Deployment", site.port, minReplicas=0)
        await site.apply(workload(site.namespace, "Deployment", 1), pool, *scaling(site.namespace))
        await stack.enter_async_context(controller(site.operator, site.identity, clock=clock))
        await site.settled(0)
        streams = site.streams(2, 50)
        await site.heard(streams, 50)

    play(test)


@pytest.mark.full
def test_a_stateful_set_loses_its_last_pod_and_no_stream(
    play: Play,
) -> None:
    async def test(site: Site, stack: AsyncExitStack) -> None:
        idle = scaled(site.namespace, "StatefulSet", site.port, minReplicas=2)
        await site.apply(workload(site.namespace, "StatefulSet", 2), idle, *scaling(site.namespace))
        await stack.enter_async_context(controller(site.operator, site.identity, clock=clock))
        await site.serving(2)
        streams = site.streams(6, 600)
        await site.running(6)
        await site.apply(scaled(site.namespace, "StatefulSet", site.port, inAboveSteps=1_100))
        await site.settled(1)
        assert await site.pods() == ["llama-0"]
        await site.heard(streams, 600)

    play(test)


class Dying:
    """A connection whose user dies right after its so many-th write."""

    def __init__(self, api: Api, writes: int) -> None:
        self._api = api
        self._left = writes

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._api, name)
        if name not in ("create", "replace", "apply", "patch", "delete"):
            return method

        async def write(*args: Any, **more: Any) -> Any:
            if self._left == 0:
                await asyncio.sleep(3600)
            self._left -= 1
            return await method(*args, **more)

        return write


@pytest.mark.full
@pytest.mark.parametrize("writes", range(10))
def test_a_controller_that_dies_between_two_writes_is_taken_over(writes: int, play: Play) -> None:
    async def test(site: Site, _stack: AsyncExitStack) -> None:
        await site.apply(workload(site.namespace, "Deployment", 2), *scaling(site.namespace))
        idle = scaled(site.namespace, "Deployment", site.port, inAfter="0s", inAboveSteps=1_100)
        dying: Any = lambda api: Dying(api, writes)  # noqa: E731
        first = controller(site.operator, site.identity, clock=clock, through=dying)
        async with first:
            await site.apply(idle)
            await asyncio.sleep(6)
        (end,) = await site.items("deployments")
        assert end["spec"]["replicas"] in (1, 2)
        async with controller(site.operator, site.identity, clock=clock):
            await site.settled(1)

    play(test)
