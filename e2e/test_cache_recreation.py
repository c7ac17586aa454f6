"""Pods that were created without the cache's sidecar are made anew, where their owner wants it.

The webhook with the chart's settings and the cache controller with the operator's rights on a real
API server, whose pods run on a fake node. Covered: a budget holds, one after the other, a pod that
nobody makes anew stays, a controller that dies between two writes. Not covered: the decision case
by case (tests/semantic_cache/test_cache_status.py), real sidecars (e2e/test_chart.py).
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from controllers.health import Turns
from controllers.semantic_cache.caches import CacheLoop
from controllers.semantic_cache.cluster import Access
from controllers.semantic_cache.sidecars import Sidecars
from e2e.own_webhook import Webhook, beside
from e2e.rights import bind, caching
from e2e.watching import eventually, running
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.recorder import Recorder
from fairstow.kube.permissions import OPERATOR
from fairstow.semantic_cache.injection import SIDECAR

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from e2e.controlplane.client import Cluster
    from fairstow.kube.aio.connection import Json
    from fairstow.semantic_cache.sidecar_stats import Stats

pytestmark = pytest.mark.e2e

FASTER = 10
"""The controller's clock, so that nobody waits for its pauses."""
BEGAN = time.time()
WRITES = ("create", "apply", "evict")


@pytest.fixture(scope="module")
def webhook(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webhook]:
    folder = tmp_path_factory.mktemp("webhook")
    with beside(cluster, folder, image="registry.example/fairstow") as running:
        yield running


class Unasked(Sidecars):
    """Fake pods have nobody to ask."""

    async def stats(self, pods: Iterable[Json], access: Access) -> dict[str, Stats | None]:
        del access
        return {str(each["metadata"]["name"]): None for each in pods}


class Dying:
    """A connection whose user dies after so many writes."""

    def __init__(self, api: Api, writes: int) -> None:
        self._api, self._left = api, writes

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._api, name)
        if name not in WRITES:
            return method

        async def write(*args: Any, **more: Any) -> Any:
            if self._left == 0:
                await asyncio.sleep(3600)
            self._left -= 1
            return await method(*args, **more)

        return write


@asynccontextmanager
async def controller(operator: Cluster, writes: int = -1) -> AsyncIterator[None]:
    """Run the cache controller. Args: writes: after which it dies; none by default."""
    async with Api.connect(str(operator.kubeconfig)) as api:
        recorder = Recorder(api, "fairstow.dev/operator", "e2e")
        mortal: Any = Dying(api, writes)
        loop = CacheLoop(
            mortal,
            recorder=recorder,
            clock=lambda: BEGAN + (time.time() - BEGAN) * FASTER,
            turns=Turns(),
            sidecars=Unasked(),
        )
        async with running(loop.watch().run, recorder.run, loop.run):
            yield


class Site:
    """A namespace with missed pods. Attributes: operator: the cluster as the operator sees it."""

    def __init__(self, cluster: Cluster, operator: Cluster, namespace: str) -> None:
        self.cluster, self.operator, self.namespace = cluster, operator, namespace

    async def kubectl(self, *args: str) -> str:
        return await asyncio.to_thread(self.cluster.kubectl, "-n", self.namespace, *args)

    async def pods(self) -> dict[str, bool]:
        """By the names of those that stay: whether they have a sidecar."""
        found = await asyncio.to_thread(self.cluster.items, "-n", self.namespace, "pods")
        return {
            pod["metadata"]["name"]: SIDECAR
            in {each["name"] for each in pod["spec"].get("initContainers", ())}
            for pod in found
            if "deletionTimestamp" not in pod["metadata"]
        }

    async def status(self) -> Mapping[str, Any]:
        found = await asyncio.to_thread(self.cluster.get, "-n", self.namespace, "scache/answers")
        return dict(found.get("status", {}))

    async def told(self, reason: str) -> bool:
        events = await asyncio.to_thread(self.cluster.items, "-n", self.namespace, "events")
        return any(each["reason"] == reason for each in events)

    async def until(self, holds: Callable[[], Any], what: str) -> None:
        try:
            await eventually(holds, what)
        except TimeoutError as error:
            seen = [await self.kubectl("get", "pods,pdb,events,scache", "-o", "wide")]
            raise AssertionError("\n".join([*seen, str(await self.status())])) from error

    async def recreated(self, count: int) -> None:
        async def all_of_them() -> bool:
            return sum((await self.pods()).values()) == count

        await self.until(all_of_them, f"{count} pods with a sidecar")


