"""`State`: coming and going leaves no trace.

On random clusters `add` and `remove` undo each other, and a state that has lived through many of
them equals one made afresh. What it says is right in test_state.py and, against the real
scheduler, in e2e/test_rules_against_scheduler.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairstow.cluster.model import Node, Pod
from fairstow.cluster.project import build
from fairstow.cluster.snapshot import Snapshot
from fairstow.cluster.state import State
from tests.cluster.objects import items, pod, snapshot
from tests.cluster.random_clusters import cluster
from tests.cluster.random_pods import Uses


def test_misuse_is_an_error() -> None:
    found = snapshot(pod("old", nodeName="node-0"), pod("new"))
    state, (home,) = State(found), found.nodes
    new, old = found.pods
    with pytest.raises(ValueError, match="on node-0: remove it first"):
        state.refusal(old, home)
    with pytest.raises(ValueError, match="on node-0 already"):
        state.add(old, home)
    with pytest.raises(ValueError, match="on no node"):
        state.remove(new)


USES = st.sampled_from(
    [
        ~Uses(0),
        Uses.SPREAD | Uses.NODES,
        Uses.AFFINITY | Uses.GUARDS,
        Uses.VOLUMES | Uses.PORTS,
        Uses.NOMINATED | Uses.ROOM | Uses.SPREAD | Uses.AFFINITY,
    ]
)
STEPS = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 4)), max_size=25)


def random_snapshot(seed: int, uses: Uses) -> Snapshot:
    return build(items(*cluster(seed, uses, nodes=5, pods=12).objects))


def view(state: State, found: Snapshot) -> object:
    """All that can be asked of a state: every refusal of pods that aren't placed, and the room."""
    waiting = [p for p in found.pods if state.home(p) is None]
    said = [state.refusals(p, n) for p in waiting for n in found.nodes]
    room = [{r: a for r, a in state.free(n).items() if a} for n in found.nodes]
    return said, room


def act(state: State, found: Snapshot, steps: list[tuple[int, int]]) -> list[Callable[[], None]]:
    """Take steps (pod, node): away if it is placed, else there. Return what undoes each."""
    undo: list[Callable[[], None]] = []
    for index, where in steps:
        chosen = found.pods[index % len(found.pods)]
        home = state.home(chosen)
        if home is None:
            state.add(chosen, found.nodes[where])
            undo.append(lambda pod=chosen: state.remove(pod))  # type: ignore[misc]
        else:
            state.remove(chosen)
            undo.append(lambda pod=chosen, node=home: state.add(pod, node))  # type: ignore[misc]
    return undo


@given(st.integers(0, 2**32), USES, STEPS)
def test_steps_and_their_inverses_leave_no_trace(
    seed: int, uses: Uses, steps: list[tuple[int, int]]
) -> None:
    found = random_snapshot(seed, uses)
    state = State(found)
    before = view(state, found)
    for undo in reversed(act(state, found, steps)):
        undo()
    assert view(state, found) == before == view(State(found), found)


def moved(pod: Pod, home: Node | None) -> Pod:
    """The record of a pod as a snapshot taken now would have it."""
    if home is not None and not pod.node and pod.nominated == home.name:
        return pod
    return msgspec.structs.replace(pod, node=home.name if home else "", nominated="")


@given(st.integers(0, 2**32), USES, STEPS, st.integers(0, 2**32))
def test_a_state_that_has_seen_much_equals_a_fresh_one(
    seed: int, uses: Uses, steps: list[tuple[int, int]], early: int
) -> None:
    found = random_snapshot(seed, uses)
    state = State(found)
    if random.Random(early).random() < 0.5:
        view(state, found)  # so that tallies are there and must be kept up to date
    act(state, found, steps)
    now = replace(found, pods=tuple(moved(p, state.home(p)) for p in found.pods))
    assert view(state, found) == view(State(now), now)
