"""Snapshots of a real API server: what a list returns, what RBAC forbids, what a dump keeps.

Faults that a healthy API server doesn't produce (expired lists, silence, nonsense) are in
tests/kube; the rules themselves are in tests/cluster and, against the real scheduler, below for
the first ones: selectors, node affinity, taints, cordons and room, one pod against each node.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from fairstow.cluster import dump, project
from fairstow.cluster.errors import InputError
from fairstow.cluster.items import FETCH
from fairstow.cluster.kinds import OWNERS, READ
from fairstow.kube.client import connect
from fairstow.kube.live import read_snapshot, write_dump

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from e2e.controlplane.client import Cluster
    from fairstow.cluster.snapshot import Snapshot

pytestmark = pytest.mark.e2e

GPU = "nvidia.com/gpu"
TOLERATE = [{"key": "nvidia.com/gpu", "operator": "Exists"}]


def pod(name: str, namespace: str, **spec: Any) -> dict[str, Any]:
    gpus = str(spec.pop("gpus", 0))
    cpu = spec.pop("cpu", "100m")
    requests = {"cpu": cpu, "memory": "1Gi"} | ({GPU: gpus} if gpus != "0" else {})
    container = {
        "name": "main",
        "image": "registry.example/work:1",
        "env": [{"name": "TOKEN", "value": "hunter2"}],
        "resources": {
            "requests": requests,
            "limits": {k: v for k, v in requests.items() if k == GPU},
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": "work"}},
        "spec": {"containers": [container], **spec},
    }


@pytest.fixture
def busy(
    cluster: Cluster, namespace: str, gpu_nodes: Callable[..., list[str]]
) -> tuple[str, list[str]]:
    """A namespace with running and stuck pods, a PDB and a Job, and its nodes."""
    nodes = gpu_nodes(2)
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "work", "namespace": namespace},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "work"}}},
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "train", "namespace": namespace},
        "spec": {
            "suspend": True,
            "podFailurePolicy": {
                "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]
            },
            "template": {"spec": pod("x", namespace)["spec"] | {"restartPolicy": "Never"}},
        },
    }
    fits = [pod(f"fits-{i}", namespace, gpus=1, tolerations=TOLERATE) for i in range(3)]
    stuck = pod("stuck", namespace, gpus=64, tolerations=TOLERATE)
    cluster.apply([budget, job, *fits, stuck])
    cluster.kubectl(
        *("-n", namespace, "wait", "--for=condition=Ready", "--timeout=60s"),
        *(f"pod/fits-{i}" for i in range(3)),
    )
    cluster.kubectl(*("-n", namespace, "wait", "--for=condition=PodScheduled=false", "pod/stuck"))
    return namespace, nodes


def quiet(snapshot: Snapshot) -> dict[str, Any]:
    """What of a snapshot doesn't change by itself from second to second."""
    return {
        "nodes": snapshot.nodes,
        "pods": snapshot.pods,
        "budgets": {b.ref: b.selector for b in snapshot.budgets},
        "jobs": snapshot.disruptable_jobs,
        "classes": snapshot.priority_classes,
        "namespaces": snapshot.namespaces,
        "known": snapshot.known,
    }


def settled(read: Callable[[], Snapshot], other: Callable[[], Snapshot]) -> None:
    """Both ways of reading agree; the cluster may change between them, so a few tries."""
    for _ in range(5):
        before, middle, after = read(), other(), read()
        if quiet(before) == quiet(after):
            assert quiet(middle) == quiet(before)
            return
    pytest.fail("the cluster never stood still")


