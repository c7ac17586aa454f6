"""The serving controller on a real API server, with the operator's rights and no more.

Covers statuses and drains of a pool that has no gateway. Not covered here: gateways and requests.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from e2e.crds import install_crds
from e2e.rights import bind
from e2e.serving.scene import controller, drain, engine, kubectl, pool
from e2e.watching import eventually
from fairstow.kube.permissions import OPERATOR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from e2e.controlplane.client import Cluster

pytestmark = pytest.mark.e2e


@pytest.fixture
def operator(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Cluster]:
    """The cluster as the operator of an installation in the test's namespace sees it."""
    install_crds(cluster)
    with bind(cluster, OPERATOR, namespace):
        yield cluster.as_service_account(namespace, "fairstow-operator", tmp_path / "operator")


def said(obj: dict[str, Any], kind: str) -> str:
    conditions = obj.get("status", {}).get("conditions", ())
    return next((f"{c['status']} {c['reason']}" for c in conditions if c["type"] == kind), "")


def test_pools_and_drains_are_reported_on_and_cordons_drain(
    cluster: Cluster, operator: Cluster, namespace: str, gpu_nodes: Callable[..., list[str]]
) -> None:
    one, two = gpu_nodes(2, gpus=0)

    async def found(what: str) -> Any:
        return await asyncio.to_thread(cluster.get, "-n", namespace, what)

    async def eventually_said(what: str, kind: str, words: str) -> Any:
        async def look() -> Any:
            obj = await found(what)
            return obj if said(obj, kind) == words else None

        return await eventually(look, f"{what}: {kind} {words}")

    async def drains() -> list[Any]:
        items: list[Any] = (await found("instancedrains"))["items"]
        return items

    async def scenario() -> None:
        identity = f"system:serviceaccount:{namespace}:fairstow-operator"
        async with controller(operator, identity):
            pods = [engine(namespace, "a", node=one), engine(namespace, "b", node=two)]
            await asyncio.to_thread(cluster.apply, [*pods, pool(namespace)])
            await eventually_said("servingpool/llama", "Ready", "False NoGateway")
            a, b = [(await found(f"pod/{name}"))["metadata"]["uid"] for name in "ab"]

            # By hand.
            await asyncio.to_thread(cluster.apply, [drain(namespace, "b", b)])
            done = await eventually_said("instancedrain/b", "Drained", "True NoGateway")
            assert done["status"]["remaining"] == 0
            status = (await found("servingpool/llama"))["status"]
            assert status["instances"] == 2

            # By cordon, until uncordoned.
            await asyncio.to_thread(cluster.kubectl, "cordon", one)
            made = await eventually(
                lambda: _of(drains, lambda each: each["spec"]["podUid"] == a), "a's drain"
            )
            assert made["spec"]["cause"] == "Cordon"
            await asyncio.to_thread(cluster.kubectl, "uncordon", one)

            async def gone() -> bool:
                return [each["metadata"]["name"] for each in await drains()] == ["b"]

            await eventually(gone, "the end of the cordon's drain")

            # A drain goes with its pod.
            await asyncio.to_thread(release, cluster, namespace)
            await kubectl(cluster, namespace, "delete", "pod/b", "--grace-period=0", "--force")
            await eventually(lambda: _none(drains), "the end of b's drain")

    try:
        asyncio.run(scenario())
    finally:
        release(cluster, namespace)


async def _of(look: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
    return next((each for each in await look() if wanted(each)), None)


async def _none(look: Callable[[], Any]) -> bool:
    return not await look()


def release(cluster: Cluster, namespace: str) -> None:
    """Let the engines' pods go."""
    body = json.dumps({"metadata": {"finalizers": None}})
    for each in cluster.items("-n", namespace, "pods"):
        name = each["metadata"]["name"]
        cluster.kubectl("-n", namespace, "patch", f"pod/{name}", "--type=merge", "-p", body)
