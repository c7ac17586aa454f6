"""Which moves are proposed to the gateways of a pool that has several.

Covers `fairstow.serving.rescheduling`: who is told what, and when nobody is told anything. Not
covered: which moves help (test_policies), and what gateways do with them (e2e/serving).
"""

from __future__ import annotations

from typing import Any

import pytest

from fairstow.api import ServingPoolSpec
from fairstow.serving.rescheduling import proposals
from fairstow.serving.wire import InstanceEntry, Ledger, Phase, RequestEntry, State


def spec(**rescheduling: Any) -> ServingPoolSpec:
    return ServingPoolSpec.model_validate(
        {
            "engines": {"selector": {"matchLabels": {"app": "llama"}}},
            "rescheduling": {"belowSteps": 100, "aboveSteps": 500} | rescheduling,
        }
    )


def request(name: str, instance: str = "a", tokens: int = 1_000, **more: Any) -> RequestEntry:
    return RequestEntry(
        id=name,
        tenant="t",
        instance=instance,
        phase=Phase.RUNNING,
        prompt=tokens,
        generated=5,
        limit=100,
        priority=0,
        arrived=1.0,
        **more,
    )


def ledger(
    name: str, *requests: RequestEntry, b: State = State.SERVING, tokens: int = 10_000
) -> Ledger:
    entries = [
        InstanceEntry(name=each, url=each, state=state, kv_tokens=tokens, block=16)
        for each, state in (("a", State.SERVING), ("b", b))
    ]
    return Ledger(name, "llama", entries, requests)


def crowded(**more: Any) -> dict[str, Ledger | None]:
    """All is on one instance; neither gateway alone would think that too much."""
    halves = [[request(f"{name}{n}") for n in range(4)] for name in "gh"]
    return {name: ledger(name, *half, **more) for name, half in zip("gh", halves, strict=True)}


def test_the_owner_is_told_of_what_only_the_whole_shows() -> None:
    halves = crowded()
    found = proposals(spec(belowSteps=300), halves, 0.0)
    (move,) = [move for moves in found.values() for move in moves.moves]
    assert (move.source, move.destination) == ("a", "b")
    assert move in found[move.request[0]].moves
    assert all(moves.leads for moves in found.values())
    one = halves["g"]
    assert one is not None
    told = proposals(spec(belowSteps=300), {"g": one, "h": ledger("h")}, 0.0)
    assert [moves.moves for moves in told.values()] == [[], []]


@pytest.mark.parametrize(
    ("how", "ledgers"),
    [
        pytest.param(spec(enabled=False), crowded(), id="not wanted"),
        pytest.param(spec(), {"g": crowded()["g"]}, id="one gateway"),
        pytest.param(spec(), crowded() | {"i": None}, id="one is silent"),
        pytest.param(
            spec().model_copy(update={"dispatch": "RoundRobin"}), crowded(), id="moves nothing"
        ),
    ],
)
def test_nobody_is_told_anything(how: ServingPoolSpec, ledgers: dict[str, Ledger | None]) -> None:
    assert proposals(how, ledgers, 0.0) == {}


@pytest.mark.parametrize("state", [State.DRAINING, State.LOST, State.STARTING])
def test_nothing_moves_to_or_from_what_does_not_serve(state: State) -> None:
    found = proposals(spec(), crowded(b=state), 0.0)
    assert [moves.moves for moves in found.values()] == [[], []]


def test_nothing_moves_where_capacities_are_unknown() -> None:
    found = proposals(spec(), crowded(tokens=0), 0.0)
    assert [moves.moves for moves in found.values()] == [[], []]
