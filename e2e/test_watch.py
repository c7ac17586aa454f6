"""Watching a real API server: nothing is missed, whatever breaks on the way.

The oracle is a fresh reading of the whole cluster. Replies that a healthy API server doesn't
give are in tests/kube/test_reflector.py; what an event makes of records in tests/cluster.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from e2e.controlplane.cluster import LocalCluster
from e2e.controlplane.kwok import GPU, gpu_node
from e2e.watching import eventually, running, watching
from fairstow.cluster.kinds import NODE, POD
from fairstow.kube.aio import connection
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.reflector import Reflector

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.controlplane.client import Cluster

pytestmark = pytest.mark.e2e

TOLERATE = [{"key": GPU, "operator": "Exists"}]


def pod(name: str, namespace: str, *, gpus: int = 1, **more: Any) -> dict[str, Any]:
    limits = {"limits": {GPU: str(gpus)}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": "work"}} | more,
        "spec": {
            "containers": [{"name": "main", "image": "example.com/none", "resources": limits}],
            "tolerations": TOLERATE,
        },
    }


def test_events_arrive_and_the_snapshot_is_that_of_a_fresh_reading(
    cluster: Cluster, namespace: str, gpu_nodes: Callable[..., list[str]]
) -> None:
    gpu_nodes(1, gpus=0)

    async def scenario() -> None:
        async with watching(cluster) as watched:
            await watched.agrees()
            (node,) = await asyncio.to_thread(gpu_nodes, 1)
            live = watched.live
            await asyncio.to_thread(
                cluster.apply, [pod(f"fits-{i}", namespace, gpus=2) for i in range(4)]
            )
            await asyncio.to_thread(cluster.apply, [pod("stuck", namespace, gpus=64)])
            await eventually(lambda: len(list(live.pods_on(node))) == 4, "four pods on the node")
            await eventually(
                lambda: any(p.unschedulable for p in live.waiting() if p.namespace == namespace),
                "the scheduler's verdict on the pod that doesn't fit",
            )
            assert (live.free(node) or {})[GPU] == 0
            await watched.agrees()
            await asyncio.to_thread(
                cluster.kubectl, "-n", namespace, "delete", "pod", "fits-0", "--grace-period=0"
            )
            await eventually(
                lambda: (live.free(node) or {})[GPU] == 2, "the room of the pod that went"
            )
            await watched.agrees()
            assert not live.problems
            assert all(r.lists == 1 or r.kind.extension for r in watched.reflectors.values())

    asyncio.run(scenario())


@pytest.fixture(scope="module")
def own(own_cluster: tuple[LocalCluster, Cluster]) -> tuple[LocalCluster, Cluster]:
    """A control plane of the tests' own with one node, that may be broken."""
    local, cluster = own_cluster
    cluster.apply([gpu_node("node-0")])
    cluster.kubectl("wait", "--for=condition=Ready", "node/node-0")
    return local, cluster


def restart(local: LocalCluster, cluster: Cluster) -> None:
    """Kill the API server and start it again."""
    os.kill(local.processes.pid("kube-apiserver"), signal.SIGKILL)
    local.processes.restart("kube-apiserver")
    cluster.wait(lambda: cluster.get("node", "node-0"), "the API server")


def test_a_version_the_server_has_forgotten_leads_to_a_new_list(
    own: tuple[LocalCluster, Cluster],
) -> None:
    local, cluster = own
    cluster.apply([pod("stays", "default"), pod("goes", "default")])

    async def scenario() -> None:
        async with watching(cluster, [NODE, POD]) as watched:
            live, before = watched.live, watched.reflectors[POD]
            await eventually(lambda: live.pod_named("default/goes"), "the pod that goes")
        # Nobody watches while pods come and go and the server forgets what it knew.
        gone = ("delete", "pod", "goes", "--grace-period=0", "--force")
        await asyncio.to_thread(cluster.kubectl, *gone)
        await asyncio.to_thread(restart, local, cluster)
        await asyncio.to_thread(cluster.apply, [pod("comes", "default")])
        async with Api.connect(str(cluster.kubeconfig)) as api:
            after = Reflector(api, POD, live)
            after._version = before._version
            async with running(after.run):
                await eventually(lambda: after.lists == 1, "a list, since the watch is too old")
                assert live.pod_named("default/goes") is None
                assert live.pod_named("default/comes") is not None
                assert live.pod_named("default/stays") is not None

    asyncio.run(scenario())


# asyncio leaves the connection of a TLS handshake that timed out to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*<socket.socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:.*_SelectorTransport:pytest.PytestUnraisableExceptionWarning")
def test_after_a_restart_of_the_api_server_nothing_is_missed(
    own: tuple[LocalCluster, Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    local, cluster = own
    monkeypatch.setattr(connection, "SILENCE_SECONDS", 3.0)
    cluster.apply([pod(f"pod-{i}", "default") for i in range(6)])

    async def scenario() -> None:
        async with watching(cluster) as watched:
            await watched.agrees()
            await asyncio.to_thread(restart, local, cluster)
            gone = ("pod-0", "pod-1", "--grace-period=0", "--force")
            await asyncio.to_thread(cluster.kubectl, "delete", "pod", *gone)
            await asyncio.to_thread(cluster.apply, [pod("late", "default")])
            await watched.agrees()
            names = {p.name for p in watched.live.snapshot().pods}
            assert {"pod-2", "late"} <= names
            assert not {"pod-0", "pod-1"} & names
            # A server that is there but silent: its connections are given up and made anew.
            os.kill(local.processes.pid("kube-apiserver"), signal.SIGSTOP)
            try:
                await eventually(
                    lambda: "no answer in time" in watched.reflectors[POD].problem,
                    "the silence to be noticed",
                )
                assert watched.reflectors[POD].age() > 3
            finally:
                os.kill(local.processes.pid("kube-apiserver"), signal.SIGCONT)
            await asyncio.to_thread(cluster.apply, [pod("later", "default")])
            await watched.agrees()
            assert "later" in {p.name for p in watched.live.snapshot().pods}

    asyncio.run(scenario())
    gc.collect()  # while the warnings above are ignored


def test_credentials_that_are_replaced_are_taken_up(
    cluster: Cluster, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "RELOAD_SECONDS", 0.0)
    good = json.loads(cluster.kubectl("config", "view", "--raw", "--flatten", "-o", "json"))
    bad = good | {"users": [{"name": u["name"], "user": {"token": "x"}} for u in good["users"]]}
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(bad))

    async def scenario() -> None:
        async with Api.connect(str(path)) as api:
            with pytest.raises(ValueError, match="401 Unauthorized"):
                await api.get("/api/v1/namespaces/default")
            path.write_text(json.dumps(good))
            assert (await api.get("/api/v1/namespaces/default"))["kind"] == "Namespace"

    asyncio.run(scenario())
