"""A pool whose workload is scaled: its servers beside the cluster, a gateway, a client.

Used by the tests of scaling. The servers are cost-model engines: pods of the workload are given
their addresses as they come.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import openai

from e2e.crds import install_crds
from e2e.rights import bind
from e2e.serving.leader_worker_sets import INDEX
from e2e.serving.scene import pool
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
    version = "apps/v1"
    spec: Json = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    if kind == "LeaderWorkerSet":
        version = "leaderworkerset.x-k8s.io/v1"
        spec = {
            "replicas": replicas,
            "leaderWorkerTemplate": {"size": 2, "workerTemplate": template},
        }
    elif kind == "StatefulSet":
        spec |= {"serviceName": "llama", "podManagementPolicy": "Parallel"}
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": "llama", "namespace": namespace},
        "spec": spec,
    }


def scaled(namespace: str, kind: str, port: int, **more: Any) -> Json:
    """A pool that grows below 1,000 steps and shrinks above 2,000."""
    found = pool(namespace, port=port)
    if kind == "LeaderWorkerSet":
        found["spec"]["engines"]["selector"]["matchLabels"][INDEX] = "0"
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
    """Give each pod, of groups the leader, the address of a server while it is there."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    async with Api.connect(kubeconfig) as api:
        while True:
            found, _ = await api.list(path)
            pods = [p for p in found if p["metadata"].get("labels", {}).get(INDEX, "0") == "0"]
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
