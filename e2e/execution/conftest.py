"""Fixtures of the tests of plans: all programs, once for the folder, and a scene for each test.

Tests that stop or kill a program start it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.execution.scene import Scene
from e2e.installed import Installed, installed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.controlplane.client import Cluster

POD_GROUP = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "podgroups.scheduling.x-k8s.io",
        "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
    },
    "spec": {
        "group": "scheduling.x-k8s.io",
        "scope": "Namespaced",
        "names": {"kind": "PodGroup", "plural": "podgroups"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                    }
                },
            }
        ],
    },
}


@pytest.fixture(scope="package")
def programs(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """Operator, extender and own scheduler, in a cluster that knows coscheduling's PodGroups."""
    cluster.apply([POD_GROUP])
    name = f"crd/{POD_GROUP['metadata']['name']}"  # type: ignore[index]
    cluster.kubectl("wait", "--for=condition=Established", name)
    with installed(cluster, tmp_path_factory.mktemp("installed")) as running:
        yield running
    cluster.kubectl("delete", name)


@pytest.fixture
def scene(programs: Installed, namespace: str) -> Iterator[Scene]:
    """A part of the cluster for a plan to be carried out in; it is empty after the test."""
    made = Scene(programs, namespace)
    yield made
    made.clear()
