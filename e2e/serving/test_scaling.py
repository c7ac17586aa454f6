"""Pools whose workload is scaled, on a real API server with its own controllers.

Covered: bounds of a Deployment; a missing right, an autoscaler and a missing workload are said.
Marked `full`, since they take long: a Deployment loses the drained pod and not the one it would
choose itself; it grows with the load, from nothing too; a StatefulSet loses its last pod, whose
streams go on elsewhere token by token; a controller that dies after any of its writes. The engines
are cost-model servers beside the cluster, whose pods are given their addresses. Not covered:
LeaderWorkerSet (its CRD isn't here), KEDA, and the decisions one by one
(tests/serving/test_scaling.py).
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import openai
import pytest

from e2e.crds import install_crds
from e2e.rights import bind, scaling
from e2e.serving.scene import controller, drain, pool
from e2e.serving.test_gateway import KEY, endpoint, gateway, own_address, secrets, status
from e2e.watching import eventually
from fairstow.kube.aio.api import Api
from fairstow.kube.permissions import GATEWAY, OPERATOR
from fairstow.serving.workloads import DELETION_COST, MARK
from tests.gateway.gateways import expected, free_ports, process, streamed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from e2e.controlplane.client import Cluster

pytestmark = pytest.mark.e2e

Json = dict[str, Any]
HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
FASTER = 10
"""The controller's clock, so that nobody waits for what has to last."""
BEGAN = time.time()


def clock() -> float:
    return BEGAN + (time.time() - BEGAN) * FASTER


def workload(namespace: str, kind: str, replicas: int) -> Json:
    labels = {"app": "llama"}
    template = {
        "metadata": {"labels": labels},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "engine", "image": "registry.example/none"}],
        },
    }
    spec: Json = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    if kind == "StatefulSet":
        spec |= {"serviceName": "llama", "podManagementPolicy": "Parallel"}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": "llama", "namespace": namespace},
        "spec": spec,
    }


def scaled(namespace: str, kind: str, port: int, **more: Any) -> Json:
    """A pool that grows below 1,000 steps and shrinks above 2,000."""
    found = pool(namespace, port=port)
    bounds = {"minReplicas": 1, "maxReplicas": 3, "inAfter": "10s"}
    steps = {"outBelowSteps": 1_000, "inAboveSteps": 2_000}
    found["spec"] |= {
        "tenants": {"name": "tenants", "key": "tenants.yaml"},
        "scaling": {"targetRef": {"kind": kind, "name": "llama"}} | bounds | steps | more,
    }
    return found


@dataclass
class Site:
    """A pool that is served. Attributes: operator: the cluster as the operator sees it."""

    cluster: Cluster
    operator: Cluster
    namespace: str
    port: int
    client: openai.AsyncOpenAI

    @property
    def identity(self) -> str:
        return f"system:serviceaccount:{self.namespace}:fairstow-operator"

    async def apply(self, *objects: Json) -> None:
        await asyncio.to_thread(self.cluster.apply, objects)

    async def kubectl(self, *args: str) -> str:
        return await asyncio.to_thread(self.cluster.kubectl, "-n", self.namespace, *args)

    async def get(self, what: str) -> Json:
        return await asyncio.to_thread(self.cluster.get, "-n", self.namespace, what)

    async def items(self, what: str) -> list[Json]:
        return await asyncio.to_thread(self.cluster.items, "-n", self.namespace, what)

    async def pods(self) -> list[str]:
        """The names of those that aren't going, the oldest first."""
        found = await self.items("pods")
        there = [each["metadata"] for each in found if "deletionTimestamp" not in each["metadata"]]
        there.sort(key=lambda meta: (meta["creationTimestamp"], meta["name"]))
        return [meta["name"] for meta in there]

    async def status(self) -> Json:
        return await asyncio.to_thread(status, self.cluster, self.namespace)

    async def until(self, holds: Callable[[], Any], what: str) -> Any:
        return await eventually(holds, what, timeout=60)

    async def serving(self, count: int) -> None:
        async def serve() -> bool:
            return (await self.status()).get("ready") == count

        await self.until(serve, f"{count} engines that serve")

    async def running(self, count: int) -> None:
        async def run() -> bool:
            return (await self.status()).get("running") == count

        await self.until(run, f"{count} requests that run")

    async def said(self, reason: str) -> None:
        async def say() -> bool:
            conditions = (await self.status()).get("conditions", ())
            return reason in {c["reason"] for c in conditions if c["type"] == "Scaling"}

        await self.until(say, f"Scaling: {reason}")

    async def settled(self, count: int) -> None:
        """Wait for so many pods, and that nothing is left of how it came to that."""

        async def done() -> bool:
            pods = [p for p in await self.items("pods") if "deletionTimestamp" not in p["metadata"]]
            notes = [note for p in pods for note in p["metadata"].get("annotations", {})]
            left = await self.items("instancedrains")
            return len(pods) == count and not left and not {MARK, DELETION_COST} & set(notes)

        await self.until(done, f"{count} pods and no trace")

    def streams(self, count: int, tokens: int, *, long: int = 0) -> list[asyncio.Task[str]]:
        """Begin to stream; `heard` waits for their ends."""
        return [
            asyncio.create_task(streamed(self.client, f"{'x' * long} prompt {number}", tokens))
            for number in range(count)
        ]

    @staticmethod
    async def heard(streams: list[asyncio.Task[str]], tokens: int, *, long: int = 0) -> None:
        asked = [f"{'x' * long} prompt {number}" for number in range(len(streams))]
        assert await asyncio.gather(*streams) == [expected(each, tokens) for each in asked]


