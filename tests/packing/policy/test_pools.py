"""Which nodes a pool has, why its pods wait, and its status.

Covered: selectors against Kubernetes' meaning (an independent evaluation), every reason a pod waits
for, figures that add up over random clusters, conditions. Not covered: fragmentation itself
(test_fragmentation).
"""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fairstow.api import GpuPool, Reason
from fairstow.packing.policy.membership import members
from fairstow.packing.policy.pool_status import pool_status, survey
from tests.packing.checker_clusters import Json, node, pod
from tests.packing.clusters import clusters, snapshot
from tests.packing.policy.objects import NOON, pool

KEYS, VALUES = st.sampled_from("abc"), st.sampled_from("xyz")
EXPRESSIONS = st.lists(
    st.one_of(
        st.builds(
            lambda k, o, v: {"key": k, "operator": o, "values": v},
            KEYS,
            st.sampled_from(("In", "NotIn")),
            st.lists(VALUES, min_size=1, max_size=2),
        ),
        st.builds(
            lambda k, o: {"key": k, "operator": o},
            KEYS,
            st.sampled_from(("Exists", "DoesNotExist")),
        ),
    ),
    max_size=3,
)


def labelled(name: str, labels: dict[str, str], **more: Any) -> Json:
    item = node(name, **more)
    item["metadata"]["labels"] |= labels
    return item


def meant(labels: dict[str, str], equal: dict[str, str], expressions: list[Json]) -> bool:
    """Label selectors as the Kubernetes documentation words them."""
    for key, value in equal.items():
        if key not in labels or labels[key] != value:
            return False
    for each in expressions:
        key, values = each["key"], each.get("values", [])
        match each["operator"]:
            case "In":
                if key not in labels or labels[key] not in values:
                    return False
            case "NotIn":
                if key in labels and labels[key] in values:
                    return False
            case "Exists":
                if key not in labels:
                    return False
            case _:
                if key in labels:
                    return False
    return True


@given(
    nodes=st.lists(st.dictionaries(KEYS, VALUES), min_size=1, max_size=4),
    equal=st.dictionaries(KEYS, VALUES, max_size=2),
    expressions=EXPRESSIONS,
)
def test_selectors_mean_what_kubernetes_says(
    nodes: list[dict[str, str]], equal: dict[str, str], expressions: list[Json]
) -> None:
    seen = snapshot([labelled(f"n{i}", labels) for i, labels in enumerate(nodes)])
    given_pool = pool(nodeSelector={"matchLabels": equal, "matchExpressions": expressions})
    found = {n.name for n in members(given_pool.spec, seen.nodes)}
    assert found == {f"n{i}" for i, labels in enumerate(nodes) if meant(labels, equal, expressions)}


def test_without_a_selector_it_has_every_node_with_the_accelerator() -> None:
    seen = snapshot([node("gpu", gpu=1), node("none", gpu=0)])
    assert [n.name for n in members(pool().spec, seen.nodes)] == ["gpu"]
    other = pool(acceleratorResource="amd.com/gpu")
    assert members(other.spec, seen.nodes) == ()


A100: Json = {"nodeSelector": {"matchLabels": {"product": "a100"}}}
TAINT = {"key": "dedicated", "value": "ml", "effect": "NoSchedule"}
ON_A100: Json = {"nodeSelector": {"product": "a100"}}


def a100(name: str, **more: Any) -> Json:
    return labelled(name, {"product": "a100"}, **more)


def why(objects: list[Json], given_pool: GpuPool | None = None) -> dict[str, Reason]:
    view = survey(given_pool or pool(**A100), snapshot(objects))
    return {p.name: reason for p, reason in view.waiting.pods}


