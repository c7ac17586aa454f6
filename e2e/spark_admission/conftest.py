"""A queued namespace with its people, one node and the operator's rights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.rights import bind, spark
from e2e.spark_admission.scene import Scene, application_crd, label, people, queue, unique
from fairstow.kube.permissions import OPERATOR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from e2e.own_webhook import Webhook


@pytest.fixture
def scene(
    webhook: Webhook, namespace: str, gpu_nodes: Callable[..., list[str]], tmp_path: Path
) -> Iterator[Scene]:
    cluster, name = webhook.cluster, unique("queue")
    (node,) = gpu_nodes(1, gpus=0, cpu="4")
    made = [*people(namespace), *spark(namespace, namespace)]
    cluster.apply([application_crd(), queue(name, hold=True), label(namespace, name), *made])
    with bind(cluster, OPERATOR, namespace):
        operator = cluster.as_service_account(namespace, "fairstow-operator", tmp_path / "operator")
        yield Scene(cluster, operator, namespace, name, node)
    # Before their node goes: nobody would end them then.
    cluster.kubectl("-n", namespace, "delete", "pods", "--all", "--force", "--grace-period=0")
    cluster.kubectl("delete", "sparkqueue", name)
    for each in made:
        if each["kind"].startswith("Cluster"):
            cluster.kubectl("delete", each["kind"], each["metadata"]["name"])
    bindings = [f"{namespace}-{part}-submitter" for part in ("submitters", "users")]
    cluster.kubectl("delete", "clusterrolebinding", "--ignore-not-found", *bindings)
