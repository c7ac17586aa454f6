"""Who may be disturbed: the positive list of owners, every reason against, and budgets.

Not covered: how many pods of one budget may be down at once; that is the plan's order of steps.
"""

from __future__ import annotations

from typing import Any

import pytest

from fairstow.cluster.movable import Movability
from tests.cluster.objects import budget, job, pod, snapshot

WEB = {"app": "web"}


def refusal(*objects: dict[str, Any], **spec: Any) -> str:
    """Why the pod of that spec must stay, among other objects."""
    found = snapshot(pod(nodeName="node-0", **spec), *objects)
    (running,) = [p for p in found.pods if p.name == "pod-0"]
    return Movability(found).refusal(running)


@pytest.mark.parametrize("kind", ["ReplicaSet", "StatefulSet"])
def test_pods_that_are_recreated_may_move(kind: str) -> None:
    assert refusal(owner=(kind, "web")) == ""


def test_pods_of_a_job_may_move_if_it_ignores_disruptions() -> None:
    owner = ("Job", "train")
    counted = "its Job would count the eviction as a failure"
    assert refusal(job("train"), owner=owner) == ""
    assert refusal(job("train", tolerant=False), owner=owner) == counted
    assert refusal(job("other"), owner=owner) == counted
    assert refusal(owner=owner) == counted


def test_a_failure_policy_that_fails_on_disruption_does_not_tolerate_it() -> None:
    failing = job("train")
    failing["spec"]["podFailurePolicy"]["rules"][0]["action"] = "FailJob"
    assert refusal(failing, owner=("Job", "train"))


def test_the_first_rule_of_a_jobs_failure_policy_decides() -> None:
    failing = job("train")
    rules = failing["spec"]["podFailurePolicy"]["rules"]
    rules.insert(0, {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [0]}})
    assert refusal(failing, owner=("Job", "train"))


def test_a_replicaset_of_another_group_is_unknown() -> None:
    clone = {"apiVersion": "apps.kruise.io/v1", "kind": "StatefulSet", "name": "x", "uid": "u"}
    found = refusal(owner=None, metadata={"ownerReferences": [clone | {"controller": True}]})
    assert found.startswith("its owner is a StatefulSet")


def test_another_groups_job_is_no_job() -> None:
    volcano = job("train") | {"apiVersion": "batch.volcano.sh/v1alpha1"}
    assert refusal(volcano, owner=("Job", "train"))


@pytest.mark.parametrize(
    ("owner", "said"),
    [
        (None, "no controller would recreate it"),
        (("PyTorchJob", "x"), "its owner is a PyTorchJob, which isn't known to recreate it"),
        (("ReplicationController", "x"), "its owner is a ReplicationController"),
    ],
)
def test_others_must_stay_unless_they_say_so(owner: Any, said: str) -> None:
    assert refusal(owner=owner).startswith(said)
    assert refusal(owner=owner, annotations={"fairstow.dev/movable": "true"}) == ""
    assert refusal(owner=owner, annotations={"fairstow.dev/movable": "yes"}).startswith(said)


def test_an_owner_that_is_not_the_controller_does_not_count() -> None:
    reference = {"kind": "ReplicaSet", "name": "web", "uid": "u"}
    found = refusal(owner=None, metadata={"ownerReferences": [reference]})
    assert found == "no controller would recreate it"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}, "it is terminating"),
        ({"owner": ("DaemonSet", "agent")}, "it belongs to its node"),
        ({"owner": ("Node", "node-0")}, "it belongs to its node"),
        ({"annotations": {"kubernetes.io/config.mirror": "x"}}, "it belongs to its node"),
        ({"priority": 2_000_000_000}, "it is critical to the cluster"),
        ({"labels": {"app.kubernetes.io/part-of": "fairstow"}}, "it is part of Fairstow"),
        (
            {"annotations": {"fairstow.dev/do-not-disrupt": "true"}},
            "it is annotated fairstow.dev/do-not-disrupt=true",
        ),
        (
            {"annotations": {"karpenter.sh/do-not-disrupt": "true"}},
            "it is annotated karpenter.sh/do-not-disrupt=true",
        ),
        (
            {"annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}},
            "it is annotated cluster-autoscaler.kubernetes.io/safe-to-evict=false",
        ),
        (
            {"volumes": [{"name": "scratch", "emptyDir": {}}]},
            "its emptyDir volume scratch on the node's disk would be lost",
        ),
        (
            {"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "c"}}]},
            "its claim c may be a local volume, the input doesn't tell",
        ),
    ],
)
def test_reasons_that_no_annotation_overrides(spec: dict[str, Any], said: str) -> None:
    assert refusal(**spec) == said
    movable = {"annotations": spec.get("annotations", {}) | {"fairstow.dev/movable": "true"}}
    assert refusal(**spec | movable) == said


@pytest.mark.parametrize(
    "annotations",
    [
        {"fairstow.dev/do-not-disrupt": "false"},
        {"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"},
    ],
)
def test_the_opposite_annotation_forbids_nothing(annotations: dict[str, str]) -> None:
    assert refusal(annotations=annotations) == ""


def test_pods_just_below_critical_may_move() -> None:
    assert refusal(priority=1_999_999_999) == ""


def test_the_system_namespace_stays() -> None:
    found = snapshot(pod(namespace="kube-system", nodeName="node-0"))
    assert Movability(found).refusal(found.pods[0]) == "it is critical to the cluster"


@pytest.mark.parametrize(
    ("spec", "selected"),
    [
        ({"selector": {"matchLabels": WEB}}, True),
        ({"selector": {"matchLabels": {"app": "db"}}}, False),
        ({"selector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}, True),
        ({"selector": {}}, True),  # policy/v1: every pod of the namespace
        ({"selector": None}, False),
        ({}, False),
    ],
)
def test_whom_a_budget_selects(spec: dict[str, Any], selected: bool) -> None:
    said = "disruption budget budget allows no disruption now"
    found = refusal(budget(spec=spec, disruptionsAllowed=0), labels=WEB)
    assert found == (said if selected else "")


def test_a_budget_selects_in_its_own_namespace_only() -> None:
    elsewhere = budget(namespace="other", disruptionsAllowed=0)
    assert refusal(elsewhere, labels=WEB) == ""


@pytest.mark.parametrize(
    ("status", "movable"),
    [
        ({"disruptionsAllowed": 1}, True),
        ({"disruptionsAllowed": 0}, False),
        ({"disruptionsAllowed": -1}, False),
        ({"disruptionsAllowed": 1, "observedGeneration": 1}, False),  # about an older spec
        ({"disruptionsAllowed": 1, "observedGeneration": None}, False),
        ({"disruptionsAllowed": 1, "observedGeneration": 3}, True),
    ],
)
def test_what_a_budget_allows(status: dict[str, Any], movable: bool) -> None:
    assert (refusal(budget(**status), labels=WEB) == "") is movable


def test_a_budget_without_a_status_allows_nothing() -> None:
    fresh = budget()
    del fresh["status"]
    assert refusal(fresh, labels=WEB)


def test_under_two_budgets_nothing_can_be_evicted() -> None:
    two = [budget("a", disruptionsAllowed=5), budget("b", disruptionsAllowed=5)]
    assert refusal(*two, labels=WEB) == "2 disruption budgets select it"
    found = snapshot(pod(nodeName="node-0", labels=WEB), *two)
    assert [b.ref for b in Movability(found).budgets(found.pods[0])] == ["team/a", "team/b"]
