"""Fairstow's rules against the real scheduler's filters, on random clusters.

Covers every filter of the default profile but DynamicResources: each verdict of `cluster.rules`
and `cluster.state` on a pod and a node is compared with what kube-scheduler's own PreFilter and
Filter plugins say about the same objects. Documented differences, where Fairstow is stricter, are
tested one by one. Not covered: scoring and preemption, which decide where a pod goes, not where it
may; old versions of Kubernetes (the scheduler linked here is 1.37).
"""

from __future__ import annotations

import copy
import random
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from e2e.controlplane.build import VERDICTS, BuildError, ensure
from e2e.verdicts import Verdict, verdicts
from fairstow.cluster.items import item
from fairstow.cluster.project import build
from fairstow.cluster.rules import Refusal, Rule, Rules, deficits
from fairstow.cluster.state import State
from tests.cluster.random_clusters import Cluster, cluster
from tests.cluster.random_pods import Uses

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fairstow.cluster.snapshot import Snapshot

pytestmark = pytest.mark.e2e

STATIC = Uses.ROOM | Uses.NODES | Uses.GUARDS
RESIZE = "an unfinished in-place resize"  # the scheduler would ask for what the spec says
PLUGIN = {
    Rule.CORDONED: {"NodeUnschedulable"},
    Rule.TAINT: {"TaintToleration"},
    Rule.AFFINITY: {"NodeAffinity", "PreFilter"},
    Rule.PORTS: {"NodePorts"},
    Rule.ROOM: {"NodeResourcesFit"},
    Rule.CLAIM: {"VolumeBinding", "VolumeRestrictions", "VolumeZone", "NodeVolumeLimits"},
    Rule.VOLUME_NODE: {"VolumeBinding", "VolumeZone"},
    Rule.VOLUME_LIMIT: {"NodeVolumeLimits"},
    Rule.SPREAD: {"PodTopologySpread"},
    Rule.POD_AFFINITY: {"InterPodAffinity"},
    Rule.OWN_ANTI_AFFINITY: {"InterPodAffinity"},
    Rule.ANTI_AFFINITY: {"InterPodAffinity"},
    Rule.FEATURES: {"NodeDeclaredFeatures"},
}


@pytest.fixture(scope="module", autouse=True)
def program(pytestconfig: pytest.Config) -> None:
    """Build the program that answers for the scheduler, if need be, with progress."""
    capture: Any = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        try:
            ensure(VERDICTS)
        except BuildError as error:
            pytest.skip(f"no scheduler to ask: {error}")


def snapshot(objects: Iterable[dict[str, Any]]) -> Snapshot:
    return build(item("random", index, content) for index, content in enumerate(objects))


def judged(clusters: list[Cluster]) -> list[dict[tuple[str, str], Verdict]]:
    return verdicts((c.objects, list(c.pods)) for c in clusters)


def test_static_rules_and_room() -> None:
    kinds = (Uses.ROOM, Uses.NODES, Uses.GUARDS, STATIC)
    clusters = [cluster(seed, kinds[seed % len(kinds)]) for seed in range(200)]
    seen: Counter[str] = Counter()
    for number, (made, said) in enumerate(zip(clusters, judged(clusters), strict=True)):
        whole = snapshot(made.objects)
        for pod in whole.pods:
            if pod.shape.unmodelled:
                continue
            without = replace(whole, pods=tuple(p for p in whole.pods if p is not pod))
            rules = Rules(without)
            for node in without.nodes:
                refusal = rules.static_refusal(pod, node)
                short = deficits(pod.shape, without.free(node))
                verdict = said[pod.uid, node.name]
                where = f"seed {number}, {pod.uid} on {node.name}: {refusal} {short} {verdict}"
                assert (refusal is None and not short) == verdict.accepted, where
                seen[verdict.plugin] += 1
    assert seen.total() >= 10_000
    for plugin in ("", "NodeUnschedulable", "TaintToleration", "NodeAffinity", "PreFilter"):
        assert seen[plugin] >= 100, seen
    assert min(seen["NodeResourcesFit"], seen["InterPodAffinity"]) >= 300, seen