async def hosted(kubeconfig: str, namespace: str) -> None:
    """Give each pod the address of a server of its own, as long as it is there."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    async with Api.connect(kubeconfig) as api:
        while True:
            pods, _ = await api.list(path)
            taken = {each.get("status", {}).get("podIP") for each in pods}
            free = [host for host in HOSTS if host not in taken]
            for each in pods:
                said = each.get("status") or {}
                ready = any(
                    c["type"] == "Ready" and c["status"] == "True"
                    for c in said.get("conditions", ())
                )
                if ready and said.get("podIP") not in HOSTS and free:
                    host = free.pop()
                    where = {"podIP": host, "podIPs": [{"ip": host}]}
                    name = each["metadata"]["name"]
                    await api.patch(f"{path}/{name}/status", {"status": where})
            await asyncio.sleep(0.3)


@contextmanager
def rights(cluster: Cluster, namespace: str) -> Iterator[None]:
    install_crds(cluster)
    with bind(cluster, OPERATOR, namespace), bind(cluster, GATEWAY, namespace):
        yield


@asynccontextmanager
async def served(cluster: Cluster, namespace: str, folder: Path) -> AsyncIterator[Site]:
    """Servers, a gateway and a client of a pool that isn't there yet."""
    address, (port,) = own_address(), free_ports(1)
    operator, account = [
        await asyncio.to_thread(
            cluster.as_service_account, namespace, f"fairstow-{each}", folder / each
        )
        for each in ("operator", "gateway")
    ]
    async with AsyncExitStack() as stack:
        for host in HOSTS:
            await stack.enter_async_context(process(port, "--host", host, "--speed", "2"))
        clients, admin = await stack.enter_async_context(
            gateway(account, f"{namespace}/llama", address)
        )
        slices = endpoint(namespace, address, admin)
        await asyncio.to_thread(cluster.apply, [*secrets(namespace), slices])
        hosting = asyncio.create_task(hosted(str(cluster.kubeconfig), namespace))
        stack.callback(hosting.cancel)
        client = openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{clients}/v1", api_key=KEY, max_retries=0
        )
        stack.push_async_callback(client.close)
        yield Site(cluster, operator, namespace, port, client)


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
    cluster: Cluster, namespace: str, gpu_nodes: Callable[..., list[str]], tmp_path: Path
) -> None:
    gpu_nodes(1, gpus=0)

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            site = await stack.enter_async_context(served(cluster, namespace, tmp_path))
            unscaled = scaled(namespace, "Deployment", site.port)
            del unscaled["spec"]["scaling"]
            await site.apply(workload(namespace, "Deployment", 1), unscaled, *scaling(namespace))
            (old,) = await site.until(site.pods, "the first pod")
            await site.kubectl("wait", "--for=condition=Ready", f"pod/{old}")
            await site.kubectl("scale", "deployment/llama", "--replicas=2")
            await stack.enter_async_context(controller(site.operator, site.identity, clock=clock))
            await site.serving(2)
            (new,) = set(await site.pods()) - {old}

            # All streams are on the newer pod, which a Deployment would remove first.
            uid = (await site.get(f"pod/{old}"))["metadata"]["uid"]
            await site.apply(drain(namespace, old, uid))
            await site.serving(1)
            streams = site.streams(3, 400)
            await site.running(3)
            await site.kubectl("delete", f"instancedrain/{old}")
            await site.apply(scaled(namespace, "Deployment", site.port))
            await site.settled(1)
            assert await site.pods() == [new]
            await site.heard(streams, 400)

    with rights(cluster, namespace):
        asyncio.run(scenario())


