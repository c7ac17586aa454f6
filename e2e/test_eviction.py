"""What the Eviction API answers, and the outcomes that are made of it, on real budgets.

Also the other writes: preconditions on a UID, server-side apply, Events as kubectl shows them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from e2e.controlplane.kwok import GPU
from e2e.watching import running
from fairstow.kube.aio.api import Api, Outcome
from fairstow.kube.aio.recorder import About, Recorder
from fairstow.kube.problems import ApiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from e2e.controlplane.client import Cluster

pytestmark = pytest.mark.e2e


def pod(name: str, namespace: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "containers": [{"name": "main", "image": "example.com/none"}],
            "tolerations": [{"key": GPU, "operator": "Exists"}],
        },
    }


def budget(name: str, namespace: str, least: int, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"minAvailable": least, "selector": {"matchLabels": labels}},
    }


def run(cluster: Cluster, scenario: Callable[[Api], Awaitable[None]]) -> None:
    async def main() -> None:
        async with Api.connect(str(cluster.kubeconfig)) as api:
            await scenario(api)

    asyncio.run(main())


def test_outcomes(cluster: Cluster, namespace: str, gpu_nodes: Callable[..., list[str]]) -> None:
    gpu_nodes(1)
    names = ("web-0", "web-1", "lone", "twice")
    labels: list[dict[str, str]] = [{"app": "web"}, {"app": "web"}, {}, {"app": "twice"}]
    pods = [pod(name, namespace, **own) for name, own in zip(names, labels, strict=True)]
    budgets = [budget("web", namespace, 1, app="web")]
    budgets += [budget(f"twice-{i}", namespace, 0, app="twice") for i in range(2)]
    cluster.apply([*budgets, *pods])
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", *(f"pod/{n}" for n in names))
    cluster.wait(
        lambda: cluster.get("-n", namespace, "pdb", "web")["status"]["disruptionsAllowed"] == 1,
        "the budget to count its pods",
    )
    uids = {n: cluster.get("-n", namespace, "pod", n)["metadata"]["uid"] for n in names}

    async def scenario(api: Api) -> None:
        async def evict(name: str, uid: str = "") -> Outcome:
            reply = await api.evict(namespace, name, uid or uids.get(name, "none"), grace=0)
            assert (reply.said == "") == (reply.outcome is Outcome.EVICTED), reply
            return reply.outcome

        assert await evict("lone", "not-its-uid") is Outcome.GONE
        assert await evict("missing") is Outcome.GONE
        assert await evict("web-0") is Outcome.EVICTED
        refused = await api.evict(namespace, "web-1", uids["web-1"])
        assert refused.outcome is Outcome.REFUSED
        assert "disruption budget" in refused.said
        assert await evict("twice") is Outcome.FAILED
        assert await evict("lone") is Outcome.EVICTED

    run(cluster, scenario)


def test_evicting_without_the_right_fails_and_says_so(
    cluster: Cluster, namespace: str, tmp_path: Any
) -> None:
    cluster.kubectl("-n", namespace, "create", "serviceaccount", "nobody")
    nobody = cluster.as_service_account(namespace, "nobody", tmp_path / "nobody.kubeconfig")

    async def scenario(api: Api) -> None:
        reply = await api.evict(namespace, "any", "uid")
        assert reply.outcome is Outcome.FAILED
        assert "403" in reply.said
        assert "forbidden" in reply.said

    run(nobody, scenario)


def test_writes_mind_uids_and_versions(cluster: Cluster, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}}

    async def scenario(api: Api) -> None:
        first = await api.create(path, made)
        with pytest.raises(ApiError) as refused:
            await api.create(path, made)
        assert (refused.value.status, refused.value.reason) == (409, "AlreadyExists")
        mine = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "c", "namespace": namespace},
            "data": {"b": "2"},
        }
        applied = await api.apply(mine, "fairstow-test")
        assert applied["data"] == {"a": "1", "b": "2"}
        with pytest.raises(ApiError) as refused:
            await api.replace(f"{path}/c", first)
        assert (refused.value.status, refused.value.reason) == (409, "Conflict")
        patched = await api.patch(f"{path}/c", {"data": {"a": None}})
        assert patched["data"] == {"b": "2"}
        items, version = await api.list(path, {"fieldSelector": "metadata.name=c"})
        assert [i["metadata"]["name"] for i in items] == ["c"]
        assert version
        assert not await api.delete(f"{path}/c", uid="another")
        assert await api.delete(f"{path}/c", uid=first["metadata"]["uid"])
        assert not await api.delete(f"{path}/c")

    run(cluster, scenario)


def test_events_are_counted_and_shown_by_kubectl(cluster: Cluster, namespace: str) -> None:
    cluster.apply([pod("talked-about", namespace)])
    found = cluster.get("-n", namespace, "pod", "talked-about")
    about = About.of(found)

    async def scenario(api: Api) -> None:
        for _ in range(2):  # a second process of the same program counts on
            recorder = Recorder(api, "fairstow.dev/operator", "operator-0")
            async with running(recorder.run):
                for _ in range(3):
                    recorder.record(about, "WouldRun", "Would run after moving 2 pods")
                recorder.record(about, "Executing", "Room is being made", warning=True)
                await recorder.flushed()
            assert (recorder.sent, recorder.dropped) == (2, 0)

    run(cluster, scenario)
    shown = cluster.kubectl("-n", namespace, "describe", "pod", "talked-about")
    lines = [line for line in shown.splitlines() if "fairstow.dev/operator" in line]
    assert len(lines) == 2
    assert any("Normal" in e and "WouldRun" in e and "(x2 over" in e for e in lines)
    assert any("Warning" in e and "Room is being made" in e for e in lines)


def test_events_on_objects_without_a_namespace_are_shown(cluster: Cluster) -> None:
    cluster.kubectl("create", "priorityclass", "talked-about", "--value=1")
    found = cluster.get("priorityclass", "talked-about")

    async def scenario(api: Api) -> None:
        recorder = Recorder(api, "fairstow.dev/operator", "operator-0")
        async with running(recorder.run):
            recorder.record(About.of(found), "PoolReady", "The pool is ready")
            await recorder.flushed()
        assert (recorder.sent, recorder.dropped) == (1, 0)

    try:
        run(cluster, scenario)
        assert "The pool is ready" in cluster.kubectl("describe", "priorityclass", "talked-about")
    finally:
        cluster.kubectl("delete", "priorityclass", "talked-about")
