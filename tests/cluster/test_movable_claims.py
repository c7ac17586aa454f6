"""Who may be moved, of the pods with claims: data that stays behind, volumes that can't follow.

Not covered: everybody else (test_movable.py), where a volume can be had (test_state_volumes.py).
"""

from __future__ import annotations

from typing import Any

import pytest

from fairstow.cluster.movable import Movability
from tests.cluster.objects import Object, node, pod, snapshot
from tests.cluster.test_state_volumes import claim, using, volume

MOVABLE: dict[str, Any] = {"annotations": {"fairstow.dev/movable": "true"}}
LOCAL: dict[str, Any] = {"csi": None, "local": {"path": "/disk"}}


def refusal(*objects: Object, name: str = "new") -> str:
    found = snapshot(node(), *objects)
    (asked,) = [p for p in found.pods if p.name == name]
    return Movability(found).refusal(asked)


def running(name: str = "new", **more: Any) -> Object:
    return using(name, nodeName="node-0", **more)


@pytest.mark.parametrize(
    ("objects", "reason"),
    [
        ([claim(), volume(**LOCAL)], "its claim data is a local volume, whose data stays behind"),
        ([claim(), volume(csi=None, hostPath={"path": "/disk"})], "its claim data is a local"),
        ([], "its claim data may be a local volume, the input doesn't tell"),
        ([claim()], "its claim data may be a local volume, the input doesn't tell"),
        ([claim(volume=""), volume("other")], "its claim data isn't bound"),
        ([claim("else"), volume()], "its claim data isn't bound"),
    ],
)
def test_no_annotation_moves_a_pod_away_from_its_data(objects: list[Object], reason: str) -> None:
    assert refusal(*objects, running(**MOVABLE)).startswith(reason)


def test_no_annotation_moves_a_pod_away_from_its_ephemeral_volume() -> None:
    scratch = pod("new", nodeName="node-0", volumes=[{"name": "tmp", "ephemeral": {}}], **MOVABLE)
    assert refusal(scratch) == "its ephemeral volume tmp would be lost"


@pytest.mark.parametrize(
    ("modes", "stays"),
    [
        (["ReadWriteOnce"], True),
        (["ReadWriteOncePod"], True),
        (["ReadWriteMany"], False),
        (["ReadWriteOnce", "ReadOnlyMany"], False),
    ],
)
def test_a_volume_for_one_node_holds_pods_that_share_it(modes: list[str], *, stays: bool) -> None:
    shared = [claim(accessModes=modes), volume()]
    reason = "its claim data is for one node at a time, and other pods use it"
    assert refusal(*shared, running()) != reason
    for other in (running("old"), using("waits")):
        assert (refusal(*shared, running(), other) == reason) == stays