def agree(refusals: tuple[Refusal, ...], verdict: Verdict) -> bool:
    """Whether a state and the scheduler say the same, the reason included.

    What isn't considered may be refused either way; all other rules must be right then, too.
    """
    definite = [r.rule for r in refusals if r.rule is not Rule.NOT_CONSIDERED]
    if verdict.accepted:
        return not definite
    if len(definite) < len(refusals):
        return True
    return any(verdict.plugin in PLUGIN[rule] for rule in definite)


def compare(made: Cluster, state: State, said: dict[tuple[str, str], Verdict]) -> Counter[str]:
    """Ask a state about every pod on every node, and count the scheduler's answers."""
    seen: Counter[str] = Counter()
    found = snapshot(made.objects)
    for pod in found.pods:
        home = state.home(pod)
        if home is not None:
            state.remove(pod)
        for node in found.nodes:
            refusals, verdict = state.refusals(pod, node), said[pod.uid, node.name]
            if RESIZE in pod.shape.unmodelled:
                assert Rule.NOT_CONSIDERED in {r.rule for r in refusals}
                continue
            assert agree(refusals, verdict), f"{pod.uid} on {node.name}: {refusals} {verdict}"
            assert state.refusal(pod, node) == next(iter(refusals), None)
            unsure = {r.rule for r in refusals} == {Rule.NOT_CONSIDERED}
            seen["not considered" if unsure else verdict.plugin] += 1
        if home is not None:
            state.add(pod, home)
    return seen


