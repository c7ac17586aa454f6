"""Whom the checker of plans lets be moved or evicted: movability, budgets, priorities.

Leaves out where pods arrive (test_checker_filters) and the plan's own consistency
(test_checker_plan).
"""

from typing import Any

import pytest

from tests.packing.checker_clusters import Json, budget, node, plan, pod, rules_broken, step

WEB = {"app": "web"}
IGNORE: Json = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
FAIL_ON_EXIT: Json = {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [0]}}


def departure(moved: Json, *others: Json, **spec: Any) -> set[str]:
    """The rules broken by moving one pod from node a to node b."""
    objects = [node("a"), node("b"), moved, *others]
    return rules_broken(objects, plan(objects, step([moved], [(moved, "b")]), **spec))


def job(*rules: Json) -> Json:
    metadata = {"name": "sum", "namespace": "team-a", "uid": "uid-Job/sum"}
    return {"kind": "Job", "metadata": metadata, "spec": {"podFailurePolicy": {"rules": rules}}}


@pytest.mark.parametrize("owner", ["ReplicaSet/web", "StatefulSet/db"])
def test_pods_that_a_controller_recreates_may_move(owner: str) -> None:
    assert departure(pod("p", "a", owner=owner)) == set()


@pytest.mark.parametrize("owner", ["", "DaemonSet/agent", "Node/a", "Job/sum", "Train/x"])
def test_other_pods_stay(owner: str) -> None:
    assert departure(pod("p", "a", owner=owner)) == {"PodNotMovable"}


@pytest.mark.parametrize("owner", ["", "Job/sum", "Train/x"])
def test_other_pods_may_join_by_annotation(owner: str) -> None:
    annotated = pod("p", "a", owner=owner, annotations={"fairstow.dev/movable": "true"})
    assert departure(annotated) == set()


def test_a_replica_set_of_another_api_group_is_not_known() -> None:
    moved = pod("p", "a")
    moved["metadata"]["ownerReferences"][0]["apiVersion"] = "example.com/v1"
    assert departure(moved) == {"PodNotMovable"}


def test_an_owner_that_is_no_controller_recreates_nothing() -> None:
    moved = pod("p", "a")
    moved["metadata"]["ownerReferences"][0]["controller"] = False
    assert "PodNotMovable" in departure(moved)


@pytest.mark.parametrize("medium", ["Memory", "HugePages", "HugePages-2Mi"])
def test_an_empty_dir_in_memory_is_not_local_storage(medium: str) -> None:
    assert departure(pod("p", "a", volumes=[{"emptyDir": {"medium": medium}}])) == set()


@pytest.mark.parametrize(
    ("rules", "movable"),
    [
        ([IGNORE], True),
        ([FAIL_ON_EXIT, IGNORE], False),
        ([IGNORE, FAIL_ON_EXIT], True),
        ([IGNORE | {"action": "Count"}], False),
        ([{"action": "Ignore", "onPodConditions": [{"type": "ConfigIssue"}]}], False),
        ([], False),
    ],
)
def test_a_jobs_pods_move_only_if_it_ignores_disruptions(rules: list[Json], movable: bool) -> None:
    found = departure(pod("p", "a", owner="Job/sum"), job(*rules))
    assert found == (set() if movable else {"PodNotMovable"})


def test_a_job_of_the_same_name_is_another_job() -> None:
    for key, value in (("uid", "another"), ("namespace", "team-b")):
        other = job(IGNORE)
        other["metadata"][key] = value
        assert departure(pod("p", "a", owner="Job/sum"), other) == {"PodNotMovable"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fairstow.dev/do-not-disrupt", "true"),
        ("karpenter.sh/do-not-disrupt", "true"),
        ("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"),
    ],
)
def test_annotations_that_forbid_win_over_the_one_that_allows(key: str, value: str) -> None:
    allowed = {"fairstow.dev/movable": "true"}
    assert departure(pod("p", "a", annotations=allowed | {key: value})) == {"PodNotMovable"}
    assert departure(pod("p", "a", annotations=allowed | {key: "other"})) == set()


def test_pods_that_are_never_disturbed() -> None:
    terminating = pod("p", "a")
    terminating["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    for moved in (
        terminating,
        pod("p", "a", priority=2_000_000_000),
        pod("p", "a", namespace="kube-system"),
        pod("p", "a", annotations={"kubernetes.io/config.mirror": "x"}),
        pod("p", "a", labels={"app.kubernetes.io/part-of": "fairstow"}),
        pod("p", "a", volumes=[{"hostPath": {"path": "/data"}}]),
        pod("p", "a", volumes=[{"emptyDir": {}}]),
    ):
        assert departure(moved) == {"PodNotMovable"}


def test_a_high_but_not_critical_priority_may_move() -> None:
    assert departure(pod("p", "a", priority=1_999_999_999)) == set()


