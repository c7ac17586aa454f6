"""Evictions of engines on a real API server, with the webhook as the chart has it.

Covered: a first eviction begins a drain and is told to ask again, so that `kubectl drain` waits; a
dry run begins nothing; what is drained, or belongs to no pool, goes at once; without a webhook
everything goes. Not covered: the decision case by case (tests/serving/test_evictions.py).
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from e2e.controlplane.client import KubectlError
from e2e.own_webhook import Webhook
from e2e.serving.scene import engine, pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.controlplane.client import Cluster

pytestmark = pytest.mark.e2e


def plain(pod: dict[str, Any]) -> dict[str, Any]:
    """The pod without what keeps it from going."""
    pod["metadata"].pop("finalizers")
    return pod


def evict(cluster: Cluster, namespace: str, pod: str, *, dry_run: bool = False) -> str:
    """Evict a pod by the API; return what the API server says against it."""
    options = {"deleteOptions": {"dryRun": ["All"]}} if dry_run else {}
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": namespace},
        **options,
    }
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
    path += "?dryRun=All" if dry_run else ""
    try:
        cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))
    except KubectlError as error:
        return str(error)
    return ""


def drains(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    return cluster.items("-n", namespace, "instancedrains")


def finish(cluster: Cluster, namespace: str) -> None:
    """Say of every drain that it is over, as the operator does."""
    for each in drains(cluster, namespace):
        over = {
            "type": "Drained",
            "status": "True",
            "reason": "Drained",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        name = each["metadata"]["name"]
        patch = ("patch", f"instancedrain/{name}", "--subresource=status", "--type=merge")
        body = json.dumps({"status": {"conditions": [over]}})
        cluster.kubectl("-n", namespace, *patch, "-p", body)


def test_an_engine_is_drained_before_it_is_evicted(
    webhook: Webhook, namespace: str, gpu_nodes: Callable[..., list[str]]
) -> None:
    cluster = webhook.cluster
    (node,) = gpu_nodes(1, gpus=0)
    pods = [
        plain(engine(namespace, name, app, node=node))
        for name, app in (("a", "llama"), ("other", "web"))
    ]
    cluster.apply([*pods, pool(namespace)])
    cluster.wait(
        lambda: "hands its requests over" in evict(cluster, namespace, "a", dry_run=True),
        "the webhook's watch",
    )
    assert drains(cluster, namespace) == []
    assert evict(cluster, namespace, "other") == ""

    # As people do it: kubectl drain asks again until the drain is over.
    command = [*cluster.kubectl_command, "drain", node, "--force", "--ignore-daemonsets"]
    with subprocess.Popen(
        [*command, "--timeout=60s"],
        env={**cluster.environ()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as draining:
        (made,) = cluster.wait(lambda: drains(cluster, namespace), "the drain")
        assert made["spec"]["cause"] == "Eviction"
        cluster.wait(
            lambda: "has just begun" in evict(cluster, namespace, "a"), "the webhook's watch"
        )
        assert drains(cluster, namespace) == [made]
        finish(cluster, namespace)
        said, _ = draining.communicate(timeout=60)
    assert draining.returncode == 0, said
    assert "will retry after 5s" in said
    assert "InstanceDrain" in said


def test_without_the_webhook_engines_go_at_once(
    webhook: Webhook, namespace: str, gpu_nodes: Callable[..., list[str]]
) -> None:
    cluster = webhook.cluster
    (node,) = gpu_nodes(1, gpus=0)
    cluster.apply([pool(namespace), plain(engine(namespace, "a", node=node))])
    webhook.processes.stop()
    try:
        assert evict(cluster, namespace, "a") == ""
    finally:
        webhook.start()
