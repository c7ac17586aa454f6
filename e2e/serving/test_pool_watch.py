"""What a gateway knows of its pool follows the real API server.

Covers pods by the pool's selector, drains, terminating pods, Secrets and a pool that comes late,
changes and goes. Not covered: what the gateway does with it (tests/gateway).
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from e2e.crds import install_crds
from e2e.serving.scene import drain, engine, kubectl, pool
from e2e.watching import eventually
from fairstow.gateway.cluster import Known, PoolWatch
from fairstow.kube.aio.api import Api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from e2e.controlplane.client import Cluster

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Cluster:
    """The cluster with the CRDs installed."""
    install_crds(cluster)
    return cluster


@asynccontextmanager
async def watching(
    cluster: Cluster, namespace: str
) -> AsyncIterator[tuple[PoolWatch, list[Known]]]:
    told: list[Known] = []

    async def changed(known: Known) -> None:
        told.append(known)

    async with Api.connect(str(cluster.kubeconfig)) as api:
        watch = PoolWatch(api, namespace, "llama", changed)
        task = asyncio.create_task(watch.run())
        try:
            yield watch, told
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def test_pods_drains_and_secrets_are_told_as_they_change(
    api: Cluster, namespace: str, gpu_nodes: Callable[..., list[str]]
) -> None:
    gpu_nodes(1, gpus=0)

    async def scenario() -> None:
        async with watching(api, namespace) as (watch, told):
            await eventually(lambda: "there is no ServingPool" in watch.problem, "no pool yet")
            key: dict[str, Any] = {"apiKey": {"name": "engines", "key": "key"}}
            await asyncio.to_thread(api.apply, [pool(namespace, **key)])
            await eventually(lambda: "Secret" in watch.problem, "the Secret is missed")
            assert told == []
            await kubectl(
                api, namespace, "create", "secret", "generic", "engines", "--from-literal=key=k1"
            )
            # Something else changes: a Secret alone is read again only now and then.
            pods = [engine(namespace, "a"), engine(namespace, "b"), engine(namespace, "c", "other")]
            await asyncio.to_thread(api.apply, pods)
            await eventually(
                lambda: told and [i.pod for i in told[-1].instances if i.ready] == ["a", "b"],
                "two engines",
            )
            assert told[-1].api_key == "k1"
            assert told[-1].tenants is None
            first, second = told[-1].instances
            assert first.url(8000) == f"http://{first.address}:8000"
            assert [i.draining for i in (first, second)] == [False, False]

            await asyncio.to_thread(api.apply, [drain(namespace, "a", first.name)])
            await eventually(
                lambda: [i.draining for i in told[-1].instances] == [True, False], "a drains"
            )
            await kubectl(api, namespace, "delete", "instancedrain/a")
            await eventually(lambda: not told[-1].instances[0].draining, "a serves again")
            await kubectl(api, namespace, "delete", "pod/b", "--wait=false")
            await eventually(
                lambda: [i.terminating and i.draining for i in told[-1].instances] == [False, True],
                "b ends",
            )

            await asyncio.to_thread(api.apply, [pool(namespace, app="other", **key)])
            await eventually(lambda: [i.pod for i in told[-1].instances] == ["c"], "another app")
            status = json.dumps({"status": {"instances": 3}})
            patch = ("patch", "servingpool/llama", "--subresource=status", "--type=merge")
            await kubectl(api, namespace, *patch, "-p", status)
            await kubectl(api, namespace, "delete", "servingpool/llama")
            await eventually(lambda: "there is no ServingPool" in watch.problem, "the pool's end")
            assert all(a != b for a, b in pairwise(told))

    try:
        asyncio.run(scenario())
    finally:
        for name in "abc":
            body = json.dumps({"metadata": {"finalizers": None}})
            api.kubectl("-n", namespace, "patch", f"pod/{name}", "--type=merge", "-p", body)
