"""The fragmentation benchmark's simulator, on small made clusters (the trace isn't needed).

Covered: its vectorised measure against the product's, arrivals by FGD's protocol, that no node is
ever over capacity with any policy or any moves, that moves stay within their limit and lose no
pod, that a move lets a pod in that fits nowhere, the floor. Not covered: the published figures
(the benchmark itself compares with them).
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from benchmarks.fragmentation.floor import floor, patterns
from benchmarks.fragmentation.measure import Measure, distribution
from benchmarks.fragmentation.moves import Mover
from benchmarks.fragmentation.policies import (
    STEP,
    Gradient,
    Policy,
    Rehearsed,
    Unrehearsed,
    baselines,
)
from benchmarks.fragmentation.rehearse import rehearse
from benchmarks.fragmentation.simulate import Cluster, Outcome, simulate
from benchmarks.fragmentation.state import Rooms, after, allowed, empty, fits
from benchmarks.fragmentation.trace import Arrivals, Node, Pod, Workload, arrivals
from fairstow.packing.fragmentation import Demand, Room, cost_gradient, node_fragmentation
from fairstow.packing.fragmentation import after as pure_after

PODS = (
    Pod(4000, 8, 1, 1000, ""),
    Pod(8000, 8, 1, 1000, "A"),
    Pod(2000, 4, 1, 470, ""),
    Pod(3000, 4, 1, 810, ""),
    Pod(1000, 2, 1, 160, "B"),
    Pod(12000, 8, 2, 1000, ""),
    Pod(9000, 16, 0, 0, ""),
)


def workload(seed: int, nodes: int = 12, pods: int = 60) -> Workload:
    rng = random.Random(seed)
    machines = [Node(16_000, 64, 4, "A"), Node(24_000, 64, 2, "B"), Node(40_000, 96, 8, "A")]
    return Workload(
        "made",
        tuple(rng.choice(machines) for _ in range(nodes)),
        tuple(rng.choices(PODS, (6, 3, 5, 4, 2, 1, 2), k=pods)),
    )


def flat(made: Workload) -> Rehearsed:
    """Fairstow's policy with a table that wants GPUs filled to the brim."""
    table = np.minimum(np.arange(101) * 10.0, 60.0)
    return Rehearsed(Measure.of(made, free_shares=False), table)


def policies(made: Workload) -> dict[str, Policy]:
    measure = Measure.of(made)
    others: dict[str, Policy] = {"Fairstow": flat(made), "Unrehearsed": Unrehearsed(measure)}
    return baselines(1, measure) | others | {"exact": Gradient(measure, exact=True)}


def played(rooms: Rooms, made: Workload, seed: int, steps: int = 25) -> Rooms:
    """Rooms with pods placed at random, so that many amounts occur."""
    rng = random.Random(seed)
    for _ in range(steps):
        pod = rng.choice(made.classes)
        fit = fits(rooms, pod, allowed(made)[made.classes.index(pod)])
        rows = np.flatnonzero(fit)[:2]
        if len(rows):
            slot = (rooms.gpus[rows] >= pod.share).argmax(axis=1)
            left = after(rooms.take(rows), pod, slot)
            rooms.cpu[rows], rooms.memory[rows], rooms.gpus[rows] = left.cpu, left.memory, left.gpus
    return rooms


def pure(rooms: Rooms, made: Workload, row: int) -> Room:
    gpus = tuple(int(g) for g in rooms.gpus[row][: rooms.count[row]])
    return Room(int(rooms.cpu[row]), 10**9, gpus, made.models[rooms.model[row]])


@pytest.mark.parametrize("seed", range(5))
def test_the_fast_measure_is_the_products(seed: int) -> None:
    made = workload(seed)
    measure, pods = Measure.of(made), distribution(made)
    rooms = played(empty(made, tuple(range(12))), made, seed)
    exact = [node_fragmentation(pure(rooms, made, i), pods) / pods.total for i in range(12)]
    assert measure.fragmentation(rooms) == pytest.approx(exact)


@pytest.mark.parametrize("seed", range(5))
def test_the_fast_measure_after_a_share_is_the_products(seed: int) -> None:
    made = workload(seed)
    measure, pods = Measure.of(made), distribution(made)
    rooms = played(empty(made, tuple(range(12))), made, seed)
    share = Demand(2000, 470, 1)
    fast = measure.after_shared(rooms, 2000, 470)
    for row in range(12):
        for left in pure_after(pure(rooms, made, row), share):
            gpus = pure(rooms, made, row).gpus
            slot = next(g for g, free in enumerate(left.gpus) if free != gpus[g])
            exact = node_fragmentation(left, pods) / pods.total
            assert fast[row, slot] == pytest.approx(exact)


