"""Moving pods that have rules between them, or that such rules count: against the whole truth.

Covered: random tiny clusters in which every order of steps is tried, with pods that go down alone
or together, by the scheduler's own rules; legality of every plan by the independent checker; the
cases that people ask for, by hand. Not covered: arrivals alone (test_between), claims, gangs.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairstow.cluster.model import Node, Pod, PodTerm
from fairstow.cluster.movable import Movability
from fairstow.cluster.rules import covers
from fairstow.cluster.selectors import selects
from fairstow.cluster.snapshot import Snapshot
from fairstow.cluster.state import State
from fairstow.packing.formulate import formulate
from fairstow.packing.model import Decision, Proof
from tests.packing.checker_clusters import Json, pod
from tests.packing.clusters import snapshot
from tests.packing.test_between import APPS, ZONE, apart, near, port, spread, zoned
from tests.packing.test_planner import placed, plan


def cluster(seed: int) -> list[Json]:
    """Three nodes in one or two zones, rather full, with one or two pods waiting for much."""
    rng = random.Random(seed)
    nodes = [zoned(f"n{i}", rng.choice("xy"), rng.randint(2, 3)) for i in range(3)]
    room = {n["metadata"]["name"]: int(n["status"]["allocatable"]["nvidia.com/gpu"]) for n in nodes}
    objects: list[Json] = list(nodes)
    for i in range(rng.randint(2, 4)):
        gpu = rng.choice((0, 1, 1, 1, 2))
        on = rng.choice([name for name, free in room.items() if free >= gpu] or ["n0"])
        if gpu <= room[on]:
            room[on] -= gpu
            owner = rng.choice(("ReplicaSet/web",) * 5 + ("",))
            objects.append(_pod(rng, f"run-{i}", on, gpu, owner, 0))
    for i in range(rng.randint(1, 2)):
        gpu = rng.choice((1, 2, 3, 3))
        objects.append(_pod(rng, f"wait-{i}", "", gpu, "ReplicaSet/web", rng.choice((0, 100))))
    return objects


def _pod(rng: random.Random, name: str, on: str, gpu: int, owner: str, priority: int) -> Json:
    app, other = rng.choice(APPS), rng.choice(APPS)
    rule: Json = rng.choice(
        (
            {},
            apart(other, "host"),
            apart(other, ZONE),
            near(other, rng.choice((ZONE, "host"))),
            spread(other, rng.choice((ZONE, "host"))),
            port(80),
        )
    )
    made = pod(name, on, gpu=gpu, labels={"app": app}, owner=owner, priority=priority, **rule)
    made["spec"]["containers"][0]["resources"]["requests"]["nvidia.com/gpu"] = str(gpu)
    return made


@dataclass(frozen=True)
class Position:
    """Where pods are, who may not move (again), and who came where none of its kind was."""

    homes: frozenset[tuple[str, str]]
    settled: frozenset[str]
    founders: frozenset[str] = frozenset()


class Truth:
    """Every position that some order of legal steps leads to."""

    def __init__(self, cluster: Snapshot) -> None:
        self.cluster = cluster
        self.pods = {p.uid: p for p in cluster.pods}
        self.start = frozenset((p.uid, p.node) for p in cluster.pods if p.node)
        self.state = State(cluster)
        movability = Movability(cluster)
        self.stay = frozenset(p.uid for p in cluster.pods if p.node and movability.refusal(p))
        self.seen: set[Position] = set()
        todo = [Position(self.start, self.stay)]
        while todo:
            position = todo.pop()
            if position not in self.seen:
                self.seen.add(position)
                todo += self._steps(position)

    def best(self) -> tuple[int, ...]:
        """Most pods by tier, nobody left without the pods it must be near."""
        tiers = sorted({p.shape.priority for p in self.pods.values()}, reverse=True)
        return max(
            tuple(sum(self.pods[u].shape.priority == t for u, _ in p.homes) for t in tiers)
            for p in self.seen
            if self._met(p)
        )

    def _steps(self, now: Position) -> Iterator[Position]:
        homes = dict(now.homes)
        for wanted in self.cluster.pending:
            if wanted.uid not in homes:
                yield from self._arrive(now, homes, (wanted,))
        movers = [u for u in homes if u not in now.settled]
        for count in range(1, len(movers) + 1):
            for down in itertools.combinations(sorted(movers), count):
                left = {u: n for u, n in homes.items() if u not in down}
                for order in itertools.permutations(down):
                    yield from self._arrive(now, left, tuple(self.pods[u] for u in order))

    def _arrive(
        self, now: Position, homes: dict[str, str], order: tuple[Pod, ...]
    ) -> Iterator[Position]:
        if not order:
            yield Position(frozenset(homes.items()), now.settled, now.founders)
            return
        first, *others = order
        for node in self.cluster.nodes:
            if dict(now.homes).get(first.uid) != node.name and self._legal(first, node, homes):
                alone = any(not self._has(first, t, node.name, homes) for t in first.shape.affinity)
                after = Position(
                    now.homes,
                    now.settled | {first.uid},
                    now.founders | ({first.uid} if alone else set()),
                )
                yield from self._arrive(after, homes | {first.uid: node.name}, tuple(others))

    def _legal(self, arriving: Pod, node: Node, homes: dict[str, str]) -> bool:
        for uid, other in self.pods.items():
            if (at := self.state.home(other)) is not None and homes.get(uid) != at.name:
                self.state.remove(other)
        for uid, name in homes.items():
            if self.state.home(self.pods[uid]) is None:
                self.state.add(self.pods[uid], self.cluster.node_by_name[name])
        return self.state.refusal(arriving, node) is None

    def _met(self, end: Position) -> bool:
        homes, before = dict(end.homes), dict(self.start)
        for uid, name in homes.items():
            for term in self.pods[uid].shape.affinity:
                had = before.get(uid) != name or self._has(self.pods[uid], term, name, before)
                if (
                    had
                    and uid not in end.founders
                    and not self._has(self.pods[uid], term, name, homes)
                ):
                    return False
        return True

    def _has(self, of: Pod, term: PodTerm, name: str, homes: dict[str, str]) -> bool:
        nodes = self.cluster.node_by_name
        domain = nodes[name].labels.get(term.topology_key)
        return any(
            uid != of.uid
            and nodes[at].labels.get(term.topology_key) == domain
            and all(
                selects(t.selector, dict(self.pods[uid].labels))
                and covers(t, of.namespace, self.pods[uid].namespace, {})
                for t in of.shape.affinity
            )
            for uid, at in homes.items()
        )


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1_000_000))
def test_a_proof_is_never_contradicted_and_every_step_is_legal(seed: int) -> None:
    objects = cluster(seed)
    truth, decision = Truth(snapshot(objects)).best(), plan(objects)
    assert placed(decision) <= truth
    # A node with a port taken twice is over capacity, and then named as one that takes nothing.
    over = any("over capacity" in said for said in decision.not_considered)
    for index, tier in enumerate(decision.tiers):
        if tier.proof is Proof.GAP or over:
            break
        assert tier.after == truth[index]


# What people ask for, by hand


def moves(decision: Decision) -> dict[str, str]:
    return {m.pod.name: m.target for m in decision.moves}


def test_two_pods_that_must_be_apart_change_places_in_one_step() -> None:
    """Each fits on both nodes, but neither may arrive before the other has left its zone."""
    alike = {"app": "a"}
    decision = plan(
        [
            zoned("x", "1", gpu=4),
            zoned("y", "2", gpu=3),
            pod("wide", "x", gpu=2, labels=alike, **apart("a", ZONE)),
            pod("slim", "y", gpu=1, labels=alike, **apart("a", ZONE)),
            pod("big", gpu=3, priority=100, nodeSelector={"host": "x"}),
        ]
    )
    assert moves(decision) == {"wide": "y", "slim": "x"}
    assert [(len(s.evict), len(s.bind)) for s in decision.steps] == [(2, 2), (0, 1)]


def test_a_replica_that_is_spread_moves_so_that_a_big_pod_fits() -> None:
    """Zone 1 has two nodes: the replica may move inside it, but not to zone 2."""
    alike = {"app": "a"}
    decision = plan(
        [
            zoned("x1", "1", gpu=4),
            zoned("x2", "1", gpu=1),
            zoned("y", "2", gpu=2),
            pod("one", "x1", gpu=1, labels=alike, **spread("a")),
            pod("two", "y", gpu=1, labels=alike, **spread("a")),
            pod("big", gpu=4, priority=100),
        ]
    )
    assert moves(decision) == {"one": "x2"}
    assert decision.placements[0].node == "x1"


def test_a_pod_apart_from_its_like_by_zone_moves_inside_its_zone() -> None:
    alike = {"app": "a"}
    decision = plan(
        [
            zoned("x1", "1", gpu=2),
            zoned("x2", "1", gpu=1),
            zoned("y", "2", gpu=1),
            pod("one", "x1", gpu=1, labels=alike, **apart("a", ZONE)),
            pod("two", "y", gpu=0, labels=alike, owner="", **apart("a", ZONE)),
            pod("big", gpu=2, priority=100),
        ]
    )
    assert moves(decision) == {"one": "x2"}


def test_a_pod_that_others_must_be_near_does_not_leave_them() -> None:
    """The scheduler would let it go; the pod near it couldn't start again where it is."""
    cache = pod("cache", "x", gpu=1, labels={"app": "cache"})
    objects = [
        zoned("x", "1", gpu=2),
        zoned("y", "2", gpu=1),
        cache,
        pod("user", "x", gpu=0, owner="", **near("cache")),
        pod("big", gpu=2, priority=100, nodeSelector={"host": "x"}),
    ]
    assert not plan(objects).steps
    del objects[3]
    assert moves(plan(objects)) == {"cache": "y"}