def test_why_a_pod_waits() -> None:
    nodes = [a100("n1", gpu=4), a100("n2", gpu=4)]
    full = [pod(f"r{n}", n, gpu=3) for n in ("n1", "n2")]
    big = pod("big", gpu=2, **ON_A100)
    assert why([*nodes, *full, big]) == {"big": Reason.FRAGMENTED}
    assert why([*nodes, *full, pod("big", gpu=3, **ON_A100)]) == {"big": Reason.NO_ROOM}
    assert why([*nodes, *full, pod("big", gpu=5, **ON_A100)]) == {"big": Reason.TOO_LARGE}
    assert why([*nodes, big]) == {"big": Reason.FITS_NOW}
    tainted = [a100("n1", gpu=4, taints=[TAINT])]
    assert why([*tainted, big]) == {"big": Reason.TAINTED}
    cordoned = [a100("n1", gpu=4, unschedulable=True)]
    assert why([*cordoned, big]) == {"big": Reason.NODES_UNAVAILABLE}


def test_over_capacity_is_no_room() -> None:
    nodes = [a100(name, gpu=4) for name in ("n1", "n2", "n3")]
    over = [pod("r1", "n1", gpu=8), pod("r2", "n2", gpu=2), pod("r3", "n3", gpu=2)]
    assert why([*nodes, *over, pod("big", gpu=3, **ON_A100)]) == {"big": Reason.FRAGMENTED}
    assert why([*nodes[:2], *over[:2], pod("big", gpu=3, **ON_A100)]) == {"big": Reason.NO_ROOM}


def test_whose_pod_it_is() -> None:
    nodes = [a100("n1"), labelled("h", {"product": "h100"})]
    h100 = pod("h", nodeSelector={"product": "h100"})
    nobodys = pod("b", nodeSelector={"product": "b200"})
    cpu = pod("c", gpu=0)
    assert why([*nodes, h100, nobodys, cpu]) == {"b": Reason.NO_SUCH_ACCELERATOR}
    other = pool("h100", nodeSelector={"matchLabels": {"product": "h100"}})
    assert why([*nodes, h100, nobodys, cpu], other) == {
        "h": Reason.FITS_NOW,
        "b": Reason.NO_SUCH_ACCELERATOR,
    }


@settings(max_examples=60, deadline=None)
@given(objects=clusters(), shut=st.sets(st.integers(0, 3)))
def test_the_figures_add_up(objects: list[Json], shut: set[int]) -> None:
    for item in objects:
        if item["kind"] == "Node" and int(item["metadata"]["name"][1:]) in shut:
            item["spec"]["unschedulable"] = True
    seen = snapshot(objects)
    status = pool_status(survey(pool(), seen), seen, NOON)
    nodes = [o for o in objects if o["kind"] == "Node"]
    free = {n.name: seen.free(n)["nvidia.com/gpu"] for n in seen.nodes if not n.unschedulable}
    assert status.nodes == len(nodes)
    assert status.gpus_total == sum(
        int(n["status"]["allocatable"]["nvidia.com/gpu"]) for n in nodes
    )
    assert status.gpus_free == sum(free.values())
    assert status.largest_free_block == max(free.values(), default=0)
    assert (status.gpus_total or 0) >= (status.gpus_allocated or 0) + (status.gpus_free or 0)
    assert sum(each.pods for each in status.pending_by_reason) == status.pending_pods
    assert status.schedulers in ((), ("default-scheduler",))


def test_ready_says_what_is_missing() -> None:
    def ready(objects: list[Json], **spec: Any) -> tuple[str, str]:
        seen = snapshot(objects)
        found = pool_status(survey(pool(**spec), seen), seen, NOON).conditions[0]
        return found.status, found.reason

    assert ready([a100("n")], **A100) == ("True", "PoolReady")
    assert ready([node("n")], **A100) == ("False", "NoNodes")
    assert ready([a100("n", gpu=0)], **A100) == ("False", "NoAccelerators")


def test_a_condition_keeps_its_time_while_it_holds() -> None:
    seen, none = snapshot([a100("n")]), snapshot([node("n")])
    first = pool_status(survey(pool(**A100), seen), seen, NOON)
    then = pool(**A100).model_copy(update={"status": first})
    assert pool_status(survey(then, seen), seen, NOON + 60) == first
    later = pool_status(survey(then, none), none, NOON + 60)
    assert later.conditions[0].last_transition_time == "2026-03-01T12:01:00Z"
