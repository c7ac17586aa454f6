"""Which volumes tie a pod to its node, and which the planner doesn't model."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.objects import only_pod, pod


def shape(**source: Any) -> tuple[str, tuple[str, ...]]:
    found = only_pod(pod(volumes=[{"name": "data", **source}])).shape
    return found.local_storage, found.unmodelled


@pytest.mark.parametrize(
    "source",
    [
        {"configMap": {"name": "c"}},
        {"secret": {"secretName": "s"}},
        {"projected": {"sources": []}},
        {"downwardAPI": {"items": [{"path": "labels"}]}},
        {"image": {"reference": "i"}},
        {"nfs": {"server": "s", "path": "/"}},
        {"emptyDir": {"medium": "Memory"}},
        {"emptyDir": {"medium": "HugePages-2Mi"}},
    ],
)
def test_volumes_that_follow_a_pod_anywhere(source: dict[str, Any]) -> None:
    assert shape(**source) == ("", ())


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"hostPath": {"path": "/data"}}, "hostPath volume data"),
        ({"emptyDir": {}}, "emptyDir volume data on the node's disk"),
        ({"emptyDir": None}, "emptyDir volume data on the node's disk"),
        ({"emptyDir": {"medium": ""}}, "emptyDir volume data on the node's disk"),
    ],
)
def test_volumes_whose_data_a_move_would_lose(source: dict[str, Any], said: str) -> None:
    assert shape(**source) == (said, ())


@pytest.mark.parametrize(
    "kind", ["persistentVolumeClaim", "ephemeral", "csi", "awsElasticBlockStore", "somethingNew"]
)
def test_all_other_volumes_are_not_modelled(kind: str) -> None:
    assert shape(**{kind: {}}) == ("", (f"{kind} volume",))
