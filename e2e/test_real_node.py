"""A node that really runs its pods, and leaves the machine as it found it.

Not covered: NetworkPolicy (nothing here enforces it), host ports, and pulling images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from e2e.controlplane.realnode.cluster import RealCluster

pytestmark = pytest.mark.real_node


@pytest.fixture(scope="session")
def cluster(real_cluster: RealCluster) -> RealCluster:
    """Have `namespace` and `gpu_nodes` act on the cluster with the real node."""
    return real_cluster


def pod(name: str, namespace: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {"nodeSelector": {"kubernetes.io/hostname": "real-node"}, **spec},
    }


def test_a_pod_runs_and_has_an_address(cluster: RealCluster, namespace: str) -> None:
    container = {"name": "main", "image": "fairstow.dev/e2e/pause:1"}
    cluster.apply([pod("first", namespace, containers=[container])])
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/first")
    status = cluster.get("-n", namespace, "pod", "first")["status"]
    assert status["podIP"].startswith("10.244.0.")
