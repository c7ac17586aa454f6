"""FGD's fragmentation measure and gradient, against their definitions and on a real snapshot.

Covered: the measure against the sentence it formalises (brute force over GPU choices), the
invariants the module states, the gradient against trying every placement, what counts as typical,
learning typical pods and room from a dump. Not covered: how well placing by it works (the openb
benchmark).
"""

from itertools import combinations
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fairstow.packing.fragmentation import (
    Demand,
    Room,
    Typical,
    after,
    cost,
    cost_gradient,
    fits,
    gradient,
    node_fragmentation,
    permille,
    room,
    stranded,
    typical,
    typical_pods,
    unusable,
)
from tests.cluster.objects import GPU, Object, node, pod, snapshot

CORES = st.integers(0, 12).map(lambda n: 1000 * n)
FEW_CORES = st.integers(0, 4).map(lambda n: 1000 * n)
FREE = st.one_of(st.just(1000), st.integers(0, 10).map(lambda n: 100 * n))
AMOUNTS = st.lists(FREE, max_size=5).map(tuple)


@st.composite
def rooms(draw: st.DrawFn) -> Room:
    return Room(draw(CORES), draw(st.integers(0, 4)), draw(AMOUNTS), draw(st.sampled_from("ab")))


@st.composite
def demands(draw: st.DrawFn) -> Demand:
    share, gpus = draw(
        st.one_of(
            st.just((0, 0)),
            st.tuples(st.integers(1, 9).map(lambda n: 100 * n), st.just(1)),
            st.tuples(st.just(1000), st.integers(1, 4)),
        )
    )
    kinds = draw(st.sampled_from([None, None, ("a",), ("a", "b")]))
    return Demand(draw(FEW_CORES), share, gpus, draw(st.integers(0, 2)), kinds)


def distributions(*, without_gpu: bool = True) -> st.SearchStrategy[Typical]:
    some = demands() if without_gpu else demands().filter(lambda d: d.gpus > 0)
    counts = st.dictionaries(some, st.integers(1, 9), min_size=1, max_size=6)
    return counts.map(lambda c: Typical(tuple(c.items())))


def usable_by_trying(free: Room, demand: Demand) -> int:
    """The free milli-GPU on GPUs that at least one way of placing the pod would touch."""
    admitted = demand.kinds is None or free.kind in demand.kinds
    if not admitted or free.cpu < demand.cpu or free.memory < demand.memory:
        return 0
    touched: set[int] = set()
    for chosen in combinations(range(len(free.gpus)), demand.gpus):
        if all(free.gpus[g] - demand.share >= 0 for g in chosen):
            touched |= set(chosen)
    return sum(free.gpus[g] for g in touched)


@given(rooms(), demands())
def test_unusable_is_what_no_placement_of_the_pod_would_touch(free: Room, demand: Demand) -> None:
    assert unusable(free, demand) == sum(free.gpus) - usable_by_trying(free, demand)


@given(rooms(), distributions())
def test_fragmentation_lies_between_nothing_and_all_that_is_free(free: Room, pods: Typical) -> None:
    assert 0 <= node_fragmentation(free, pods) <= pods.total * free.free


@given(rooms(), distributions())
def test_a_node_without_free_gpu_has_no_fragmentation(free: Room, pods: Typical) -> None:
    full = Room(free.cpu, free.memory, (0,) * len(free.gpus), free.kind)
    assert node_fragmentation(full, pods) == 0
    assert stranded(full, pods) == 0


@given(distributions(without_gpu=False), st.integers(4, 8))
def test_an_empty_node_that_fits_every_typical_pod_has_none(pods: Typical, gpus: int) -> None:
    empty = Room(12_000, 4, (1000,) * gpus, "a")
    assert node_fragmentation(empty, pods) == 0


@given(rooms(), distributions(), st.randoms(use_true_random=False))
def test_it_does_not_matter_which_gpu_is_which(free: Room, pods: Typical, random: object) -> None:
    gpus = list(free.gpus)
    random.shuffle(gpus)  # type: ignore[attr-defined]
    shuffled = Room(free.cpu, free.memory, tuple(gpus), free.kind)
    assert node_fragmentation(shuffled, pods) == node_fragmentation(free, pods)


