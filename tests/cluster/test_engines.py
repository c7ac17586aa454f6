"""Which pods are LLM engines and which of them can be spared.

Covered: pools and drains as they are read, who is needed and why, what a pool's status says of
room, that the hash of a cluster knows of it all. Not covered: what plans make of it
(tests/packing/test_engines.py).
"""

from __future__ import annotations

import pytest

from tests.packing.checker_clusters import Json, node, pod
from tests.packing.clusters import snapshot
from tests.packing.engine_objects import drain, engine, pool

NODES = [node("a"), node("b")]


def needed(objects: list[Json], name: str = "e0") -> str:
    found = snapshot([*NODES, *objects])
    return found.engines.needed(next(p for p in found.pods if p.name == name))


def test_one_of_several_can_be_spared() -> None:
    assert needed([pool(), engine("e0", "a"), engine("e1", "b")]) == ""


def test_the_only_instance_is_needed() -> None:
    alone = [pool(), engine("e0", "a"), engine("e1"), engine("e2", "b", app="other")]
    assert needed(alone) == "it is the only instance of serving pool team-a/llama"
    assert needed([*alone, pool(namespace="team-b")]) == needed(alone)


@pytest.mark.parametrize(
    "away",
    [
        engine("e1", "b", ready=False),
        engine("e1", "b", metadata={"deletionTimestamp": "2026-03-01T12:00:00Z"}),
    ],
)
def test_nobody_goes_while_another_is_away(away: Json) -> None:
    there = [pool(), engine("e0", "a"), away, engine("e2", "b")]
    assert needed(there) == "another instance of serving pool team-a/llama, e1, is away"


def test_an_engine_that_drains_counts_as_away_for_others_only() -> None:
    there = [pool(), engine("e0", "a"), engine("e1", "b"), drain("e1")]
    assert "e1, is away" in needed(there)
    assert needed(there, "e1") == ""


def test_what_is_not_ready_itself_may_go() -> None:
    assert needed([pool(), engine("e0", "a", ready=False), engine("e1", "b")]) == ""


def test_other_pods_are_no_engines() -> None:
    there = [pool(), pod("e0", "a"), engine("e1", "b"), engine("x", "b", app="other")]
    assert needed(there) == ""
    assert needed([pod("e0", "a"), drain("e0")]) == ""


@pytest.mark.parametrize(
    ("status", "spare"),
    [
        ({}, False),
        ({"gateways": 1}, False),
        ({"gateways": 0}, True),
        ({"gateways": 2, "spareInstances": 0}, False),
        ({"gateways": 2, "spareInstances": 1}, True),
    ],
)
def test_room_is_what_the_pools_status_says(status: Json, spare: bool) -> None:
    found = snapshot([*NODES, pool(status=status), engine("e0", "a")])
    assert found.engines.spare(found.pods[0]) is spare


def test_drains_say_when_they_are_over_and_whose_they_are() -> None:
    found = snapshot([*NODES, drain("e0", over="DeadlineOver", plan="plan-1"), drain("e1")])
    first, second = found.engine_drains
    assert (first.over, first.plan, first.pod) == ("DeadlineOver", "plan-1", "uid-team-a-e0")
    assert (second.over, second.plan) == ("", "")


def test_the_hash_knows_of_pools_and_drains() -> None:
    plain = [*NODES, engine("e0", "a"), engine("e1", "b")]
    hashes = {
        snapshot(objects).hash for objects in (plain, [*plain, pool()], [*plain, drain("e0")])
    }
    assert len(hashes) == 3
