"""Pools: grouped by product and resource, what is free, what nodes hold back, who waits for them.

Not covered: fragmentation, which isn't computed yet.
"""

import pytest

from fairstow.cluster.pools import is_accelerator, over_all, pools
from tests.cluster.objects import GPU, node, pod, snapshot

PRODUCT = "nvidia.com/gpu.product"
A100, H100 = {PRODUCT: "A100"}, {PRODUCT: "H100"}


@pytest.mark.parametrize(
    ("resource", "counts"),
    [
        ("nvidia.com/gpu", True),
        ("nvidia.com/gpu.shared", True),
        ("nvidia.com/mig-1g.10gb", True),
        ("amd.com/gpu", True),
        ("gpu.intel.com/i915", True),
        ("google.com/tpu", True),
        ("habana.ai/gaudi", True),
        ("cpu", False),
        ("example.com/fpga", False),
    ],
)
def test_accelerators_are_known_by_their_vendors_names(resource: str, counts: bool) -> None:
    assert is_accelerator(resource) is counts


def test_pools_are_products_and_count_what_is_free() -> None:
    found = snapshot(
        node("a", labels=A100),
        node("b", labels=A100),
        node("c", labels=H100),
        node("d", allocatable={"cpu": "8", "pods": "9"}),
        pod("x", nodeName="a", requests={GPU: "1"}),
        pod("y", nodeName="b", requests={GPU: "2"}),
    )
    a100, h100 = pools(found)
    assert (a100.product, a100.resource, a100.nodes) == ("A100", GPU, 2)
    assert (a100.total, a100.allocated, a100.free, a100.largest) == (8, 3, 5, 3)
    assert (h100.product, h100.free, h100.largest) == ("H100", 4, 4)


def test_free_accelerators_of_nodes_that_take_no_pods_are_told_apart() -> None:
    found = snapshot(
        node("a", spec={"unschedulable": True}),
        node("b", conditions=[]),
        node("c"),
        pod("x", nodeName="c", requests={GPU: "3"}),
    )
    (pool,) = pools(found)
    assert (pool.product, pool.closed, pool.free, pool.shut, pool.largest) == ("", 2, 1, 8, 1)


def test_a_node_over_capacity_has_nothing_free() -> None:
    found = snapshot(node("a"), node("b"), pod("x", nodeName="a", requests={GPU: "9"}))
    (pool,) = pools(found)
    assert (pool.allocated, pool.free) == (9, 4)


def test_slices_are_pools_of_their_own() -> None:
    slices = {"nvidia.com/mig-1g.10gb": "7", "nvidia.com/mig-3g.40gb": "2", "cpu": "8", GPU: "0"}
    found = snapshot(node("a", labels=A100, allocatable=slices))
    assert [(p.resource, p.total) for p in pools(found)] == [
        ("nvidia.com/mig-1g.10gb", 7),
        ("nvidia.com/mig-3g.40gb", 2),
    ]


def test_pending_pods_count_where_they_may_run_cordons_set_aside() -> None:
    found = snapshot(
        node("a", labels=A100, spec={"unschedulable": True}),
        node("b", labels=H100),
        pod("either", requests={GPU: "1"}),
        pod("fixed", requests={GPU: "1"}, nodeSelector=A100),
        pod("neither", requests={GPU: "1"}, nodeSelector={PRODUCT: "T4"}),
        pod("cpu"),
    )
    assert {p.product: p.pending_pods for p in pools(found)} == {"A100": 2, "H100": 1}


def test_the_summary_is_over_all_products() -> None:
    found = snapshot(
        node("a", labels=A100), node("b", labels=H100), pod("waits", requests={GPU: "5"})
    )
    (free,) = over_all(found)
    assert (free.resource, free.nodes, free.total, free.free) == (GPU, 2, 8, 8)
    assert (free.largest, free.pending_pods, free.pending) == (4, 1, 5)
