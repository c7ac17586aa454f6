"""The loop that sees to serving pools, against a server that refuses.

Covered: what fails for one pool (refused by the API server, or a fault of our own) is counted and
keeps no other from its turn; a server that can't be reached ends the turn. Not covered: what a turn
does (tests/serving, e2e/serving).
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from controllers import metrics
from controllers.health import Turns
from controllers.serving.objects import ServingObjects
from controllers.serving.pools import ServingLoop
from fairstow.cluster.errors import InputError
from fairstow.cluster.live import LiveCluster
from fairstow.kube.problems import ApiError
from tests.packing.checker_clusters import Json
from tests.packing.engine_objects import pool

NOW = 1_767_225_600.0


class Server:
    """Takes the status of every pool but one."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.reported: list[str] = []
        here = cast(Any, self)
        objects = ServingObjects(here)
        for name in ("a", "b", "c"):
            objects.put(pool(name, status={}) | {"status": {}})
        self.loop = ServingLoop(
            here, LiveCluster(), objects, here, clock=lambda: NOW, turns=Turns()
        )

    async def ledgers(self, *_: object) -> Json:
        return {}

    async def apply(self, obj: Json, _manager: str, *, subresource: str) -> Json:
        assert subresource == "status"
        name = obj["metadata"]["name"]
        if name == "b":
            raise self.error
        self.reported.append(name)
        return pool(name) | {"status": obj["status"]}


def failures() -> float:
    return float(metrics.TURN_FAILURES.labels("serving")._value.get())


@pytest.mark.parametrize("error", [ApiError(403, "forbidden"), KeyError("x")])
def test_what_fails_for_one_pool_does_not_stop_the_others(error: Exception) -> None:
    server, before = Server(error), failures()
    assert asyncio.run(server.loop.turn()) == NOW + 5
    assert server.reported == ["a", "c"]
    assert failures() == before + 1


def test_a_server_that_is_away_ends_the_turn() -> None:
    server = Server(InputError("cluster", "can't be reached"))
    with pytest.raises(InputError):
        asyncio.run(server.loop.turn())
    assert server.reported == ["a"]
