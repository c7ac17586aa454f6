"""Fairstow's rules against the real scheduler's filters, on random clusters.

Covers every filter of the default profile but DynamicResources: each verdict of `cluster.rules` on
a pod and a node is compared with what kube-scheduler's own PreFilter and Filter plugins say about
the same objects. Documented differences, where Fairstow is stricter, are tested one by one. Not
covered: scoring and preemption, which decide where a pod goes, not where it may; old versions of
Kubernetes (the scheduler linked here is 1.37).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from e2e.controlplane.build import VERDICTS, BuildError, ensure
from e2e.random_clusters import Cluster, cluster
from e2e.random_pods import Uses
from e2e.verdicts import Verdict, verdicts
from fairstow.cluster.items import item
from fairstow.cluster.project import build
from fairstow.cluster.rules import Rule, Rules, deficits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fairstow.cluster.snapshot import Snapshot

pytestmark = pytest.mark.e2e

MODELLED = Uses.ROOM | Uses.NODES | Uses.GUARDS


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
    kinds = (Uses.ROOM, Uses.NODES, Uses.GUARDS, MODELLED)
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


@pytest.mark.parametrize(
    "change",
    [
        {"status": {"conditions": [{"type": "Ready", "status": "False"}]}},
        {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b"]}},
        {"spec": {"taints": [{"key": "karpenter.sh/disrupted", "effect": "PreferNoSchedule"}]}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_stricter_than_the_scheduler_about_nodes_that_fail_or_go(change: dict[str, Any]) -> None:
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