def test_live_equals_kubectl_get(
    cluster: Cluster, busy: tuple[str, list[str]], tmp_path: Path
) -> None:
    namespace, nodes = busy
    connection = connect(str(cluster.kubeconfig))
    arguments = FETCH.partition(" >")[0].split()[1:]

    def by_kubectl() -> Snapshot:
        path = tmp_path / "cluster.json"
        path.write_text(cluster.kubectl(*arguments))
        found = project.build(dump.read([str(path)]))
        # Here nobody has storage or PodGroups, and kubectl's lists don't tell none from unknown.
        return replace(found, known=found.known | {kind.name for kind in READ})

    settled(lambda: read_snapshot(connection), by_kubectl)
    live = read_snapshot(connection)
    mine = {p.name: p for p in live.pods if p.namespace == namespace}
    assert mine["fits-0"].node in nodes
    assert mine["stuck"].pending
    assert "Insufficient nvidia.com/gpu" in mine["stuck"].unschedulable
    assert len(live.disruptable_jobs) == 1
    assert not live.unknowns


@pytest.mark.parametrize("name", ["cluster.json", "cluster.json.gz"])
def test_a_written_dump_reads_as_the_cluster_and_keeps_no_environment(
    cluster: Cluster, busy: tuple[str, list[str]], tmp_path: Path, name: str
) -> None:
    connection = connect(str(cluster.kubeconfig))
    path = tmp_path / name

    def by_dump() -> Snapshot:
        assert write_dump(connection, path)["Node"] >= 2
        return project.build(dump.read([str(path)]))

    settled(lambda: read_snapshot(connection), by_dump)
    items = [item.decode(dict[str, Any]) for item in dump.read([str(path)])]
    text = json.dumps(items)
    assert "hunter2" not in text
    assert "managedFields" not in text
    assert path.stat().st_mode & 0o077 == 0
    assert {k.name for k in (*READ, *OWNERS)} >= {i["kind"] for i in items if "metadata" in i}


def test_what_may_not_be_listed_is_unknown_or_named(
    cluster: Cluster, busy: tuple[str, list[str]], tmp_path: Path
) -> None:
    namespace, _ = busy
    role = f"reader-{uuid.uuid4().hex[:6]}"
    cluster.kubectl("-n", namespace, "create", "serviceaccount", "reader")
    reader = cluster.as_service_account(namespace, "reader", tmp_path / "reader.kubeconfig")
    connection = connect(str(reader.kubeconfig))
    with pytest.raises(InputError, match=r"kubectl auth can-i list nodes -A"):
        read_snapshot(connection)
    cluster.kubectl("create", "clusterrole", role, "--verb=list", "--resource=nodes,pods")
    subject = f"--serviceaccount={namespace}:reader"
    cluster.kubectl("create", "clusterrolebinding", role, f"--clusterrole={role}", subject)
    try:
        warnings: list[str] = []
        snapshot = cluster.wait(lambda: _readable(connection, warnings), "the reader's rights")
    finally:
        cluster.kubectl("delete", "clusterrolebinding,clusterrole", role)
    assert snapshot.known == {"Node", "Pod"}
    assert len(snapshot.unknowns) == 4
    assert len(warnings) == sum(not (kind.needed or kind.extension) for kind in READ)
    assert any("kubectl auth can-i list poddisruptionbudgets.policy -A" in w for w in warnings)


def _readable(connection: Any, warnings: list[str]) -> Snapshot | None:
    warnings.clear()
    try:
        return read_snapshot(connection, warn=warnings.append)
    except InputError:
        return None


def test_a_bad_token_is_told_apart_from_a_missing_right(cluster: Cluster, tmp_path: Path) -> None:
    config = json.loads(cluster.kubectl("config", "view", "--raw", "--flatten", "-o", "json"))
    config["users"] = [{"name": u["name"], "user": {"token": "x.y.z"}} for u in config["users"]]
    path = tmp_path / "expired.kubeconfig"
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match="401 Unauthorized"):
        read_snapshot(connect(str(path)))


def test_a_foreign_certificate_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    config = json.loads(cluster.kubectl("config", "view", "--raw", "--flatten", "-o", "json"))
    for entry in config["clusters"]:
        entry["cluster"].pop("certificate-authority-data", None)
    path = tmp_path / "foreign.kubeconfig"
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match="TLS handshake"):
        read_snapshot(connect(str(path)))
