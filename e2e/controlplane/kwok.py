"""Fake GPU nodes: the objects to create, and the KWOK process that brings them to life.

KWOK sets no limit on how many nodes a laptop can play: a node is an API object, a pod on it
runs because its status says so. kwok-stages.yaml says what it plays. Used by cluster.py, by
provider.py beside a cluster it was given, and by tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

STAGES = Path(__file__).parent / "kwok-stages.yaml"
FAKE = {"kwok.x-k8s.io/node": "fake"}
GPU = "nvidia.com/gpu"
_ROLE = "fairstow-e2e:kwok"


def gpu_node(
    name: str,
    *,
    cpu: str = "64",
    memory: str = "512Gi",
    gpus: int = 8,
    product: str = "NVIDIA-H100-80GB-HBM3",
    zone: str = "zone-a",
    pods: int = 110,
    labels: Mapping[str, str] | None = None,
    taints: Iterable[Mapping[str, str]] = (),
) -> dict[str, Any]:
    """Return a node as NVIDIA's GPU Feature Discovery labels it; with gpus=0, a plain one.

    The API server keeps the status a Node is created with, so no second request is needed.
    """
    resources = {"cpu": cpu, "memory": memory, "pods": str(pods), "ephemeral-storage": "1Ti"}
    own = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/zone": zone,
    }
    if gpus:
        resources[GPU] = str(gpus)
        own |= {"nvidia.com/gpu.product": product, "nvidia.com/gpu.count": str(gpus)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": own | dict(labels or {}),
            "annotations": dict(FAKE),
        },
        "spec": {"taints": [dict(taint) for taint in taints]},
        "status": {"capacity": resources, "allocatable": resources},
    }


def command(binary: Path, kubeconfig: Path, *, node_lease_seconds: int = 40) -> list[str]:
    """Return KWOK's command. It leaves nodes alone that are not annotated as fake."""
    return [
        str(binary),
        f"--kubeconfig={kubeconfig}",
        f"--config={STAGES}",
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
        # Renewed four times in that span; the controller manager gives a node 50 s.
        f"--node-lease-duration-seconds={node_lease_seconds}",
        "--node-ip=198.51.100.1",  # an address of the range for documentation: leads nowhere
        "--cidr=10.128.0.1/9",
    ]


def access(user: str) -> list[dict[str, Any]]:
    """Return the ClusterRole KWOK needs and its binding to `user`."""

    def rule(group: str, resources: list[str], verbs: list[str]) -> dict[str, list[str]]:
        return {"apiGroups": [group], "resources": resources, "verbs": verbs}

    read = ["get", "list", "watch"]
    api = "rbac.authorization.k8s.io"
    role = {
        "apiVersion": f"{api}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": _ROLE},
        "rules": [
            rule("", ["nodes"], read),
            rule("", ["pods"], [*read, "delete"]),
            rule("", ["nodes/status", "pods/status"], ["patch"]),
            rule("", ["events"], ["create", "patch"]),
            rule("coordination.k8s.io", ["leases"], [*read, "create", "update", "patch"]),
        ],
    }
    binding = {
        "apiVersion": f"{api}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": _ROLE},
        "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": _ROLE},
        "subjects": [{"apiGroup": api, "kind": "User", "name": user}],
    }
    return [role, binding]