@pytest.mark.parametrize(
    ("uses", "plugins"),
    [
        (Uses.SPREAD, {"PodTopologySpread": 900}),
        (Uses.SPREAD | Uses.NODES, {"PodTopologySpread": 200}),
        (Uses.AFFINITY, {"InterPodAffinity": 2000}),
        (Uses.AFFINITY | Uses.NODES, {"InterPodAffinity": 500}),
        (Uses.PORTS, {"NodePorts": 200}),
        (Uses.FEATURES, {"NodeDeclaredFeatures": 900}),
        (
            Uses.VOLUMES,
            {
                "VolumeBinding": 1000,
                "VolumeRestrictions": 300,
                "NodeVolumeLimits": 700,
                "VolumeZone": 200,
            },
        ),
        (
            Uses.NOMINATED | Uses.ROOM | Uses.PORTS | Uses.SPREAD,
            {"NodeResourcesFit": 2000, "NodePorts": 200, "PodTopologySpread": 100},
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, Uses) else "",
)
def test_every_rule(uses: Uses, plugins: dict[str, int]) -> None:
    clusters = [cluster(seed, uses) for seed in range(1000, 1080)]
    seen: Counter[str] = Counter()
    for made, said in zip(clusters, judged(clusters), strict=True):
        seen += compare(made, State(snapshot(made.objects)), said)
    assert seen[""] >= 1000, seen
    assert seen["not considered"] < seen.total() / 20, seen
    assert all(seen[plugin] >= least for plugin, least in plugins.items()), seen


EVERYTHING = ~Uses.NOMINATED


@pytest.mark.parametrize(
    "uses",
    [
        Uses.ROOM | Uses.SPREAD | Uses.PORTS | Uses.NOMINATED,
        Uses.ROOM | Uses.AFFINITY | Uses.SPREAD,
        Uses.VOLUMES | Uses.SPREAD,
        EVERYTHING,
    ],
    ids=str,
)
def test_after_pods_have_come_and_gone(uses: Uses) -> None:
    clusters, states = [], []
    for seed in range(2000, 2060):
        made = cluster(seed, uses)
        state = State(snapshot(made.objects))
        shuffle(random.Random(seed), made, state)
        clusters.append(made)
        states.append(state)
    seen: Counter[str] = Counter()
    for made, state, said in zip(clusters, states, judged(clusters), strict=True):
        seen += compare(made, state, said)
    assert seen[""] >= 100, seen
    assert seen.total() >= 4000


def shuffle(rng: random.Random, made: Cluster, state: State) -> None:
    """Move pods about in the state, then in the objects."""
    found = snapshot(made.objects)
    for _ in range(30):
        pod = rng.choice(found.pods)
        if state.home(pod) is not None:
            state.remove(pod)
        elif fitting := [n for n in found.nodes if state.refusal(pod, n) is None]:
            state.add(pod, rng.choice(fitting))
    for pod in found.pods:
        raw = made.pods[pod.uid] = copy.deepcopy(made.pods[pod.uid])
        home = state.home(pod)
        waits = home is not None and not pod.node and pod.nominated == home.name
        raw["spec"].pop("nodeName", None)
        raw["status"].pop("nominatedNodeName", None)
        raw["status"]["phase"] = "Pending"
        if home is not None and waits:
            raw["status"]["nominatedNodeName"] = home.name
        elif home is not None:
            raw["spec"]["nodeName"] = home.name
            raw["status"]["phase"] = "Running"


@pytest.mark.parametrize(
    "change",
    [
        {"status": {"conditions": [{"type": "Ready", "status": "False"}]}},
        {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b"]}},
        {"spec": {"taints": [{"key": "karpenter.sh/disrupted", "effect": "PreferNoSchedule"}]}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_stricter_about_nodes_that_fail_or_go(change: dict[str, Any]) -> None:
    made = cluster(0, Uses(0), nodes=1, pods=1)
    for part, fields in change.items():
        made.nodes[0][part] |= fields
    (said,) = judged([made])
    found = snapshot(made.objects)
    (pod,), (node,) = found.pods, found.nodes
    assert said[pod.uid, node.name].accepted
    refusal = Rules(found).static_refusal(pod, node)
    assert refusal is not None
    assert refusal.rule is Rule.CLOSED


def test_stricter_about_nominated_pods_of_lower_priority() -> None:
    made = cluster(0, Uses(0), nodes=1, pods=2)
    made.nodes[0]["status"]["allocatable"]["pods"] = "1"
    high, low = made.pods.values()
    for raw, priority in ((high, 10), (low, 0)):
        raw["spec"] |= {"priority": priority}
        raw["spec"].pop("nodeName", None)
        raw["status"]["phase"] = "Pending"
    low["status"]["nominatedNodeName"] = "node-0"
    (said,) = judged([made])
    found = snapshot(made.objects)
    assert said[high["metadata"]["uid"], "node-0"].accepted
    pod = next(p for p in found.pods if p.shape.priority == 10)
    assert [r.rule for r in State(found).refusals(pod, found.nodes[0])] == [Rule.ROOM]


def test_a_spread_that_selects_all_counts_nominated_pods_alone() -> None:
    """An oddity of the scheduler: such a constraint counts no pod that runs."""
    made = cluster(0, Uses(0), nodes=2, pods=4)
    rule = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    for raw, zone in zip(made.nodes, "ab", strict=True):
        raw["metadata"]["labels"]["zone"] = zone
    arriving, *others = made.pods.values()
    for raw in made.pods.values():
        raw["metadata"]["namespace"] = "alpha"
        raw["metadata"].pop("deletionTimestamp", None)
        raw["spec"].pop("nodeName", None)
    arriving["spec"]["topologySpreadConstraints"] = [rule | {"labelSelector": {}}]
    for raw in others[:-1]:
        raw["spec"]["nodeName"] = "node-0"
    others[-1]["status"] = {"phase": "Pending", "nominatedNodeName": "node-1"}
    (said,) = verdicts([(made.objects, [arriving["metadata"]["uid"]])])
    found = snapshot(made.objects)
    state = State(found)
    (pod,) = (p for p in found.pods if p.shape.spread)
    accepted = [state.refusal(pod, n) is None for n in found.nodes]
    assert accepted == [said[pod.uid, n.name].accepted for n in found.nodes] == [True, False]
