"""Gangs: whose pod is in one, how many must run, and who says so.

Not covered: what a plan does with them (tests/packing/test_gangs.py).
"""

from __future__ import annotations

from typing import Any

import pytest

from fairstow.cluster.gangs import Gang, gangs
from fairstow.cluster.movable import Movability
from tests.cluster.objects import Object, node, pod, snapshot

POD_GROUP = "scheduling.x-k8s.io/pod-group"
TOTAL = "kueue.x-k8s.io/pod-group-total-count"
LABELS: dict[str, Any] = {"labels": {POD_GROUP: "g"}}
KUEUE: dict[str, Any] = {"labels": {"kueue.x-k8s.io/pod-group-name": "g"}}


def pod_group(least: int | None, api: str = "scheduling.x-k8s.io/v1alpha1") -> Object:
    spec = {} if least is None else {"minMember": least}
    return {
        "apiVersion": api,
        "kind": "PodGroup",
        "metadata": {"name": "g", "namespace": "team"},
        "spec": spec,
    }


def gang(*objects: Object) -> Gang:
    (found,) = gangs(snapshot(node(), *objects)).values()
    return found


@pytest.mark.parametrize(
    "about",
    [
        LABELS,
        {"labels": {"pod-group.scheduling.sigs.k8s.io": "g"}},
        KUEUE,
        {"annotations": {"scheduling.k8s.io/group-name": "g"}},
    ],
)
def test_a_gang_is_named_by_several_schedulers(about: dict[str, Any]) -> None:
    found = gang(pod(**about), pod("other", **about), pod("none"), pod("e", labels={POD_GROUP: ""}))
    assert (found.name, len(found.members), found.needed) == ("team/g", 2, 2)


def test_a_gang_is_of_its_namespace() -> None:
    found = gangs(snapshot(node(), pod(**LABELS), pod("x", "else", **LABELS)))
    assert sorted(found) == ["else/g", "team/g"]


def test_who_says_how_many_must_run() -> None:
    total: dict[str, Any] = KUEUE | {"annotations": {TOTAL: "4"}}
    assert gang(pod(**total)).needed == 4
    assert gang(pod(**KUEUE, annotations={TOTAL: "many"})).needed == 1
    assert gang(pod(**LABELS), pod_group(3)).needed == 3
    assert gang(pod(**LABELS), pod_group(None)).needed == 1
    assert gang(pod(**total), pod_group(2)).needed == 2
    two = pod_group(2), pod_group(3, "scheduling.volcano.sh/v1beta1")
    assert gang(pod(**LABELS), *two).needed == gang(pod(**LABELS), *reversed(two)).needed == 3


def test_members_run_that_have_a_place_and_keep_it() -> None:
    gone = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    found = gang(
        pod("waits", **LABELS),
        pod("runs", nodeName="node-0", **LABELS),
        pod("goes", nodeName="node-0", metadata=gone, **LABELS),
        pod("nominated", status={"nominatedNodeName": "node-0"}, **LABELS),
        pod("ended", status={"phase": "Succeeded"}, **LABELS),
    )
    assert (len(found.members), found.running) == (4, 2)


def test_a_member_that_runs_stays() -> None:
    found = snapshot(node(), pod(nodeName="node-0", annotations={"fairstow.dev/movable": "true"},
                                 **LABELS))  # fmt: skip
    reason = "it is a member of gang team/g, which would lose it"
    assert Movability(found).refusal(found.pods[0]) == reason


def test_pod_groups_are_part_of_the_hash_and_known_from_an_empty_list() -> None:
    assert snapshot(node(), pod_group(2)).hash != snapshot(node(), pod_group(3)).hash
    empty = {"apiVersion": "scheduling.x-k8s.io/v1alpha1", "kind": "PodGroupList", "items": []}
    assert "PodGroup" in snapshot(node(), empty).known
    assert "PodGroup" not in snapshot(node()).known
