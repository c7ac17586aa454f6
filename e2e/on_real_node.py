"""The chart installed on the real node, from images that are there. Used by tests of its pods."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from e2e.helm import CHART, NAMESPACE
from e2e.serving import pods

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.controlplane.realnode.cluster import RealCluster

COMPONENTS = ("operator", "webhook", "extender", "scheduler")


def image(name: str) -> dict[str, str]:
    """Return the chart's value of an image."""
    repository, _, tag = name.rpartition(":")
    return {"repository": repository, "tag": tag}


def values(cluster: RealCluster, **more: Any) -> dict[str, Any]:
    """Return values by which everything runs on the one real node."""
    resources = {component: {"resources": pods.SMALL} for component in COMPONENTS}
    return {
        **resources,
        "image": image(cluster.image),
        "nodeSelector": {"kubernetes.io/hostname": cluster.node_name},
        "crds": {"keep": False},
        **more,
    }


@contextmanager
def installed(cluster: RealCluster, chosen: dict[str, Any], chat: str) -> Iterator[None]:
    """Install the chart, and have a namespace for a pool; both are gone in the end."""
    cluster.apply([pods.restricted(NAMESPACE), pods.restricted(chat, drained=True)])
    cluster.helm(
        *("install", "fairstow", str(CHART), "-n", NAMESPACE, "--wait", "--timeout=4m"),
        *("--set-json", json.dumps(chosen)),
    )
    try:
        yield
    finally:
        cluster.helm("uninstall", "fairstow", "-n", NAMESPACE, "--ignore-not-found", "--wait")
        cluster.kubectl("delete", "namespace", NAMESPACE, chat, timeout=180)