@pytest.fixture
def site(
    webhook: Webhook, namespace: str, gpu_nodes: Callable[..., list[str]], tmp_path: Path
) -> Iterator[Site]:
    """Three pods of a Deployment, of which one may be missing, that came before their cache."""
    cluster = webhook.cluster
    gpu_nodes(1, gpus=0)
    with bind(cluster, OPERATOR, namespace):
        cluster.apply(caching(namespace, namespace, "answers"))
        operator = cluster.as_service_account(namespace, "fairstow-operator", tmp_path / "sa")
        cluster.apply([workload(namespace), budget(namespace, 2)])
        wait = ("rollout", "status", "deployment/web", "--timeout=60s")
        cluster.kubectl("-n", namespace, *wait, timeout=70)
        cluster.kubectl("label", "namespace", namespace, "fairstow.dev/cache=enabled")
        yield Site(cluster, operator, namespace)
        with suppress(Exception):
            cluster.kubectl("-n", namespace, "delete", "scache", "answers")


def own(namespace: str, version: str, kind: str, name: str, spec: Json) -> Json:
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": version, "kind": kind, "metadata": meta, "spec": spec}


def pod_spec() -> Json:
    main = {"name": "main", "image": "registry.example/none"}
    return {"terminationGracePeriodSeconds": 1, "containers": [main]}


def workload(namespace: str) -> Json:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": pod_spec()}
    spec = {"replicas": 3, "selector": {"matchLabels": labels}, "template": template}
    return own(namespace, "apps/v1", "Deployment", "web", spec)


def budget(namespace: str, available: int) -> Json:
    spec = {"minAvailable": available, "selector": {"matchLabels": {"app": "web"}}}
    return own(namespace, "policy/v1", "PodDisruptionBudget", "web", spec)


def cache(namespace: str) -> Json:
    spec: Json = {
        "selector": {"matchLabels": {"app": "web"}},
        "upstream": "http://llama.chat.svc/v1",
        "recreateMissed": True,
    }
    return own(namespace, "fairstow.dev/v1alpha1", "SemanticCache", "answers", spec)


def test_missed_pods_are_made_anew_within_their_budget(site: Site) -> None:
    alone = own(site.namespace, "v1", "Pod", "alone", pod_spec())
    alone["metadata"]["labels"] = {"app": "web"}

    async def test() -> None:
        first = await site.pods()
        assert len(first) == 3
        await asyncio.to_thread(site.cluster.apply, [budget(site.namespace, 4)])
        await asyncio.to_thread(site.cluster.apply, [alone, cache(site.namespace)])
        async with controller(site.operator):
            await site.until(lambda: site.told("PodStays"), "a budget to keep a pod")
            assert first.keys() < (await site.pods()).keys()
            await asyncio.to_thread(site.cluster.apply, [budget(site.namespace, 3)])
            await site.recreated(3)
            assert await site.told("PodRecreated")

            async def rest() -> bool:
                missed = (await site.status()).get("missedPods", ())
                return [each["name"] for each in missed] == ["alone"]

            await site.until(rest, "the pod that nobody makes anew to be named")
        assert not first.keys() & (await site.pods()).keys()

    asyncio.run(test())


@pytest.mark.full
@pytest.mark.parametrize("writes", range(8))
def test_a_controller_that_dies_between_two_writes_is_taken_over(writes: int, site: Site) -> None:
    async def test() -> None:
        await asyncio.to_thread(site.cluster.apply, [cache(site.namespace)])
        async with controller(site.operator, writes):
            await asyncio.sleep(4)
        assert len(await site.pods()) >= 2
        async with controller(site.operator):
            await site.recreated(3)

    asyncio.run(test())
