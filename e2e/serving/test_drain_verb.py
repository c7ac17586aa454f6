"""`fairstow drain` on a real API server, with the serving controller beside it.

Covered: a pod, a node, deadlines, what is none of ours, waiting or not. No gateway serves the
pool, so every drain is over as soon as the controller has seen it.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from e2e.crds import install_crds
from e2e.rights import bind
from e2e.serving.scene import controller, engine, pool
from fairstow.kube.permissions import OPERATOR

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.controlplane.client import Cluster

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]


def test_engines_are_drained_by_hand(
    cluster: Cluster, namespace: str, gpu_nodes: Callable[..., list[str]], tmp_path: Path
) -> None:
    (node,) = gpu_nodes(1, gpus=0)
    install_crds(cluster)
    names = {"a": "llama", "b": "llama", "c": "web"}
    pods = [engine(namespace, name, app, node=node) for name, app in names.items()]
    for pod in pods:
        pod["metadata"].pop("finalizers")
    cluster.apply([*pods, pool(namespace)])

    def fairstow(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fairstow.cli", *words]
        command += ["--kubeconfig", str(cluster.kubeconfig)]
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )

    def drains() -> dict[str, Any]:
        items = cluster.items("-n", namespace, "instancedrains")
        return {each["spec"]["podName"]: each for each in items}

    other = fairstow("drain", "pod/c", "-n", namespace)
    assert other.returncode == 2
    assert "belongs to no ServingPool" in other.stderr
    assert "llama: app=llama" in other.stderr
    assert "there is no such object" in fairstow("drain", "pod/none", "-n", namespace).stderr
    assert "names no pod or node" in fairstow("drain", "a").stderr
    wrong = fairstow("drain", "pod/a", "-n", namespace, "--deadline", "soon")
    assert "deadline is a duration from 1s to 24h" in wrong.stderr
    assert fairstow("drain", "pod/a", "-n", namespace, "--dry-run").returncode == 0
    assert drains() == {}
    begun = fairstow("drain", "pod/a", "-n", namespace, "--no-wait", "--deadline", "7m")
    assert "draining has begun" in begun.stdout
    assert drains()["a"]["spec"]["deadline"] == "7m"

    async def scenario() -> None:
        with bind(cluster, OPERATOR, namespace):
            operator = cluster.as_service_account(namespace, "fairstow-operator", tmp_path / "sa")
            async with controller(operator, f"system:serviceaccount:{namespace}:fairstow-operator"):
                done = await asyncio.to_thread(fairstow, "drain", f"node/{node}")
                assert done.returncode == 0, done.stderr
                for name in "ab":
                    assert f"pod {namespace}/{name} drained: 0 requests moved" in done.stdout

    asyncio.run(scenario())
    assert drains().keys() == {"a", "b"}
    assert drains()["a"]["spec"]["deadline"] == "7m"