@pytest.mark.parametrize("seed", range(5))
def test_the_fall_of_cost_is_the_difference_of_costs(seed: int) -> None:
    made = workload(seed)
    policy = flat(made)
    rooms = played(empty(made, tuple(range(12))), made, seed)
    for number, pod in enumerate(made.classes):
        some = rooms.take(fits(rooms, pod, allowed(made)[number]))
        fall, slot = policy.fall(some, pod)
        assert fall == pytest.approx(policy.cost(some) - policy.cost(after(some, pod, slot)))


@pytest.mark.parametrize("seed", range(3))
def test_without_rehearsals_the_score_is_the_products_cost(seed: int) -> None:
    made = workload(seed)
    policy, pods = Unrehearsed(Measure.of(made)), distribution(made)
    rooms = played(empty(made, tuple(range(12))), made, seed)
    for number, pod in enumerate(made.classes):
        fit = np.flatnonzero(fits(rooms, pod, allowed(made)[number]))
        score = policy.score(rooms.take(fit), pod).score
        for row, found in zip(fit, score, strict=True):
            demand = Demand(pod.cpu, pod.share, pod.gpus)
            rise = cost_gradient(pure(rooms, made, int(row)), demand, pods)
            assert rise is not None
            assert found == pytest.approx(-rise / pods.total / STEP, abs=1.2)


def test_arrivals_are_the_workload_then_draws_up_to_130_percent() -> None:
    made = workload(3, nodes=30)
    came = arrivals(made, 42)
    assert sorted(made.classes[c] for c in came.classes[:60]) == sorted(made.pods)
    asked = sum(made.classes[c].milli for c in came.classes)
    assert 1.3 * made.capacity - 2000 <= asked <= 1.3 * made.capacity + 1000
    assert sorted(came.nodes) == list(range(30))
    assert [made.classes[c] for c in came.classes[:60]] != list(made.pods)
    assert arrivals(made, 42) == came != arrivals(made, 43)


def check(made: Workload, cluster: Cluster, outcome: Outcome) -> None:
    """No room below zero, and what is gone from the rooms is what was placed."""
    rooms = cluster.rooms
    assert min(rooms.cpu.min(), rooms.memory.min(), rooms.gpus.min()) >= 0
    assert sum(outcome.left) == rooms.gpus.sum()
    assert 0 < sum(outcome.left) < made.capacity


@pytest.mark.parametrize("name", policies(workload(0)))
def test_every_policy_keeps_within_the_nodes_and_places_what_fits(name: str) -> None:
    made = workload(7)
    came = arrivals(made, 42)
    cluster = Cluster(made, came.nodes, policies(made)[name])
    ran: list[tuple[Pod, Node]] = []

    def placed(number: int, node: int, taken: np.ndarray) -> None:
        pod = made.classes[number]
        ran.append((pod, made.nodes[came.nodes[node]]))
        assert sorted(taken)[8 - pod.gpus :] == [pod.share] * pod.gpus
        assert taken.sum() == pod.milli

    outcome = simulate(made, came, cluster, placed=placed)
    check(made, cluster, outcome)
    assert 0 < len(ran) == outcome.pods < len(came.classes)
    assert all(pod.models in ("", node.model) for pod, node in ran)


class Watched(Mover):
    """Compares the rooms with a recount of every running pod after each rescue."""

    def rescue(self, number: int) -> int:
        moved = super().rescue(number)
        made, rooms = self._cluster.workload, self._cluster.rooms
        cpu = np.zeros(len(rooms), np.int64)
        taken = np.zeros_like(rooms.gpus)
        for i in range(self._count):
            pod = made.classes[self._class[i]]
            cpu[self._node[i]] += pod.cpu
            taken[self._node[i]] += self._taken[i]
            assert self._taken[i].sum() == pod.milli
            assert set(self._taken[i]) <= {0, pod.share}
        start = empty(made, self.nodes)
        assert (rooms.cpu == start.cpu - cpu).all()
        assert (rooms.gpus == start.gpus - taken).all()
        assert rooms.gpus.min() >= 0
        return moved

    nodes: tuple[int, ...] = ()


@pytest.mark.parametrize("seed", range(3))
def test_moves_lose_no_pod_and_keep_to_their_limit(seed: int) -> None:
    made = workload(seed, nodes=20, pods=100)
    came = arrivals(made, seed)
    plain = simulate(made, came, Cluster(made, came.nodes, policies(made)["01-Random"]))
    cluster = Cluster(made, came.nodes, policies(made)["01-Random"])
    mover = Watched(cluster, flat(made), 0.03, len(came.classes))
    mover.nodes = came.nodes
    outcome = simulate(made, came, cluster, mover.rescue, mover.placed)
    check(made, cluster, outcome)
    assert 0 < outcome.moves <= 0.03 * outcome.pods
    assert sum(outcome.left) < sum(plain.left)


