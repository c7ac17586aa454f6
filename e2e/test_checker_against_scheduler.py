"""The plan checker's rules against the real scheduler's filters, on random clusters.

Every verdict of the checker on a plan of one step, a placement of a pending pod or a move of a
running one, is compared with what kube-scheduler's own PreFilter and Filter plugins say about the
same pod and node. The checker may only be stricter, only in the points named here, and seldom.
Not covered: steps that build on one another, movability and budgets (tests/packing), gangs and
ResourceClaims, which no filter here knows.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from e2e.controlplane.build import VERDICTS, BuildError, ensure
from e2e.verdicts import Verdict, verdicts
from fairstow.packing.checker import Rule, check
from tests.cluster.random_clusters import Cluster, cluster
from tests.cluster.random_pods import Uses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.random_pods import Json

pytestmark = pytest.mark.e2e

SEEDS = 4
"""Clusters of each kind; one makes up to 84 verdicts."""

EACH = (
    Uses.ROOM,
    Uses.NODES,
    Uses.GUARDS,
    Uses.AFFINITY,
    Uses.SPREAD,
    Uses.PORTS,
    Uses.FEATURES,
)
TOGETHER = (
    Uses.ROOM | Uses.NODES | Uses.GUARDS,
    Uses.NODES | Uses.SPREAD,
    Uses.AFFINITY | Uses.SPREAD | Uses.PORTS,
)
NOMINATED = (
    Uses.NOMINATED | Uses.ROOM | Uses.PORTS,
    Uses.NOMINATED | Uses.AFFINITY | Uses.SPREAD,
    Uses.NOMINATED | Uses.VOLUMES,
)
NOT_ABOUT_ARRIVAL = {
    Rule.POD_NOT_MOVABLE,
    Rule.MOVE_TO_SAME_NODE,
    Rule.TIER_LIST_MISMATCH,
    Rule.COST_MISMATCH,
    Rule.REQUESTS_MISMATCH,
}
PLUGINS = (
    "NodeUnschedulable",
    "TaintToleration",
    "NodeAffinity",
    "NodeDeclaredFeatures",
    "NodeResourcesFit",
    "NodePorts",
    "InterPodAffinity",
    "PodTopologySpread",
    "VolumeBinding",
    "VolumeRestrictions",
    "VolumeZone",
    "NodeVolumeLimits",
)


@pytest.fixture(scope="module", autouse=True)
def program(pytestconfig: pytest.Config) -> None:
    """Build the program that answers for the scheduler, if need be, with progress."""
    capture: Any = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        try:
            ensure(VERDICTS)
        except BuildError as error:
            pytest.skip(f"no scheduler to ask: {error}")


def one_step(pod: Json, node: str) -> Json:
    """A plan that places the pod on the node, or moves it there."""
    ref = {key: pod["metadata"][key] for key in ("namespace", "name", "uid")}
    came_from = pod["spec"].get("nodeName")
    moves = [ref | {"from": came_from, "to": node}] if came_from else []
    placements = [] if came_from else [ref | {"node": node}]
    spec = {
        "snapshotHash": "0" * 32,
        "rules": "Product",
        "order": "PlaceFirst",
        "seed": 0,
        "window": "1s",
        "budgets": "Known",
        "cost": len(moves),
        "moves": moves,
        "placements": placements,
        "steps": [{"evict": [ref] if came_from else [], "bind": [ref | {"node": node}]}],
    }
    return {
        "apiVersion": "fairstow.dev/v1alpha1",
        "kind": "PackingPlan",
        "metadata": {"name": "plan"},
        "spec": spec,
    }


def recreated_differently(pod: Json) -> bool:
    """Whether the pod that replaces a moved one isn't the one that the scheduler was asked about.

    It has its ephemeral volumes anew, and while a resize isn't finished nobody knows its size.
    """
    if "nodeName" not in pod["spec"]:
        return False
    scratch = any("ephemeral" in volume for volume in pod["spec"].get("volumes", ()))
    return scratch or "containerStatuses" in pod["status"]


def refusals(made: Cluster, pod: Json, node: str) -> dict[str, str]:
    """What the checker says of the arrival: messages by rule."""
    found = check(made.objects, one_step(pod, node), budgets_known=True)
    assert found.steps_replayed == 1, found
    return {v.rule: v.message for v in found.violations if v.rule not in NOT_ABOUT_ARRIVAL}


def compared(uses: Uses, seeds: int) -> Iterator[tuple[dict[str, str], Verdict, str]]:
    """Yield the checker's refusals, the scheduler's verdict and where they come from."""
    clusters = [cluster(seed, uses) for seed in range(seeds)]
    said = verdicts((c.objects, list(c.pods)) for c in clusters)
    for seed, (made, theirs) in enumerate(zip(clusters, said, strict=True)):
        for uid, pod in made.pods.items():
            if pod["status"].get("nominatedNodeName") or recreated_differently(pod):
                continue
            for node in made.nodes:
                name = node["metadata"]["name"]
                ours = refusals(made, pod, name)
                yield ours, theirs[uid, name], f"{uses}, seed {seed}, {uid} on {name}: {ours}"


def agreed(uses: Uses, stricter: set[Rule], seeds: int = SEEDS) -> Counter[str]:
    """Assert that nothing is let through that the scheduler refuses, and count verdicts by plugin.

    What the checker refuses by itself must break rules of `stricter` only; it counts as "stricter".
    """
    seen: Counter[str] = Counter()
    for ours, theirs, where in compared(uses, seeds):
        if theirs.accepted and ours:
            assert ours.keys() <= stricter, where
            seen["stricter"] += 1
        else:
            assert bool(ours) != theirs.accepted, f"{where} {theirs}"
            seen[theirs.plugin] += 1
    return seen


def test_every_rule_alone_and_together() -> None:
    seen: Counter[str] = Counter()
    for uses in (*EACH, *TOGETHER):
        seen += agreed(uses, set())
    # Volumes that nobody makes on demand, and drivers that count their room.
    seen += agreed(Uses.VOLUMES, {Rule.RULE_NOT_MODELLED}, seeds=12)
    assert seen.total() >= 3_000, seen
    assert min(seen[plugin] for plugin in ("", *PLUGINS)) >= 15, seen
    assert seen["stricter"] <= seen.total() // 100, seen


def test_pods_nominated_to_nodes() -> None:
    seen: Counter[str] = Counter()
    for uses in NOMINATED:
        # The scheduler looks at those nominated to the node in question only.
        stricter = {Rule.ANTI_AFFINITY_CONFLICT, Rule.VOLUME_IN_USE, Rule.RULE_NOT_MODELLED}
        seen += agreed(uses, stricter)
    assert seen.total() >= 500, seen
    assert seen["stricter"] <= seen.total() // 25, seen


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (
            {"status": {"conditions": [{"type": "Ready", "status": "False"}]}},
            Rule.NODE_NOT_READY,
        ),
        (
            {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b"]}},
            Rule.NODE_BEING_DELETED,
        ),
        (
            {"spec": {"taints": [{"key": "karpenter.sh/disrupted", "effect": "PreferNoSchedule"}]}},
            Rule.NODE_BEING_DELETED,
        ),
    ],
)
def test_stricter_about_nodes_that_fail_or_go(change: dict[str, Any], rule: Rule) -> None:
    made = cluster(0, Uses(0), nodes=1, pods=1)
    for part, fields in change.items():
        made.nodes[0][part] |= fields
    ((said,),) = (v.values() for v in verdicts([(made.objects, list(made.pods))]))
    assert said.accepted
    (pod,) = made.pods.values()
    assert refusals(made, pod, made.nodes[0]["metadata"]["name"]).keys() == {rule}


def test_stricter_about_the_size_of_a_pod_whose_resize_is_not_finished() -> None:
    made = cluster(0, Uses(0), nodes=2, pods=1)
    (pod,) = made.pods.values()
    first, second = (node["metadata"]["name"] for node in made.nodes)
    pod["spec"] |= {"nodeName": first}
    pod["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1"}}
    allocated = {"name": "main", "allocatedResources": {"cpu": "65"}}
    pod["status"] = {"phase": "Running", "containerStatuses": [allocated]}
    (said,) = verdicts([(made.objects, list(made.pods))])
    assert said[pod["metadata"]["uid"], second].accepted
    assert refusals(made, pod, second).keys() == {Rule.INSUFFICIENT_RESOURCES}