def test_a_moved_pod_is_judged_as_an_arrival_too() -> None:
    assert departure(pod("p", "a", nodeSelector={"host": "a"})) == {"NodeSelectorMismatch"}


def test_a_pod_is_legal_where_it_stays() -> None:
    stays = pod("stays", "a", gpu=99, nodeSelector={"gone": "x"})
    assert departure(pod("p", "a"), stays) == set()


def moves(allowed: int, *steps: list[int], **status: Any) -> set[str]:
    """The rules broken by moving web pods 0 to 3 in steps, given by their numbers."""
    pods = [pod(f"web-{i}", "a", labels=WEB) for i in range(4)]
    objects = [node("a"), node("b"), budget("web", WEB, allowed, **status), *pods]
    a_plan = plan(
        objects, *(step(chosen := [pods[i] for i in s], [(p, "b") for p in chosen]) for s in steps)
    )
    return rules_broken(objects, a_plan)


def test_a_budget_limits_who_is_down_at_once() -> None:
    assert moves(1, [0], [1], [2]) == set()
    assert moves(2, [0, 1], [2, 3]) == set()
    assert moves(1, [0, 1]) == {"BudgetExceeded"}
    assert moves(2, [0], [1, 2, 3]) == {"BudgetExceeded"}


def test_a_budget_that_allows_nothing_or_has_a_stale_status_forbids() -> None:
    assert moves(0, [0]) == {"BudgetForbids"}
    assert moves(5, [0], observedGeneration=0) == {"BudgetForbids"}
    assert moves(5, [0], disruptionsAllowed=None) == {"BudgetForbids"}


def test_a_pod_under_two_budgets_stays() -> None:
    moved, both = pod("p", "a", labels=WEB), [budget("one", WEB, 5), budget("two", WEB, 5)]
    assert departure(moved, *both) == {"BudgetForbids"}
    assert departure(moved, both[0]) == set()


@pytest.mark.parametrize(("selector", "covers"), [({}, True), (None, False)])
def test_an_empty_budget_selector_covers_the_namespace(selector: object, covers: bool) -> None:
    everyone = budget("all", {}, 0)
    everyone["spec"]["selector"] = selector
    assert departure(pod("p", "a"), everyone) == ({"BudgetForbids"} if covers else set())
    assert departure(pod("p", "a", namespace="team-b"), everyone) == set()


def evictions(allowed: int, *steps: list[int]) -> set[str]:
    """The rules broken when web pods are evicted for good, and one more pod moved, in steps."""
    pods = [pod(f"web-{i}", "a", labels=WEB) for i in range(4)]
    urgent = pod("urgent", priority=10)
    objects = [node("a"), node("b"), budget("web", WEB, allowed), *pods, urgent]
    made = [step([pods[i] for i in s], [(pods[i], "b") for i in s if i == 3]) for s in steps]
    return rules_broken(objects, plan(objects, *made, step(bind=[(urgent, "b")])))


def test_evictions_for_good_use_a_budget_up() -> None:
    assert evictions(2, [0], [1]) == set()
    assert evictions(2, [0], [3]) == set()
    assert evictions(2, [0], [1], [3]) == {"BudgetExceeded"}
    assert evictions(2, [0], [1], [2]) == {"BudgetExceeded"}
    assert evictions(2, [3], [0], [1]) == set()


def eviction(victim: int, placed: int, policy: str | None = None, **spec: Any) -> set[str]:
    """The rules broken when a pod makes way, with these priorities, for a pod on the same node."""
    out, new = pod("out", "a", gpu=8, priority=victim), pod("new", gpu=8, priority=placed)
    if policy:
        new["spec"]["preemptionPolicy"] = policy
    objects = [node("a"), out, new]
    return rules_broken(objects, plan(objects, step([out], [(new, "a")]), **spec))


def test_only_lower_priority_is_evicted_for_good() -> None:
    assert eviction(0, 10) == set()
    assert eviction(0, 10, "PreemptLowerPriority") == set()
    assert eviction(10, 10) == {"EvictionPriority"}
    assert eviction(11, 10) == {"EvictionPriority", "WorseThanBefore"}
    assert eviction(0, 10, "Never") == {"EvictionPriority"}


def test_the_papers_rules_evict_equal_priority_and_ignore_the_preemption_policy() -> None:
    assert eviction(10, 10, rules="Paper") == set()
    assert eviction(0, 10, "Never", rules="Paper") == set()
    assert eviction(11, 10, rules="Paper") == {"EvictionPriority", "WorseThanBefore"}


def test_an_eviction_without_any_placement_is_never_legal() -> None:
    objects = [node("a"), out := pod("out", "a")]
    assert "EvictionPriority" in rules_broken(objects, plan(objects, step([out])))
