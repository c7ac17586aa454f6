"""Random small clusters for the planner's properties, and the whole truth about them.

`clusters` draws raw objects; `best` tries every layout of a cluster. Both know room, priorities,
movability and selectors only: what they leave out, the checker's own tests cover.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from hypothesis import strategies as st

from fairstow.cluster.dump import Item
from fairstow.cluster.project import build
from fairstow.cluster.snapshot import Snapshot
from fairstow.packing.model import Decision, Order, Proof
from tests.packing.checker_clusters import GPU, Json, ago, beating, budget, node, pod, work


def snapshot(objects: list[Json]) -> Snapshot:
    """The snapshot of raw objects."""
    return build(
        Item("test", i, o["kind"], msgspec.Raw(msgspec.json.encode(o)))
        for i, o in enumerate(objects)
    )


@st.composite
def clusters(
    draw: st.DrawFn, *, budgets: bool = False, preempting: bool = False, working: bool = False
) -> list[Json]:
    """Two to four nodes, up to eight running pods where they fit, up to four pending ones.

    If `working`, some of those that run have work to lose.
    """
    sizes = draw(st.lists(st.sampled_from((1, 2, 4, 8)), min_size=2, max_size=4))
    nodes = [beating(node(f"n{i}", gpu=g, cpu="16")) for i, g in enumerate(sizes)]
    room = {f"n{i}": g for i, g in enumerate(sizes)}
    objects: list[Json] = list(nodes)
    for i in range(draw(st.integers(0, 8))):
        on = draw(st.sampled_from(sorted(room)))
        gpu = draw(st.integers(0, 4))
        if gpu <= room[on]:
            room[on] -= gpu
            item = _pod(draw, f"run-{i}", on, gpu, preempting=preempting)
            objects.append(_at_work(draw, item) if working else item)
    for i in range(draw(st.integers(1, 4))):
        gpu = draw(st.integers(1, 8))
        objects.append(_pod(draw, f"wait-{i}", "", gpu, preempting=preempting))
    if budgets:
        objects.append(budget("guard", {"app": "a"}, draw(st.integers(0, 2))))
    return objects


def _pod(draw: st.DrawFn, name: str, on: str, gpu: int, *, preempting: bool) -> Json:
    spec: Json = {} if preempting and draw(st.booleans()) else {"preemptionPolicy": "Never"}
    if draw(st.integers(0, 5)) == 0:
        spec["nodeSelector"] = {"host": on or "n0"}
    stays = bool(on) and draw(st.integers(0, 4)) == 0
    return pod(
        name,
        on,
        gpu=gpu,
        priority=draw(st.sampled_from((0, 100, 1000))),
        labels={"app": draw(st.sampled_from("ab"))},
        owner="" if stays else "ReplicaSet/web",
        **spec,
    )


def _at_work(draw: st.DrawFn, item: Json) -> Json:
    """Give a pod that may move and runs an owner whose pods lose work, or not."""
    hours = draw(st.sampled_from((None, 0, 1, 1, 5, 50)))
    if hours is not None and (owners := item["metadata"]["ownerReferences"]):
        owners[0] |= {"kind": "StatefulSet", "name": "train"}
        item["status"]["startTime"] = ago(hours)
    return item


class Best(NamedTuple):
    """Attributes: placed: pods with a node by tier, highest first; cost: least for that."""

    placed: tuple[int, ...]
    cost: int


def best(
    objects: list[Json], allowed: Callable[[list[Json], Sequence[str]], bool] | None = None
) -> Best:
    """Try every layout without evictions: most pods by tier, then least cost.

    `allowed` is asked about layouts that have room: the pods, and the node of each or "".
    """
    nodes = [o for o in objects if o["kind"] == "Node"]
    pods = [o for o in objects if o["kind"] == "Pod"]
    tiers = sorted({p["spec"].get("priority", 0) for p in pods}, reverse=True)
    choices = [_choices(p, nodes) for p in pods]
    found: list[tuple[tuple[int, ...], int]] = []
    for layout in itertools.product(*choices):
        if all(_fits(n, pods, layout) for n in nodes) and (not allowed or allowed(pods, layout)):
            placed = tuple(
                sum(
                    bool(on) and p["spec"].get("priority", 0) == tier
                    for p, on in zip(pods, layout, strict=True)
                )
                for tier in tiers
            )
            cost = sum(
                1 + work(p)
                for p, on in zip(pods, layout, strict=True)
                if p["spec"].get("nodeName", "") not in ("", on)
            )
            found.append((placed, -cost))
    placed, minus_cost = max(found)
    return Best(placed, -minus_cost)


def proofs_are_true(decision: Decision, truth: Sequence[int], order: Order) -> None:
    """Assert that no bound is beaten by what could be placed, as far as each order proves it."""
    for tier, most in zip(decision.tiers, truth, strict=True):
        if order is Order.PLACE_FIRST:
            assert tier.bound >= most
        if tier.proof is Proof.GAP or (order is Order.TIER_BY_TIER and tier.after < most):
            break
        assert tier.after == most


def never_contradicted(decision: Decision, truth: tuple[int, ...]) -> None:
    """Assert that a plan is no better than the truth, and the truth wherever it says so.

    A proof speaks of the pods that are tried.
    """
    assert tuple(t.after for t in decision.tiers) <= truth
    for index, tier in enumerate(decision.tiers):
        if tier.proof is Proof.GAP or tier.left_out:
            break
        assert tier.after == truth[index]


def _choices(item: Json, nodes: list[Json]) -> list[str]:
    here = item["spec"].get("nodeName", "")
    if here and not item["metadata"]["ownerReferences"]:
        return [here]
    wanted = item["spec"].get("nodeSelector", {})
    may = [
        n["metadata"]["name"] for n in nodes if wanted.items() <= n["metadata"]["labels"].items()
    ]
    return sorted({*may, here})


def _fits(item: Json, pods: list[Json], layout: tuple[str, ...]) -> bool:
    there = [p for p, on in zip(pods, layout, strict=True) if on == item["metadata"]["name"]]
    room = item["status"]["allocatable"]
    return _gpus(there) <= int(room[GPU]) and len(there) <= int(room["cpu"])


def _gpus(pods: list[Json]) -> int:
    def of(item: Json) -> int:
        requests: dict[str, Any] = item["spec"]["containers"][0]["resources"]["requests"]
        return int(requests[GPU])

    return sum(of(p) for p in pods)