@given(rooms(), distributions(), CORES)
def test_less_cpu_never_lowers_it(free: Room, pods: Typical, cpu: int) -> None:
    less = Room(min(free.cpu, cpu), free.memory, free.gpus, free.kind)
    assert node_fragmentation(less, pods) >= node_fragmentation(free, pods)
    assert stranded(less, pods) >= stranded(free, pods)


@given(rooms(), distributions(without_gpu=False), st.integers(1, 9))
def test_pods_without_gpu_count_all_that_is_free(free: Room, pods: Typical, count: int) -> None:
    more = Typical((*pods.demands, (Demand(1000, 0, 0), count)))
    assert node_fragmentation(free, more) == node_fragmentation(free, pods) + count * free.free


@given(rooms(), demands(), distributions())
def test_the_gradient_is_the_best_of_all_placements(
    free: Room, demand: Demand, pods: Typical
) -> None:
    changes = []
    for chosen in combinations(range(len(free.gpus)), demand.gpus):
        if usable_by_trying(free, demand) or not demand.gpus:
            left = list(free.gpus)
            for g in chosen:
                left[g] -= demand.share
            if min(left, default=0) < 0 or not fits(free, demand):
                continue
            cpu, memory = free.cpu - demand.cpu, free.memory - demand.memory
            now = Room(cpu, memory, tuple(left), free.kind)
            changes.append(node_fragmentation(now, pods) - node_fragmentation(free, pods))
    assert gradient(free, demand, pods) == min(changes, default=None)


@given(rooms(), demands(), distributions())
def test_a_placement_takes_what_was_asked(free: Room, demand: Demand, pods: Typical) -> None:
    left = after(free, demand)
    assert bool(left) == fits(free, demand)
    assert (gradient(free, demand, pods) is None) == (not left)
    assert (cost_gradient(free, demand, pods) is None) == (not left)
    for now in left:
        assert free.free - now.free == demand.gpus * demand.share
        assert (free.cpu - now.cpu, free.memory - now.memory) == (demand.cpu, demand.memory)
        assert min(now.gpus, default=0) >= 0


def test_the_papers_example_a_share_goes_where_it_breaks_nothing() -> None:
    pods = Typical(((Demand(1000, 1000, 1), 3), (Demand(1000, 500, 1), 1)))
    half = Demand(1000, 500, 1)
    started, untouched = Room(8000, 0, (500,)), Room(8000, 0, (1000,))
    assert gradient(started, half, pods) == -3 * 500  # its unusable rest is used up
    assert gradient(untouched, half, pods) == 3 * 500  # whole pods lose a GPU
    assert gradient(Room(8000, 0, (1000, 500)), half, pods) == -3 * 500  # the better GPU of two


def test_the_cost_is_what_is_stranded_and_a_tenth_of_the_measure() -> None:
    pods = Typical(((Demand(8000, 1000, 1), 3), (Demand(8000, 500, 1), 1)))
    free = Room(8000, 0, (1000, 500))
    assert node_fragmentation(free, pods) == 3 * 500
    fed = 8000 * 3500 * 4 // 32_000
    assert stranded(free, pods) == 4 * 1500 - fed
    assert cost(free, pods) == 4 * 1500 - fed + 150
    rest = Room(0, 0, (1000, 0))
    assert cost_gradient(free, Demand(8000, 500, 1), pods) == cost(rest, pods) - cost(free, pods)


def test_cpu_that_feeds_one_of_four_gpus_strands_the_other_three() -> None:
    pods = Typical(((Demand(8000, 1000, 1), 2),))
    free = Room(8000, 0, (1000,) * 4)
    assert node_fragmentation(free, pods) == 0
    assert stranded(free, pods) == 2 * 3000
    assert cost(free, pods) == 2 * 3000


