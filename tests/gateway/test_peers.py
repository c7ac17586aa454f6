"""Where a gateway sends a request while others of its pool may send theirs.

Covered: near equals are drawn between, what peers have on an engine counts, and what they say is
summed and bounded in sense. Not covered: that they hear each other (e2e/serving/test_gateways.py).
"""

from __future__ import annotations

from typing import Any, cast

import pytest

from fairstow.gateway.dispatching import Dispatcher
from fairstow.gateway.fleet import Fleet, Instance
from fairstow.gateway.ledger import Others
from fairstow.gateway.peers import summed
from fairstow.serving.model import RequestView
from fairstow.serving.policies import policy
from fairstow.serving.wire import Load


class Named:
    """As much of an engine as dispatching looks at."""

    def __init__(self, name: str) -> None:
        self.name = name


def engines(*names: str) -> Fleet:
    fleet = Fleet()
    for name in names:
        instance = fleet.instances[name] = Instance(cast("Any", Named(name)))
        instance.answers = True
        instance.place.learn(13_616, 16)
    return fleet


def request(number: int) -> RequestView:
    return RequestView(id=str(number), prompt=500, limit=100, arrived=0.0)


@pytest.mark.parametrize(
    ("peers", "on_a", "expected"),
    [
        pytest.param(0, Others(), {"a"}, id="alone"),
        pytest.param(1, Others(), {"a", "b"}, id="equals"),
        pytest.param(1, Others(used=8_000, running=10), {"b"}, id="a peer is on one"),
        pytest.param(20, Others(used=8_000, running=10), {"a", "b"}, id="many peers"),
    ],
)
def test_near_equals_are_drawn_between(peers: int, on_a: Others, expected: set[str]) -> None:
    fleet = engines("a", "b")
    fleet["a"].place.share(on_a)
    dispatcher = Dispatcher(fleet, policy("virtual-usage"), lambda: 0.0)
    dispatcher.peers = peers
    chosen = [dispatcher.choose(request(number)) for number in range(40)]
    assert {each.name for each in chosen if each is not None} == expected


def test_loads_are_summed_by_engine_and_nonsense_is_left_out() -> None:
    said = [
        Load("a", used=160, running=1),
        Load("a", used=320, running=2, waiting=1, demand=64),
        Load("b", used=-1),
    ]
    assert summed(said) == {"a": Others(used=480, running=3, waiting=1, demand=64)}
