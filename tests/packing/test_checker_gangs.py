"""Gangs in the checker of plans: placed whole or not at all, and never disturbed.

Leaves out the scheduler's own gangs (schedulingGroup), which plans don't model
(test_checker_filters).
"""

from typing import Any

import pytest

from tests.packing.checker_clusters import (
    Json,
    node,
    plan,
    pod,
    rules_broken,
    step,
    verdict,
)

GROUP = {"scheduling.x-k8s.io/pod-group": "g"}
TOTAL = "kueue.x-k8s.io/pod-group-total-count"
NAMES: list[Json] = [
    {"labels": GROUP},
    {"labels": {"pod-group.scheduling.sigs.k8s.io": "g"}},
    {"labels": {"kueue.x-k8s.io/pod-group-name": "g"}},
    {"annotations": {"scheduling.k8s.io/group-name": "g"}},
]


def pod_group(least: int | None, api: str = "scheduling.x-k8s.io/v1alpha1") -> Json:
    """A PodGroup "g" of team-a."""
    spec = {} if least is None else {"minMember": least}
    metadata = {"name": "g", "namespace": "team-a", "uid": f"uid-{api}-g"}
    return {"apiVersion": api, "kind": "PodGroup", "metadata": metadata, "spec": spec}


def gang(pending: int, running: int = 0, **about: Any) -> list[Json]:
    """Members of a gang: those that run first."""
    about = about or NAMES[0]
    runs = [pod(f"r{i}", "a", **about) for i in range(running)]
    return [*runs, *(pod(f"p{i}", **about) for i in range(pending))]


def placing(many: int, members: list[Json], *others: Json) -> set[str]:
    """The rules broken by placing so many of the pending members."""
    objects = [node("a"), node("b"), *members, *others]
    waiting = [p for p in members if "nodeName" not in p["spec"]]
    chosen = [(p, "b") for p in waiting[:many]]
    return rules_broken(objects, plan(objects, *(step(bind=[pair]) for pair in chosen)))


@pytest.mark.parametrize("about", NAMES)
def test_all_members_are_placed_or_none(about: Json) -> None:
    assert placing(3, gang(3, **about)) == set()
    assert placing(2, gang(3, **about)) == {"GangSplit"}
    assert placing(1, gang(1, running=2, **about)) == set()
    assert placing(1, gang(2, running=2, **about)) == {"GangSplit"}
    assert placing(0, gang(2, running=2, **about), pod("other")) == set()


@pytest.mark.parametrize("api", ["scheduling.x-k8s.io/v1alpha1", "scheduling.volcano.sh/v1beta1"])
def test_a_pod_group_says_how_many_must_run(api: str) -> None:
    assert placing(3, gang(5), pod_group(3, api)) == set()
    assert placing(2, gang(5), pod_group(3, api)) == {"GangSplit"}
    assert placing(1, gang(5, running=2), pod_group(3, api)) == set()
    assert placing(2, gang(2), pod_group(3, api)) == {"GangSplit"}
    assert placing(2, gang(3), pod_group(None, api)) == {"GangSplit"}
    other = pod_group(1, api)
    other["metadata"]["namespace"] = "team-b"
    assert placing(2, gang(3), other) == {"GangSplit"}


def test_the_larger_of_two_pod_groups_of_one_name_counts() -> None:
    two = pod_group(2), pod_group(3, "scheduling.volcano.sh/v1beta1")
    assert placing(2, gang(4), *two) == placing(2, gang(4), *reversed(two)) == {"GangSplit"}
    assert placing(3, gang(4), *two) == set()


def test_kueues_total_count_includes_pods_that_are_not_there_yet() -> None:
    about = NAMES[2] | {"annotations": {TOTAL: "4"}}
    assert placing(3, gang(3, **about)) == {"GangSplit"}
    assert placing(4, gang(4, **about)) == set()
    assert placing(3, gang(3, **NAMES[2], annotations={TOTAL: "many"})) == set()
    differ = gang(2, **about)
    differ[0]["metadata"]["annotations"][TOTAL] = "2"
    assert placing(2, differ) == {"GangSplit"}
    assert placing(3, gang(3, **about), pod_group(3)) == set()


def test_members_that_end_do_not_run() -> None:
    members = gang(1, running=2)
    assert placing(1, members, pod_group(3)) == set()
    members[0]["status"]["phase"] = "Succeeded"
    assert placing(1, members, pod_group(3)) == {"GangSplit"}
    assert placing(1, members) == set()
    members[0]["status"]["phase"] = "Running"
    members[0]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert placing(1, members, pod_group(3)) == {"GangSplit"}


def test_gangs_of_other_names_and_namespaces_are_others() -> None:
    other = pod("x", labels={"scheduling.x-k8s.io/pod-group": "h"})
    elsewhere = pod("y", namespace="team-b", labels=GROUP)
    assert placing(2, gang(2), other, elsewhere) == set()


def test_the_message_gives_the_numbers() -> None:
    objects = [node("a"), *gang(2, running=1), pod_group(3)]
    a_plan = plan(objects, step(bind=[(objects[2], "a")]))
    [violation] = verdict(objects, a_plan).violations
    assert "gang team-a/g: 2 of its pods would run, 1 of them by this plan" in violation.message
    assert "3 must (minMember of its PodGroup)" in violation.message
    assert (violation.pod, violation.rule) == ("team-a/p0", "GangSplit")


@pytest.mark.parametrize("about", NAMES)
def test_running_members_stay(about: Json) -> None:
    [moved] = gang(0, running=1, **about)
    objects = [node("a"), node("b"), moved]
    found = rules_broken(objects, plan(objects, step([moved], [(moved, "b")])))
    assert found == {"PodNotMovable"}
    moved["metadata"]["annotations"]["fairstow.dev/movable"] = "true"
    objects += [new := pod("new", gpu=8, priority=9)]
    found = rules_broken(objects, plan(objects, step([moved], [(new, "a")])))
    assert found == {"PodNotMovable"}


def test_running_members_of_the_schedulers_own_gangs_stay() -> None:
    moved = pod("m", "a", schedulingGroup={"podGroupName": "g"})
    objects = [node("a"), new := pod("new", gpu=8, priority=9), moved]
    found = rules_broken(objects, plan(objects, step([moved], [(new, "a")])))
    assert found == {"PodNotMovable"}