@pytest.mark.full
def test_a_deployment_grows_with_the_load(
    cluster: Cluster, namespace: str, gpu_nodes: Callable[..., list[str]], tmp_path: Path
) -> None:
    gpu_nodes(1, gpus=0)

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            site = await stack.enter_async_context(served(cluster, namespace, tmp_path))
            pool = scaled(namespace, "Deployment", site.port)
            await site.apply(workload(namespace, "Deployment", 1), pool, *scaling(namespace))
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

    with rights(cluster, namespace):
        asyncio.run(scenario())


@pytest.mark.full
def test_a_pool_that_nobody_asks_is_empty_until_somebody_does(
    cluster: Cluster, namespace: str, gpu_nodes: Callable[..., list[str]], tmp_path: Path
) -> None:
    gpu_nodes(1, gpus=0)

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            site = await stack.enter_async_context(served(cluster, namespace, tmp_path))
            pool = scaled(namespace, "Deployment", site.port, minReplicas=0)
            await site.apply(workload(namespace, "Deployment", 1), pool, *scaling(namespace))
            await stack.enter_async_context(controller(site.operator, site.identity, clock=clock))
            await site.settled(0)
            streams = site.streams(2, 50)
            await site.heard(streams, 50)

    with rights(cluster, namespace):
        asyncio.run(scenario())


@pytest.mark.full
def test_a_stateful_set_loses_its_last_pod_and_no_stream(
    cluster: Cluster, namespace: str, gpu_nodes: Callable[..., list[str]], tmp_path: Path
) -> None:
    gpu_nodes(1, gpus=0)

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            site = await stack.enter_async_context(served(cluster, namespace, tmp_path))
            idle = scaled(namespace, "StatefulSet", site.port, minReplicas=2)
            await site.apply(workload(namespace, "StatefulSet", 2), idle, *scaling(namespace))
            await stack.enter_async_context(controller(site.operator, site.identity, clock=clock))
            await site.serving(2)
            streams = site.streams(6, 600)
            await site.running(6)
            await site.apply(scaled(namespace, "StatefulSet", site.port, inAboveSteps=1_100))
            await site.settled(1)
            assert await site.pods() == ["llama-0"]
            await site.heard(streams, 600)

    with rights(cluster, namespace):
        asyncio.run(scenario())


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
def test_a_controller_that_dies_between_two_writes_is_taken_over(
    writes: int,
    cluster: Cluster,
    namespace: str,
    gpu_nodes: Callable[..., list[str]],
    tmp_path: Path,
) -> None:
    gpu_nodes(1, gpus=0)

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            site = await stack.enter_async_context(served(cluster, namespace, tmp_path))
            await site.apply(workload(namespace, "Deployment", 2), *scaling(namespace))
            idle = scaled(namespace, "Deployment", site.port, inAfter="0s", inAboveSteps=1_100)
            dying: Any = lambda api: Dying(api, writes)  # noqa: E731
            first = controller(site.operator, site.identity, clock=clock, through=dying)
            async with first:
                await site.apply(idle)
                await asyncio.sleep(6)
            (end,) = await site.items("deployments")
            assert end["spec"]["replicas"] in (1, 2)
            async with controller(site.operator, site.identity, clock=clock):
                await site.settled(1)

    with rights(cluster, namespace):
        asyncio.run(scenario())
