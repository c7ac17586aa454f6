"""What owners of pods are told by Events: texts as they read them, and when two are the same.

Leaves out when they are sent (the controllers) and the recorder that sends them.
"""

from __future__ import annotations

from typing import Any

import pytest

from fairstow.api import PackingPlan, Reason
from fairstow.packing.announce import (
    LONGEST,
    Announcement,
    PodRef,
    given_up,
    left_alone,
    moves,
    room_is_made,
    would_run,
)
from tests.api.objects import EXAMPLES, changed


def pod(name: str, namespace: str = "batch", **more: str) -> dict[str, Any]:
    return {"namespace": namespace, "name": name, "uid": f"uid-{name}", **more}


def plan(**status: Any) -> PackingPlan:
    """Two steps; `big` needs both, `small` the first alone."""
    spec = {
        "placements": [
            pod("small", "team-a", node="n1"),
            pod("big", "team-b", node="n2"),
        ],
        "moves": [
            pod("m1", **{"from": "n1", "to": "n3"}),
            pod("m2", **{"from": "n2", "to": "n3"}),
        ],
        "evictions": [pod("e1", **{"from": "n2"})],
        "steps": [
            {
                "evict": [pod("m1")],
                "bind": [pod("m1", node="n3"), pod("small", "team-a", node="n1")],
            },
            {
                "evict": [pod("m2"), pod("e1")],
                "bind": [pod("m2", node="n3"), pod("big", "team-b", node="n2")],
            },
        ],
        "summary": {"placements": 2, "moves": 2, "evictions": 1},
    }  # fmt: skip
    changes = {f"spec.{name}": value for name, value in spec.items()}
    changes |= {"metadata.name": "plan-1a2b3c", **({"status": status} if status else {})}
    return PackingPlan.model_validate(changed(EXAMPLES["PackingPlan"], changes))


def texts(said: list[Announcement]) -> dict[str, str]:
    return {each.pod.name: each.message for each in said}


def test_a_waiting_pod_is_told_what_it_would_take_and_who_is_waited_for() -> None:
    assert texts(would_run(plan(), Reason.WAITING_FOR_APPROVAL)) == {
        "small": "Would run on n1 after moving 1 running pod; plan-1a2b3c waits for approval: "
        "kubectl fairstow approve plan/plan-1a2b3c",
        "big": "Would run on n2 after moving 2 running pods and evicting 1 pod of lower priority; "
        "plan-1a2b3c waits for approval: kubectl fairstow approve plan/plan-1a2b3c",
    }


@pytest.mark.parametrize(
    ("reason", "until", "said"),
    [
        (Reason.OUTSIDE_MAINTENANCE_WINDOW, 1_772_366_400,
         "waits for the next maintenance window, which opens at 2026-03-01T12:00:00Z"),
        (Reason.OUTSIDE_MAINTENANCE_WINDOW, None, "waits for the next maintenance window"),
        (Reason.SUSPENDED, None, "waits, since policy of its pool is suspended"),
        (Reason.RESERVING, None,
         ("plan-1a2b3c: not every replica of the scheduler extender has said yet that it keeps the"
         " plan's room")),
    ],
)  # fmt: skip
def test_whatever_a_plan_waits_for_is_named(reason: Reason, until: int | None, said: str) -> None:
    for each in would_run(plan(), reason, until):
        assert each.message.endswith(said)
        assert each.reason == reason


def test_while_room_is_made_those_still_waiting_hear_of_each_step_once() -> None:
    first, second = room_is_made(plan(), 0), room_is_made(plan(), 1)
    assert texts(first).keys() == {"small", "big"}
    assert texts(second) == {
        "big": "Room is being made on n2 and kept for this pod: step 2 of 2 of plan plan-1a2b3c"
    }
    assert first == room_is_made(plan(), 0)
    assert not {a.key for a in first} & {a.key for a in second}


def test_those_who_go_are_told_where_to_and_how_to_prevent_it() -> None:
    said = texts(moves(plan(), 1))
    assert said["m2"].startswith(
        "Evicted by plan plan-1a2b3c, step 2 of 2: its replacement has room on n3."
    )
    assert "for pods of higher priority" in said["e1"]
    assert all("fairstow.dev/do-not-disrupt=true" in each for each in said.values())
    assert texts(moves(plan(), 0)).keys() == {"m1"}


def test_only_those_that_a_failed_plan_left_waiting_are_told() -> None:
    stopped = plan(stepsDone=1)
    (said,) = given_up(stopped, Reason.POD_GONE)
    assert said.pod.name == "big"
    assert said.warning
    assert said.message == (
        "Plan plan-1a2b3c is given up: A pod of the plan no longer exists under its uid. This pod "
        "waits as before; another plan may follow"
    )
    rejected = given_up(plan(), Reason.REJECTED)
    assert all("another plan" not in each.message for each in rejected)


def test_a_policy_that_does_nothing_says_why_and_what_to_do() -> None:
    (said,) = left_alone([PodRef("team-a", "big", "u")], "nightly", Reason.GAIN_TOO_SMALL)
    assert said.message == (
        "Policy nightly looked for room by moving running pods and made no plan: The best plan "
        "places too few pods for what it moves (spec.minimumGainPermille). What would help: "
        "kubectl fairstow explain pod/team-a/big"
    )


def all_of(which: PackingPlan) -> list[Announcement]:
    return [
        *would_run(which, Reason.WAITING_FOR_APPROVAL),
        *room_is_made(which, 0),
        *moves(which, 0),
        *moves(which, 1),
        *given_up(which, Reason.POD_GONE),
    ]


def test_nobody_reads_of_pods_in_other_namespaces() -> None:
    """Events are read by those who may read the namespace, and by them alone."""
    names = {"small": "team-a", "big": "team-b", "m1": "batch", "m2": "batch", "e1": "batch"}
    for said in all_of(plan()):
        others = {n for n, where in names.items() if where != said.pod.namespace}
        assert not {n for n in others if f"/{n}" in said.message or f" {n} " in said.message}
        assert not {w for w in names.values() if w != said.pod.namespace and w in said.message}


def test_what_differs_for_a_reader_has_another_key() -> None:
    said = all_of(plan())
    assert len({each.key for each in said}) == len(said)
    assert {a.key for a in said} == {a.key for a in all_of(plan())}


def test_no_text_is_longer_than_an_event_takes() -> None:
    (said,) = left_alone([PodRef("a", "b", "u")], "p", Reason.LIMIT_REACHED, "x" * 5000)
    assert len(said.message) == LONGEST
