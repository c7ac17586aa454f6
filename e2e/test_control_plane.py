"""The cluster that all other end-to-end tests stand on: does it behave like Kubernetes?

Covers access control, scheduling onto fake GPU nodes and the lives of their pods, clusters side
by side, and that no process of ours outlives its owner while none of somebody else's is touched.
Not covered: how fast it is (benchmarks/control_plane.py), real nodes, and kind, which runs these
tests too, but only where Docker exists.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from e2e.controlplane.client import Cluster
from e2e.controlplane.kwok import GPU

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parent.parent
QUIET_CONTAINER = {"name": "main", "image": "example.com/none"}


def pod(name: str, *, gpus: int = 0, **spec: Any) -> dict[str, Any]:
    """A pod whose container asks for GPUs."""
    resources = {"limits": {GPU: str(gpus)}} if gpus else {}
    containers = [QUIET_CONTAINER | {"resources": resources}]
    metadata = {"name": name, "annotations": spec.pop("annotations", {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": containers, **spec},
    }


def create(cluster: Cluster, namespace: str, *objects: dict[str, Any]) -> None:
    for each in objects:
        cluster.kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(each))


def test_a_gpu_pod_lands_on_a_gpu_node_and_runs(
    cluster: Cluster, namespace: str, gpu_nodes: Callable[..., list[str]]
) -> None:
    plain = gpu_nodes(2, gpus=0)
    (with_gpus,) = gpu_nodes(1, gpus=4)
    create(cluster, namespace, pod("train", gpus=4))

    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/train")

    found = cluster.get("-n", namespace, "pod", "train")
    assert found["status"]["phase"] == "Running"
    assert found["spec"]["nodeName"] == with_gpus
    assert found["spec"]["nodeName"] not in plain
    # The scheduler's own condition is kept beside those that KWOK adds.
    assert "PodScheduled" in {each["type"] for each in found["status"]["conditions"]}
