"""A queue's account: who is due, who was charged, and that it outlives the program.

Covered: turns between users, live weights, charge-back of what was under-declared, of what never
ends and of what was missed; estimates that learn; the state as JSON. Not covered: the fair queue's
own invariants (tests/spark).
"""

from __future__ import annotations

import json
from typing import Any

from fairstow.api import SparkQueueSpec
from fairstow.spark.accounts import Account
from fairstow.spark.applications import Application, Phase
from fairstow.spark.estimates import Estimates
from fairstow.spark.fair_queueing import FairQueue
from fairstow.spark.pods import SparkPod
from fairstow.spark.usage import Usage

SPEC = SparkQueueSpec(cores=10)


def app(name: str, user: str, **fields: Any) -> Application:
    known: dict[str, Any] = {
        "kind": "Pod", "namespace": "team", "name": name, "user": user, "queue": "q",
        "template": "etl", "phase": Phase.WAITING, "created": 0,
    }  # fmt: skip
    return Application(id=name, **(known | fields))


def ran(name: str, user: str, cores: int, seconds: int, **fields: Any) -> Application:
    pod = SparkPod(
        namespace="team", name=name, uid=name, driver=True, app=name, cores=1000 * cores,
        started=0, ended=seconds, node="n", phase="Succeeded",
    )  # fmt: skip
    return app(name, user, pods=(pod,), **({"phase": Phase.ENDED} | fields))


class Queue:
    """An account that is looked at."""

    def __init__(self) -> None:
        self.account = Account(FairQueue(10, 0), Estimates())
        self.usage = Usage()

    def look(self, now: float, *apps: Application, spec: SparkQueueSpec = SPEC) -> list[str]:
        """Return who is due, the first first."""
        self.usage.look(now, apps)
        first = {each.id: 2000 for each in apps}
        self.ended = self.account.look(now, spec, apps, self.usage, first)
        waits = {each.id for each in apps if each.phase is Phase.WAITING}
        return [each for each in self.account.order() if each in waits]


def test_a_flood_doesnt_delay_others() -> None:
    flood = [app(f"bob-{n}", "bob") for n in range(5)]
    queue = Queue()
    queue.look(0, *flood)
    order = queue.look(1, *flood, app("ana-0", "ana", created=1))
    assert order.index("ana-0") == 1


def test_weights_may_change_at_any_time() -> None:
    apps = [app("bob-0", "bob"), app("bob-1", "bob"), app("ana-0", "ana", created=1)]
    queue = Queue()
    assert queue.look(0, *apps) == ["bob-0", "ana-0", "bob-1"]
    heavy = SparkQueueSpec.model_validate({"cores": 10, "users": [{"name": "bob", "weight": 5}]})
    assert queue.look(1, *apps, spec=heavy) == ["bob-0", "bob-1", "ana-0"]


def test_who_used_more_than_was_expected_waits_for_it() -> None:
    queue = Queue()
    queue.look(0, app("bob-0", "bob"))
    more = [app("bob-1", "bob", created=5), app("ana-0", "ana", created=6)]
    order = queue.look(10, ran("bob-0", "bob", 100, 1000), *more)
    assert order == ["ana-0", "bob-1"]
    (ended,) = queue.ended
    assert ended[0].id == "bob-0"


def test_what_never_ends_and_what_was_missed_is_charged_as_it_goes() -> None:
    for fields in ({"lasting": True}, {"missed": True}):
        queue = Queue()
        stream = ran("stream", "bob", 100, 1000, phase=Phase.RUNNING, **fields)
        queue.look(10, stream)
        assert queue.look(11, stream, app("bob-1", "bob"), app("ana-0", "ana", created=1)) == [
            "ana-0",
            "bob-1",
        ]


def test_runs_that_ended_tell_what_the_next_will_be() -> None:
    queue = Queue()
    first = app("bob-0", "bob")
    queue.look(0, first)
    assert queue.account.expected(first).work == 1200  # ten minutes on its first cores
    queue.look(10, ran("bob-0", "bob", 2, 100))
    again = app("bob-1", "bob")
    queue.look(11, again)
    expected = queue.account.expected(again)
    assert expected.work == 200
    assert expected.low < 200 < expected.high


def test_what_vanished_is_over() -> None:
    queue = Queue()
    queue.look(0, app("bob-0", "bob"))
    assert queue.look(1) == []
    assert [ended.id for ended, _ in queue.ended] == ["bob-0"]


def test_an_application_its_user_suspended_isnt_queued() -> None:
    queue = Queue()
    assert queue.look(0, app("a", "ana", own_suspend=True)) == []


def test_what_is_held_gathers_neither_credit_nor_waiting_time() -> None:
    queue = Queue()
    held = [app(f"bob-{number}", "bob", held=True) for number in range(3)]
    ana = [app(f"ana-{number}", "ana") for number in range(9)]
    assert queue.look(0, *held, *ana) == [each.id for each in ana]
    resumed = [app(each.id, "bob") for each in held]
    order = queue.look(3600, *resumed, *ana)
    assert order.index("bob-2") > 2
    queue.account = Account.restored(json.loads(json.dumps(queue.account.state())))
    assert queue.account.waited(resumed[0], 3600) == 3600
    assert queue.account.waited(ana[0], 3600) == 3600
    queue.look(3660, *held)
    queue.look(3700, *resumed)
    assert queue.account.waited(resumed[0], 3720) == 60
    queue.look(3720, *resumed, spec=SparkQueueSpec(cores=10, hold=True))
    assert queue.account.waited(app("new", "ana"), 3780) == 60
    queue.look(3780, *held)
    assert queue.look(3781) == []


def test_the_account_outlives_the_program() -> None:
    queue = Queue()
    apps = [app("bob-0", "bob"), app("bob-1", "bob"), app("ana-0", "ana", created=1)]
    queue.look(0, *apps, ran("old", "ana", 3, 100))
    order = queue.look(5, *apps)
    kept = json.loads(json.dumps(queue.account.state()))
    queue.account = Account.restored(kept)
    assert queue.look(6, *apps) == order
    assert queue.account.expected(apps[0]).came is not None