def test_stranding_is_nothing_where_cpu_is_free_of_charge() -> None:
    assert stranded(Room(0, 0, (1000,)), Typical(((Demand(0, 1000, 1), 1),))) == 0


def test_a_pool_over_its_cpu_strands_all_its_gpus() -> None:
    assert stranded(Room(-500, 0, (1000,)), Typical(((Demand(1000, 1000, 1), 1),))) == 1000


def test_permille_weighs_nodes_by_what_is_free() -> None:
    pods = Typical(((Demand(0, 1000, 2), 1),))
    one, two = Room(0, 0, (1000,)), Room(0, 0, (1000, 1000))
    assert permille([one, two], pods) == 333
    assert permille([two], pods) == 0
    assert permille([], pods) is None
    assert permille([one], Typical(())) is None


def test_typical_pods_are_the_most_popular_95_percent() -> None:
    counts = {Demand(i, 1000, 1): n for i, n in enumerate((90, 5, 3, 2))}
    assert [d.cpu for d, _ in typical(counts).demands] == [0, 1]
    assert typical(counts | {Demand(9, 0, 0): 900}).total == 95
    assert typical(counts | {Demand(9, 0, 0): 900}, without_gpu=True).total == 990


@given(st.dictionaries(demands(), st.integers(0, 20), max_size=8))
def test_typical_pods_cover_enough_and_not_one_more(counts: dict[Demand, int]) -> None:
    found = typical(counts, without_gpu=True)
    total = sum(counts.values())
    assume(total > 0)
    assert found.total * 100 >= 95 * total
    assert (found.total - found.demands[-1][1]) * 100 < 95 * total


@pytest.mark.parametrize(("share", "gpus"), [(500, 2), (0, 1), (1001, 1)])
def test_what_no_device_plugin_can_give_is_refused(share: int, gpus: int) -> None:
    with pytest.raises(ValueError, match=f"{gpus} GPUs with {share} milli"):
        Demand(0, share, gpus)


def gpu_pod(name: str, gpus: str, on: str = "", **spec: Any) -> Object:
    requests = {"cpu": "2", "memory": "1Gi", GPU: gpus}
    placed = {"nodeName": on} if on else {}
    return pod(name, requests=requests, **(placed | spec))


def test_a_pool_learns_from_its_own_pods_running_and_waiting() -> None:
    cluster = snapshot(
        node("in-0"),
        node("in-1", labels={"zone": "a"}),
        node("out"),
        gpu_pod("runs", "1", "in-0"),
        gpu_pod("waits", "1"),
        gpu_pod("zoned", "2", nodeSelector={"zone": "a"}),
        gpu_pod("elsewhere", "4", "out"),
        gpu_pod("tied-elsewhere", "4", nodeSelector={"kubernetes.io/hostname": "out"}),
        pod("no-gpu"),
    )
    pool = [n for n in cluster.nodes if n.name.startswith("in")]
    found = typical_pods(cluster, GPU, pool)
    gib = 1 << 30
    assert found.demands == (
        (Demand(2000, 1000, 1, gib), 2),
        (Demand(2000, 1000, 2, gib, ("in-1",)), 1),
    )


def test_room_is_what_is_left_of_a_node_and_never_negative_in_gpus() -> None:
    cluster = snapshot(node("n"), gpu_pod("a", "3", "n"))
    (only,) = cluster.nodes
    assert room(cluster, only, GPU) == Room(6000, 31 << 30, (1000,), "n")
    over = snapshot(node("n"), gpu_pod("a", "3", "n"), gpu_pod("b", "3", "n"))
    assert room(over, over.nodes[0], GPU).gpus == ()


def test_the_free_gpu_of_a_cordoned_node_is_fragmented() -> None:
    cluster = snapshot(node("n", spec={"unschedulable": True}), node("m"), gpu_pod("a", "4", "m"))
    pods = typical_pods(cluster, GPU, cluster.nodes)
    assert permille([room(cluster, n, GPU) for n in cluster.nodes], pods) == 1000
