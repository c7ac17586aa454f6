"""What the scheduler is answered while room is kept for a Spark application's first pods.

Covered: rivals; executors as foreseen, larger, smaller, and more than foreseen; a driver of a
SparkApplication; the end by pods, by the status, by time, by the operator's death; admissions that
can't be read. Not covered: who writes the reservation (tests/spark_admission/test_turn.py), a real
scheduler (e2e/spark_admission/test_rooms.py).
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from fairstow.cluster.kinds import NODE, POD
from scheduler_plugins.index import ADMISSION, LEASE, Index
from scheduler_plugins.plugins.reserve import GRACE_SECONDS
from scheduler_plugins.verbs import Verbs
from tests.cluster.objects import Object, node, pod
from tests.scheduler_plugins.plans import lease

EPOCH = 1767225600.0
TWO_MINUTES = "2026-01-01T00:02:00Z"
NODES = ["a", "b"]


class World:
    """An extender, two nodes of 8 cores, and an admission that keeps 2 · 3 of a's for executors."""

    def __init__(self) -> None:
        self.wall, self.now = EPOCH, 1000.0
        self.index = Index(
            "fairstow-system/fairstow-operator", clock=lambda: self.now, wall=lambda: self.wall
        )
        self.handlers = Verbs(self.index).handlers
        for name in NODES:
            self.index.live.upsert(NODE, node(name))
        self.index.operator.upsert(LEASE, lease())

    def keep(self, *rooms: tuple[str, str, int, str], of: str = "etl") -> None:
        """Args: rooms: node, owner, pods and cores of each."""
        kept = [
            {"node": where, "owner": owner, "pods": pods, "requests": {"cpu": cpu, "pods": "1"}}
            for where, owner, pods, cpu in rooms
        ]
        self.tell({"until": TWO_MINUTES, "rooms": kept} if kept else None, of)

    def tell(self, reservation: object, of: str = "etl") -> None:
        self.index.spark.upsert(
            ADMISSION,
            {
                "metadata": {"namespace": "team", "name": f"{of}-1"},
                "spec": {"name": of, "uid": f"uid-{of}"},
                "status": {"reservation": reservation} if reservation else {},
            },
        )

    def filter(self, wanted: Object) -> list[str]:
        body = json.dumps({"Pod": wanted, "NodeNames": NODES}).encode()
        names: list[str] = json.loads(self.handlers[b"/filter"](body))["NodeNames"]
        return names

    def bind(self, wanted: Object, where: str) -> None:
        self.index.live.upsert(POD, wanted | {"spec": wanted["spec"] | {"nodeName": where}})


@pytest.fixture
def world() -> World:
    made = World()
    made.keep(("a", "Pod/etl", 2, "3"))
    return made


def executor(number: int, cpu: str = "3") -> Object:
    return pod(f"etl-exec-{number}", requests={"cpu": cpu}, owner=("Pod", "etl"))


def rival(cpu: str = "3", name: str = "rival") -> Object:
    return pod(name, requests={"cpu": cpu}, owner=("ReplicaSet", "other"))


def test_rivals_may_take_what_is_over(world: World) -> None:
    assert world.filter(rival("3")) == ["b"]
    assert world.filter(rival("2")) == ["a", "b"]


def test_executors_are_sent_to_their_room_and_no_more_of_them(world: World) -> None:
    assert world.filter(executor(1)) == ["a"]
    assert world.filter(executor(2, "2")) == ["a"]
    assert world.filter(executor(3, "4")) == ["b"], "of a's 8 cores 3 and 2 are on their way"


def test_room_is_free_once_its_pods_have_nodes_wherever(world: World) -> None:
    world.bind(executor(1), "b")
    assert world.filter(rival("5")) == ["a", "b"], "3 of 8 are kept on a"
    world.bind(executor(2), "a")
    assert world.filter(rival("5")) == ["a", "b"]


def test_what_was_answered_others_ends_with_what_was_kept_wherever_that_happens(
    world: World,
) -> None:
    assert world.filter(rival("5")) == ["b"]
    for number in (1, 2):
        world.bind(executor(number), "c")
    assert world.filter(rival("5")) == ["a", "b"], "both run elsewhere: nothing is kept on a"
    world.index.live.delete(POD, executor(1))
    assert world.filter(rival("6", "later")) == ["b"], "one of them is gone: it will come again"


def test_executors_larger_than_foreseen_take_their_own_room(world: World) -> None:
    assert world.filter(executor(1, "7")) == ["a", "b"]
    world.keep(("b", "Pod/other", 1, "6"), of="other")
    assert world.filter(executor(1, "7")) == ["a"], "but not others'"


def test_the_driver_of_a_sparkapplication_comes_first(world: World) -> None:
    world.keep(("b", "SparkApplication/etl", 1, "8"), ("a", "Pod/etl-driver", 1, "8"))
    assert world.filter(rival("1")) == []
    driver = pod("etl-driver", requests={"cpu": "8"}, owner=("SparkApplication", "etl"))
    assert world.filter(driver) == ["b"]
    world.bind(driver, "b")
    own = pod("etl-1", requests={"cpu": "8"}, owner=("Pod", "etl-driver"))
    assert world.filter(own) == ["a"]


def test_a_bare_driver_and_its_executors_fill_their_own(world: World) -> None:
    world.keep(("a", "Pod/etl", 1, "2"), ("a", "Pod/etl", 1, "5"))
    world.bind(pod("etl", requests={"cpu": "2"}, owner=None), "a")
    assert world.filter(rival("2")) == ["b"], "of 6 that are free 5 are kept"
    assert world.filter(rival("1", "small")) == ["a", "b"]


def test_nothing_is_kept_once_time_is_over_or_the_operator_is_dead(world: World) -> None:
    world.wall += 121
    world.index.expired()
    assert world.filter(rival()) == NODES
    world.tell({"until": TWO_MINUTES, "rooms": []})
    assert not world.index.spark.holds
    world.wall -= 121
    world.keep(("a", "Pod/etl", 2, "3"))
    assert world.filter(rival()) == ["b"]
    world.now += 15 + GRACE_SECONDS + 1
    assert world.filter(rival()) == NODES


def test_the_status_that_names_none_ends_it(world: World) -> None:
    world.keep()
    assert world.filter(rival()) == NODES
    world.keep(("a", "Pod/etl", 2, "3"))
    world.index.spark.retain(ADMISSION, frozenset())
    assert world.filter(rival()) == NODES


@pytest.mark.parametrize(
    "reservation",
    [{"until": "soon", "rooms": []}, {"until": TWO_MINUTES}, {"rooms": 3},
     {"until": TWO_MINUTES, "rooms": [
         {"node": "a", "owner": "Pod/etl", "pods": 1, "requests": {"cpu": "much"}}]}],
)  # fmt: skip
def test_what_cant_be_read_keeps_nothing(world: World, reservation: Any) -> None:
    world.tell(reservation)
    assert world.filter(rival()) == NODES
