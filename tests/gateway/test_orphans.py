"""Requests whose model is gone: when they are told so.

Streams and fleet are stand-ins that hold just what is looked at, and the clock is the test's own.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fairstow.gateway.orphans import ORPHANED_SECONDS, Orphans
from fairstow.gateway.outbox import Outbox


class World:
    """One stream that waits, begun on model A, and engines of the models that are named."""

    def __init__(self, *models: str | None, at: object = None) -> None:
        self.now = 100.0
        view = SimpleNamespace(id="1", compatibility="A")
        self.stream = SimpleNamespace(view=view, at=at, outbox=Outbox())
        self.fleet = SimpleNamespace(instances={})
        self.serve(*models)
        whole: Any = (self.fleet, {"1": self.stream}, lambda: self.now)
        self.orphans = Orphans(*whole)

    def serve(self, *models: str | None) -> None:
        self.fleet.instances = {
            str(number): SimpleNamespace(facts=model and SimpleNamespace(compatibility=model))
            for number, model in enumerate(models)
        }

    def told(self, later: float = 0.0) -> bool:
        self.now += later
        self.orphans.look()
        return self.stream.outbox.error is not None


def test_a_request_whose_model_is_gone_is_told_so_after_a_while() -> None:
    world = World("B")
    assert not world.told()
    assert not world.told(ORPHANED_SECONDS - 1)
    assert world.told(1)
    assert world.stream.outbox.error.status == 503


@pytest.mark.parametrize("models", [("A",), ("A", "B"), ("B", None), ()])
def test_it_waits_while_an_engine_of_it_is_there_or_may_come(
    models: tuple[str | None, ...],
) -> None:
    world = World(*models)
    assert not world.told()
    assert not world.told(10 * ORPHANED_SECONDS)


def test_a_request_that_runs_is_none() -> None:
    world = World("B", at="somewhere")
    assert not world.told()
    assert not world.told(ORPHANED_SECONDS)


def test_a_model_that_comes_back_begins_the_wait_anew() -> None:
    world = World("B")
    assert not world.told()
    world.serve("A", "B")
    assert not world.told(ORPHANED_SECONDS - 1)
    world.serve("B")
    assert not world.told(1)
    assert not world.told(ORPHANED_SECONDS - 1)
    assert world.told(1)
