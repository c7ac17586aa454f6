"""Effective requests, case by case from KEP-753, KEP-1287 and KEP-2837.

Not covered: node-allocatable resources of DRA claims (such pods aren't modelled at all), and
comparison with the Go function itself, which a later suite makes on whole clusters.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairstow.cluster import wire
from fairstow.cluster.requests import effective

Amounts = dict[str, int]


def container(name: str = "main", always: Any = False, **requests: str) -> dict[str, Any]:
    policy = {"restartPolicy": "Always"} if always else {}
    return {"name": name, "resources": {"requests": requests}, **policy}


def requests(spec: dict[str, Any], status: dict[str, Any] | None = None) -> Amounts:
    pod = {"metadata": {"name": "p"}, "spec": spec, "status": status or {}}
    return dict(effective(msgspec.convert(pod, wire.Pod)))


def cpu(spec: dict[str, Any], status: dict[str, Any] | None = None) -> int:
    return requests(spec, status).get("cpu", 0)


def test_containers_add_up_and_every_pod_takes_one_place() -> None:
    spec = {
        "containers": [
            container("a", cpu="1", memory="1Gi"),
            container("b", cpu="500m", **{"nvidia.com/gpu": "2"}),
        ]
    }
    assert requests(spec) == {"cpu": 1500, "memory": 1 << 30, "nvidia.com/gpu": 2, "pods": 1}


def test_nothing_requested_is_nothing_but_a_place() -> None:
    assert requests({"containers": [{"name": "a"}]}) == {"pods": 1}
    assert requests({"containers": [container(cpu="0")]}) == {"pods": 1}


def test_a_limit_is_the_request_where_none_is_given() -> None:
    resources = {"limits": {"cpu": "2", "memory": "4Gi"}, "requests": {"cpu": "1"}}
    spec = {"containers": [{"name": "a", "resources": resources}]}
    assert requests(spec) == {"cpu": 1000, "memory": 4 << 30, "pods": 1}


@pytest.mark.parametrize(
    ("inits", "expected"),
    [
        ([], 2000),
        ([("1", False)], 2000),  # runs before, and needs less
        ([("5", False)], 5000),
        ([("3", False), ("4", False)], 4000),  # one after the other
        ([("1", True)], 3000),  # a sidecar runs beside the app
        ([("1", True), ("5", False)], 6000),  # and beside later init containers
        ([("5", False), ("1", True)], 5000),  # not beside earlier ones
        ([("1", True), ("1", True)], 4000),
        ([("1", True), ("3", True), ("9", False), ("2", True)], 13000),
    ],
)
def test_init_containers_and_sidecars(inits: list[tuple[str, bool]], expected: int) -> None:
    spec = {
        "containers": [container(cpu="2")],
        "initContainers": [
            container(f"i{n}", always, cpu=amount) for n, (amount, always) in enumerate(inits)
        ],
    }
    assert cpu(spec) == expected


def test_each_resource_has_its_own_peak() -> None:
    spec = {
        "containers": [container(cpu="4", memory="1Gi")],
        "initContainers": [container("i", cpu="1", memory="8Gi")],
    }
    assert requests(spec) == {"cpu": 4000, "memory": 8 << 30, "pods": 1}


def test_overhead_comes_on_top_of_everything() -> None:
    spec = {
        "containers": [container(cpu="1")],
        "initContainers": [container("i", cpu="2")],
        "overhead": {"cpu": "250m", "memory": "120Mi"},
    }
    assert requests(spec) == {"cpu": 2250, "memory": 120 << 20, "pods": 1}


def test_pod_level_requests_replace_the_sum_for_what_they_name() -> None:
    spec = {
        "containers": [container(cpu="1", memory="1Gi", **{"nvidia.com/gpu": "1"})],
        "resources": {"requests": {"cpu": "3", "hugepages-2Mi": "4Mi", "nvidia.com/gpu": "9"}},
        "overhead": {"cpu": "1"},
    }
    assert requests(spec) == {
        "cpu": 4000,
        "memory": 1 << 30,
        "hugepages-2Mi": 4 << 20,
        "nvidia.com/gpu": 1,  # the pod level speaks of cpu, memory and huge pages only
        "pods": 1,
    }


def status(name: str = "main", **amounts: str) -> dict[str, Any]:
    """Container status; `allocated` and `actual` in cores."""
    found: dict[str, Any] = {"name": name}
    if "allocated" in amounts:
        found["allocatedResources"] = {"cpu": amounts["allocated"]}
    if "actual" in amounts:
        found["resources"] = {"requests": {"cpu": amounts["actual"]}}
    return found


INFEASIBLE = {
    "conditions": [{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}]
}


@pytest.mark.parametrize(
    ("asked", "allocated", "actual", "infeasible", "expected"),
    [
        ("2", "2", "2", False, 2000),
        ("4", "2", "2", False, 4000),  # growing
        ("1", "2", "2", False, 2000),  # shrinking, not done yet
        ("1", "1", "2", False, 2000),  # granted, not in force yet
        ("8", "2", "2", True, 2000),  # the node has said no
        ("8", "2", "3", True, 3000),
    ],
)
def test_a_resize_counts_the_most_that_may_be_used(
    asked: str, allocated: str, actual: str, infeasible: bool, expected: int
) -> None:
    spec = {"containers": [container(cpu=asked)]}
    found = {"containerStatuses": [status(allocated=allocated, actual=actual)]}
    assert cpu(spec, found | (INFEASIBLE if infeasible else {})) == expected


def test_a_resize_is_counted_over_the_whole_pod_not_container_by_container() -> None:
    spec = {"containers": [container("a", cpu="1"), container("b", cpu="3")]}
    found = {
        "containerStatuses": [status("a", allocated="3"), status("b", allocated="1")],
    }
    assert cpu(spec, found) == 4000


def test_a_resize_of_a_sidecar_counts() -> None:
    spec = {
        "containers": [container(cpu="1")],
        "initContainers": [container("s", always=True, cpu="1")],
    }
    assert cpu(spec, {"initContainerStatuses": [status("s", allocated="2", actual="2")]}) == 3000


def test_a_resize_at_pod_level_counts() -> None:
    spec = {"containers": [container(cpu="1")], "resources": {"requests": {"cpu": "2"}}}
    found = {"allocatedResources": {"cpu": "5"}, "resources": {"requests": {"cpu": "4"}}}
    assert cpu(spec, found) == 5000
    assert cpu(spec, found | INFEASIBLE) == 5000
    assert cpu(spec | {"resources": {"requests": {"cpu": "9"}}}, found) == 9000


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"containers": [container(cpu="-1")]}, r"spec.containers\[0\].resources.requests.cpu"),
        (
            {"containers": [], "initContainers": [container(memory="1GB")]},
            r"spec.initContainers\[0\].resources.requests.memory",
        ),
        ({"containers": [], "overhead": {"cpu": "x"}}, "spec.overhead.cpu"),
        (
            {"containers": [], "resources": {"requests": {"memory": "1e99"}}},
            "spec.resources.requests.memory",
        ),
        ({"containers": [container(memory="5Ei"), container(memory="5Ei")]}, "memory sum up"),
    ],
)
def test_the_field_of_a_bad_amount_is_named(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        requests(spec)


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=5),
)
def test_the_peak_over_the_pods_life_is_what_counts(
    apps: list[int], inits: list[tuple[int, bool]]
) -> None:
    """An oracle that starts the containers one by one and watches what runs together."""
    beside, peak = 0, 0
    for amount, sidecar in inits:
        peak = max(peak, beside + amount)
        beside += amount if sidecar else 0
    peak = max(peak, beside + sum(apps))
    spec = {
        "containers": [container(f"a{n}", cpu=str(c)) for n, c in enumerate(apps)],
        "initContainers": [
            container(f"i{n}", sidecar, cpu=str(c)) for n, (c, sidecar) in enumerate(inits)
        ],
    }
    assert cpu(spec) == peak * 1000
