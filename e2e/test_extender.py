"""The extender on a real kube-scheduler: what it keeps, whom it steers, and what fails without it.

Covered: pods of schedulerName fairstow run; a client without a certificate is refused.
Not covered: the plugins' decisions case by case (tests/scheduler_plugins, tests/packing).
"""

from __future__ import annotations

import ssl
import urllib.error
from typing import TYPE_CHECKING, Any

import pytest

from e2e.own_scheduler import Beside, beside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.controlplane.client import Cluster

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def own(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    """Extender and scheduler, running."""
    with beside(cluster, tmp_path_factory.mktemp("own")) as programs:
        programs.start_extender()
        programs.start_scheduler()
        yield programs


def pod(namespace: str, name: str, *, scheduler: str = "fairstow", **requests: str) -> Any:
    amounts = {key.replace("gpu", "nvidia.com/gpu"): value for key, value in requests.items()}
    limits = {key: value for key, value in amounts.items() if key == "nvidia.com/gpu"}
    container = {
        "name": "main",
        "image": "example.com/none",
        "resources": {"requests": amounts, "limits": limits},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"schedulerName": scheduler, "containers": [container]},
    }


def node_of(cluster: Cluster, namespace: str, name: str) -> str:
    found: str = cluster.get("-n", namespace, "pod", name)["spec"].get("nodeName", "")
    return found


def placed(cluster: Cluster, namespace: str, name: str) -> str:
    """Wait until the pod has a node, and return that."""
    return cluster.wait(lambda: node_of(cluster, namespace, name), f"a node for {name}")


@pytest.mark.usefixtures("own")
def test_pods_of_schedulername_fairstow_are_scheduled(
    cluster: Cluster, namespace: str, gpu_nodes: Callable[..., list[str]]
) -> None:
    nodes = gpu_nodes(3)
    cluster.apply(pod(namespace, f"a-{i}", gpu="4", cpu="1") for i in range(6))
    for i in range(6):
        assert placed(cluster, namespace, f"a-{i}") in nodes


def test_a_client_without_certificate_is_refused(own: Beside) -> None:
    args = {"Pod": {"metadata": {"name": "a", "namespace": "b", "uid": "c"}}, "NodeNames": ["n"]}
    assert own.call("filter", args)["NodeNames"] == ["n"]
    with pytest.raises((ssl.SSLError, urllib.error.URLError, ConnectionError)):
        own.call("filter", args, certificate=False)