def test_a_pod_follows_the_one_it_must_be_near() -> None:
    decision = plan(
        [
            zoned("x", "1", gpu=3),
            zoned("y", "2", gpu=2),
            pod("cache", "x", gpu=1, labels={"app": "cache"}),
            pod("user", "x", gpu=1, **near("cache")),
            pod("big", gpu=3, priority=100, nodeSelector={"host": "x"}),
        ]
    )
    assert moves(decision) == {"cache": "y", "user": "y"}


def test_a_pod_with_a_host_port_moves_out_of_the_way() -> None:
    decision = plan(
        [
            zoned("x", "1"),
            zoned("y", "2"),
            pod("there", "x", **port(80)),
            pod("p", nodeSelector={"host": "x"}, **port(80)),
        ]
    )
    assert moves(decision) == {"there": "y"}


def test_pods_with_several_affinity_terms_are_placed() -> None:
    both = near("b", "host")
    both["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] += near("b")[
        "affinity"
    ]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    there = pod("there", "y", gpu=0, labels={"app": "b"}, owner="")
    decision = plan([zoned("x", "1"), zoned("y", "2"), there, pod("p", **both)])
    assert [p.node for p in decision.placements] == ["y"]


def test_a_pod_is_placed_near_one_that_waits_too() -> None:
    objects = [
        zoned("x", "1", gpu=2),
        zoned("y", "2", gpu=1),
        pod("b", gpu=1, labels={"app": "b"}),
        pod("p", gpu=1, priority=100, **near("b")),
    ]
    assert [p.pod.name for p in plan(objects).placements] == ["b", "p"]


def test_pods_that_only_fit_their_own_kind_stay_one_group() -> None:
    """Rules of one workload don't tell the pods of others apart."""
    plain = [pod(f"plain-{i}", "x", gpu=0, labels={"app": f"{i}"}) for i in range(6)]
    guards = [pod(f"guard-{i}", "xy"[i], gpu=0, labels={"app": "g"}, **apart("g")) for i in (0, 1)]
    objects = [zoned("x", "1"), zoned("y", "2"), *plain, *guards, pod("big", gpu=1)]
    problem, _ = formulate(snapshot(objects))
    assert sorted(g.most for g in problem.groups) == [1, 2, 6]
    assert not problem.between
