"""Reading a cluster page by page, over a real socket, and what happens when it goes wrong.

What a healthy API server answers, RBAC and certificates included, is in e2e/test_snapshot.py.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fairstow.cluster import dump, project
from fairstow.cluster.errors import InputError
from fairstow.cluster.kinds import READ
from fairstow.kube.client import Connection, connect
from fairstow.kube.live import PAGE, read_snapshot, write_dump
from tests.kube.server import SILENCE, Reply, kubeconfig, serving


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def node(name: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "managedFields": [{"manager": "kubelet"}]},
        "status": {
            "allocatable": {"cpu": "4", "pods": "10"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def pod(name: str, on: str = "") -> dict[str, Any]:
    container = {"name": "main", "env": [{"name": "TOKEN", "value": "hunter2"}]}
    return {
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": f"uid-{name}",
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "hunter2"},
        },
        "spec": {"containers": [container]} | ({"nodeName": on} if on else {}),
    }


class Cluster:
    """Answers like an API server; `faults` replace the answer to a list, one call after another."""

    def __init__(self, nodes: int = 3, pods: int = 2) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.faults: dict[str, list[Reply]] = {}
        self.always: dict[str, Reply] = {}
        self.lists: dict[str, list[dict[str, Any]]] = {
            "nodes": [node(f"node-{i}") for i in range(nodes)],
            "pods": [pod(f"pod-{i}", "node-0") for i in range(pods)],
        }

    def __call__(self, path: str, query: dict[str, str]) -> Reply:
        resource = path.rpartition("/")[2]
        self.asked.append((resource, query))
        if resource in self.always:
            return self.always[resource]
        if self.faults.get(resource):
            return self.faults[resource].pop(0)
        items = self.lists.get(resource, [])
        start = int(query.get("continue", "0"))
        end = start + int(query["limit"])
        meta = {"continue": str(end)} if end < len(items) else {}
        return 200, {"kind": "XList", "metadata": meta, "items": items[start:end]}, {}

    def counts(self) -> Counter[str]:
        return Counter(resource for resource, _ in self.asked)


def refusal(status: int, message: str, **headers: str) -> Reply:
    body = {"kind": "Status", "status": "Failure", "message": message, "code": status}
    return status, body, headers


@pytest.fixture
def connected(tmp_path: Path) -> Callable[[str], Connection]:
    def to(server: str) -> Connection:
        path = tmp_path / "kubeconfig"
        path.write_text(kubeconfig(server))
        return connect(str(path))

    return to


Connected = Callable[[str], Connection]


def test_long_lists_are_read_page_by_page(connected: Connected) -> None:
    cluster = Cluster(nodes=PAGE + 1, pods=2 * PAGE)
    with serving(cluster) as server:
        snapshot = read_snapshot(connected(server))
    assert (len(snapshot.nodes), len(snapshot.pods)) == (PAGE + 1, 2 * PAGE)
    assert cluster.counts()["nodes"] == 2
    assert cluster.counts()["pods"] == 2
    assert not snapshot.unknowns


def test_only_what_a_plan_needs_is_listed(connected: Connected) -> None:
    cluster = Cluster()
    with serving(cluster) as server:
        read_snapshot(connected(server))
    assert {path for path, _ in cluster.asked} == {
        *("nodes", "pods", "poddisruptionbudgets", "priorityclasses", "jobs", "namespaces"),
        *("persistentvolumeclaims", "persistentvolumes", "storageclasses", "csinodes"),
        *("csidrivers", "volumeattachments", "podgroups"),
        *("servingpools", "instancedrains", "sparkadmissions"),
    }


def test_an_expired_list_is_begun_again(connected: Connected) -> None:
    cluster = Cluster(nodes=PAGE + 1)
    first = cluster("/api/v1/nodes", {"limit": str(PAGE)})
    cluster.faults["nodes"] = [first, refusal(410, "continue token expired")]
    with serving(cluster) as server:
        snapshot = read_snapshot(connected(server))
    assert len(snapshot.nodes) == PAGE + 1


def test_a_list_that_expires_again_and_again_is_given_up(connected: Connected) -> None:
    cluster = Cluster()
    cluster.always["pods"] = refusal(410, "expired")
    with serving(cluster) as server, pytest.raises(InputError, match="410 Gone"):
        read_snapshot(connected(server))


@pytest.mark.parametrize("status", [403, 404])
def test_a_kind_that_cannot_be_listed_is_unknown(connected: Connected, status: int) -> None:
    cluster = Cluster()
    cluster.always["poddisruptionbudgets"] = refusal(status, "no")
    warnings: list[str] = []
    with serving(cluster) as server:
        snapshot = read_snapshot(connected(server), warn=warnings.append)
    assert "PodDisruptionBudget" not in snapshot.known
    assert len(warnings) == 1
    assert "poddisruptionbudgets are unknown" in warnings[0]
    assert ("auth can-i list poddisruptionbudgets.policy -A" in warnings[0]) == (status == 403)


@pytest.mark.parametrize(("status", "known"), [(403, False), (404, True), (200, True)])
def test_a_kind_of_an_extension_that_is_not_there_is_empty(
    connected: Connected, status: int, *, known: bool
) -> None:
    cluster = Cluster()
    if status != 200:
        cluster.always["podgroups"] = refusal(status, "no")
    warnings: list[str] = []
    with serving(cluster) as server:
        snapshot = read_snapshot(connected(server), warn=warnings.append)
    assert ("PodGroup" in snapshot.known) == known
    assert not warnings


@pytest.mark.parametrize("resource", ["nodes", "pods"])
def test_without_nodes_or_pods_there_is_no_snapshot(connected: Connected, resource: str) -> None:
    cluster = Cluster()
    cluster.always[resource] = refusal(403, f"{resource} is forbidden: User u cannot list")
    with serving(cluster) as server, pytest.raises(InputError) as refused:
        read_snapshot(connected(server))
    assert refused.value.hint.endswith(f"kubectl auth can-i list {resource} -A")


def test_a_busy_server_is_asked_again(connected: Connected) -> None:
    cluster = Cluster()
    busy = (429, b"too many requests", {"Retry-After": "0"})
    cluster.faults["pods"] = [busy, busy]
    with serving(cluster) as server:
        assert len(read_snapshot(connected(server)).pods) == 2


def test_a_server_that_stays_busy_is_given_up(connected: Connected) -> None:
    cluster = Cluster()
    cluster.always["pods"] = (429, b"too many requests", {"Retry-After": "0"})
    with serving(cluster) as server, pytest.raises(InputError, match="HTTP 429"):
        read_snapshot(connected(server))


def test_silence_ends_in_an_error(connected: Connected) -> None:
    cluster = Cluster()
    cluster.always["nodes"] = (SILENCE, b"", {})
    with serving(cluster) as server:
        connection = connected(server)
        connection._read_seconds = 0.2
        with pytest.raises(InputError, match="no answer in time"):
            read_snapshot(connection)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((200, b"<html>login</html>", {}), "no Kubernetes list"),
        ((200, b'{"items": 3}', {}), "no Kubernetes list"),
        ((200, b"{" * 100_000, {}), "no Kubernetes list"),
        ((200, b"not gzip at all", {"Content-Encoding": "gzip"}), "no answer"),
        ((200, b'{"items": [', {"Content-Length": "1000"}), "no answer"),
        ((302, b"", {"Location": "http://elsewhere.invalid/"}), "no Kubernetes list"),
        ((500, b"\xff\x1b[2J", {}), "HTTP 500"),
        ((401, b"", {}), "401 Unauthorized"),
    ],
)
def test_nonsense_is_named_and_cannot_steer_a_terminal(
    connected: Connected, reply: Reply, message: str
) -> None:
    cluster = Cluster()
    cluster.always["nodes"] = reply
    with serving(cluster) as server, pytest.raises(InputError, match=message) as refused:
        read_snapshot(connected(server))
    assert "\x1b" not in str(refused.value)


def test_a_malformed_object_is_named_by_cluster_object_and_field(connected: Connected) -> None:
    cluster = Cluster()
    cluster.lists["nodes"][1]["status"]["allocatable"]["cpu"] = "-4"
    with serving(cluster) as server, pytest.raises(InputError) as refused:
        read_snapshot(connected(server))
    assert "Node node-1: field status.allocatable.cpu: '-4' is negative" in str(refused.value)


def test_what_changes_between_two_lists_does_not_stop_a_snapshot(connected: Connected) -> None:
    cluster = Cluster()
    cluster.lists["pods"].append(pod("late", "node-new"))
    cluster.lists["nodes"].append({"metadata": {"name": "fresh"}})
    with serving(cluster) as server:
        snapshot = read_snapshot(connected(server))
    assert "late" not in {p.name for p in snapshot.pods}
    assert snapshot.node_by_name["fresh"].closed


def test_an_empty_cluster_is_named(connected: Connected) -> None:
    with serving(Cluster(nodes=0, pods=0)) as server, pytest.raises(InputError, match="no Node"):
        read_snapshot(connected(server))


def test_progress_names_what_is_read(connected: Connected) -> None:
    said: list[str] = []
    with serving(Cluster(pods=PAGE + 1)) as server:
        read_snapshot(connected(server), progress=said.append)
    assert f"pods: {PAGE} read" in said


@pytest.mark.parametrize("name", ["c.json", "c.json.gz"])
def test_a_dump_reads_as_the_cluster_and_keeps_empty_apart_from_unknown(
    connected: Connected, tmp_path: Path, name: str
) -> None:
    cluster = Cluster(nodes=PAGE + 1)
    cluster.lists["pods"].append(pod("late", "node-new"))
    cluster.always["jobs"] = refusal(403, "no")
    path = tmp_path / name
    with serving(cluster) as server:
        counts = write_dump(connected(server), path)
        live = read_snapshot(connected(server))
    assert project.build(dump.read([str(path)])) == live
    assert live.known == {kind.name for kind in READ} - {"Job"}
    assert (counts["Node"], counts["Pod"]) == (PAGE + 1, 2)
    whole = json.dumps([i.decode(dict[str, Any]) for i in dump.read([str(path)])])
    assert "hunter2" not in whole
    assert "managedFields" not in whole


def test_a_dump_appears_whole_or_not_at_all(connected: Connected, tmp_path: Path) -> None:
    cluster = Cluster()
    cluster.always["pods"] = refusal(403, "no")
    target = tmp_path / "out" / "c.json"
    target.parent.mkdir()
    target.write_text("before")
    with serving(cluster) as server, pytest.raises(InputError):
        write_dump(connected(server), target)
    assert target.read_text() == "before"
    assert [p.name for p in target.parent.iterdir()] == ["c.json"]


def test_a_dump_that_cannot_be_written_is_named(connected: Connected, tmp_path: Path) -> None:
    with serving(Cluster()) as server, pytest.raises(InputError, match="can't be written"):
        write_dump(connected(server), tmp_path / "missing" / "c.json")