def moved(nodes: tuple[Node, ...], running: list[tuple[Pod, int]], pod: Pod) -> int:
    """How many pods move to let a pod in, with these running (pod, node)."""
    made = Workload("made", nodes, (*(p for p, _ in running), pod))
    cluster = Cluster(made, tuple(range(len(nodes))), flat(made))
    mover = Mover(cluster, flat(made), 10.0, len(running) + 1)
    for ran, at in running:
        number = made.classes.index(ran)
        mover.placed(number, at, cluster.place(number, at, 0))
    number = made.classes.index(pod)
    assert cluster.best(number) == (-1, -1)
    return mover.rescue(number)


HALF, LESS, WHOLE = (Pod(1000, 1, 1, share, "") for share in (500, 400, 1000))


def test_one_pod_moves_where_that_frees_a_gpu() -> None:
    nodes = (Node(8000, 8, 1, "A"), Node(8000, 8, 1, "A"))
    assert moved(nodes, [(HALF, 0), (HALF, 1)], WHOLE) == 1


def test_two_pods_change_places_where_no_single_move_helps() -> None:
    nodes = (Node(8000, 8, 1, "A"), Node(8000, 8, 1, "A"))
    three, six = Pod(1000, 1, 1, 300, ""), Pod(1000, 1, 1, 600, "")
    # 600+300 and 500+400 leave 100 each; with 600 and 500 exchanged they leave 200 and 0
    running = [(six, 0), (three, 0), (HALF, 1), (LESS, 1)]
    pod = Pod(1000, 1, 1, 200, "")
    assert moved(nodes, running, pod) == 2


def test_nothing_moves_where_nothing_helps() -> None:
    nodes = (Node(8000, 8, 1, "A"), Node(8000, 8, 1, "A"))
    assert moved(nodes, [(WHOLE, 0), (WHOLE, 1)], HALF) == 0


def test_no_exchange_brings_a_pod_to_a_node_without_cpu_for_it() -> None:
    nodes = (Node(2000, 8, 1, "A"), Node(8000, 8, 1, "A"))
    three, six = Pod(500, 1, 1, 300, ""), Pod(500, 1, 1, 600, "")
    five, four = Pod(1600, 1, 1, 500, ""), Pod(1600, 1, 1, 400, "")
    running = [(six, 0), (three, 0), (five, 1), (four, 1)]
    assert moved(nodes, running, Pod(1000, 1, 1, 200, "")) == 0


def test_a_rehearsed_gpu_is_expected_to_keep_no_more_than_it_has() -> None:
    table = rehearse(workload(1, nodes=8), rounds=2).remainder
    assert table[0] == 0
    assert (table <= np.arange(101) * 10).all()
    assert (table >= 0).all()


def test_patterns_are_all_the_ways_to_fill_a_gpu_and_no_subset_of_another() -> None:
    assert set(patterns([810, 470, 160], 1000)) == {(1, 0, 1), (0, 2, 0), (0, 1, 3), (0, 0, 6)}


def test_the_floor_counts_rests_that_nobody_asks_for() -> None:
    nodes = (Node(10**6, 10**6, 8, "A"),)
    only = Workload("made", nodes, (Pod(1, 1, 1, 810, ""),) * 10)
    assert floor(only) == pytest.approx(19.0)
    half = Workload("made", nodes, (Pod(1, 1, 1, 500, ""),) * 10)
    assert floor(half) == pytest.approx(0.0, abs=1e-6)


def test_the_floor_knows_that_pods_that_fit_are_placed() -> None:
    nodes = (Node(10**6, 10**6, 8, "A"),)
    pods = (Pod(1, 1, 1, 1000, ""), Pod(1, 1, 1, 810, "")) * 5
    # as many of 810 as of 1000 when GPUs run out: four each, and four rests of 190
    assert floor(Workload("made", nodes, pods)) == pytest.approx(100 * 4 * 0.19 / 8)


def test_no_policy_passes_under_the_floor_by_much() -> None:
    made = workload(5, nodes=40, pods=250)
    least = floor(made)
    for seed in (1, 2):
        came = arrivals(made, seed)
        for policy in policies(made).values():
            outcome = simulate(made, came, Cluster(made, came.nodes, policy))
            assert 100 * sum(outcome.left) / made.capacity > least - 1.0


def test_a_class_is_scored_anew_only_where_its_node_changed() -> None:
    made = workload(2)
    came = Arrivals(tuple(range(len(made.classes))) * 6, tuple(range(12)))
    kept = Cluster(made, came.nodes, flat(made))
    fresh = Cluster(made, came.nodes, flat(made))
    for number in came.classes:
        fresh.use(fresh.policy)
        assert kept.best(number) == fresh.best(number)
        node, slot = kept.best(number)
        if node >= 0:
            kept.place(number, node, slot)
            fresh.place(number, node, slot)
