"""Plans and policies as tables and pages, and what may be decided about a plan in which state.

Golden text for each table; the decision's table is complete over states and verbs. Leaves out the
API server: e2e/test_verbs.py runs the program against a real one.
"""

from __future__ import annotations

from typing import Any

import pytest

from fairstow.api import PackingPlan
from fairstow.cli.applying import refuse_another
from fairstow.cli.deciding import Answer, Verb, answer, change, consequence
from fairstow.cli.describing import page
from fairstow.cli.listing import history_table, plan_table, policy_table
from fairstow.cli.objects import PLAN_WORDS, named
from fairstow.cli.seen import span, standing
from fairstow.cluster.errors import InputError
from tests.api.objects import EXAMPLES, changed
from tests.cli.plans import NOW, STATES, ago, condition, plan, policy_view, raw_plan

PLANS = """\
NAME           STATE      REASON              STEPS  PLACES  MOVES  EVICTS  POLICY   DECIDED                                               AGE
plan-00000001  New        -                     0/1       1      1       0  -        -                                                     5s
plan-00000002  Waiting    WaitingForApproval    0/1       1      1       0  -        -                                                     90s
plan-00000003  Executing  WaitingForPods        0/1       1      1       0  nightly  approved by jane@example.com                          11m
plan-00000004  Succeeded  Succeeded             1/1       1      1       0  -        approved by system:serviceaccount:fairstow-system:op  150m
plan-00000005  Stale      Aborted               0/1       1      1       0  -        stopped by joe                                        25h
plan-00000006  Rejected   Rejected              0/1       1      1       0  -        rejected by joe                                       4d15h"""  # noqa: E501

HISTORY = """\
NAME           OUTCOME    REASON     STEPS  PLACES  MOVES  EVICTS  POLICY  DECIDED                                               TOOK   ENDED
plan-00000006  Rejected   Rejected     0/1       1      1       0  -       rejected by joe                                       -      4d14h ago
plan-00000005  Stale      Aborted      0/1       1      1       0  -       stopped by joe                                        100s   22h ago
plan-00000004  Succeeded  Succeeded    1/1       1      1       0  -       approved by system:serviceaccount:fairstow-system:op  3m20s  133m ago"""  # noqa: E501

PAGE = """\
plan/plan-00000003: Executing (WaitingForPods)
1 pod has yet to arrive.

  Made      11m ago, under policy nightly
  Goal      Place: 1 pod placed, 1 moved, 0 evicted for good; cost 1
  Decided   approved by jane@example.com
  Progress  0 of 1 step done, step 1 under way for 95s

Conditions
  TYPE       STATUS  REASON          SINCE     SAYS
  Succeeded  False   WaitingForPods  60s ago   1 pod has yet to arrive.
  Reserved   True    Reserved        100s ago
  Executing  True    Executing       95s ago

Steps (1)
    1. now   move team-b/web-5d9-abcde gpu-2 → gpu-1, place team-a/train-0 on gpu-2

Room kept meanwhile
  gpu-1: for 1 pod of team-b/ReplicaSet/web-5d9
  gpu-2: for 1 pod of team-a/StatefulSet/train

Next: follow it; to stop it between two steps: abort.
  fairstow plans -w"""


def test_plans_in_every_state() -> None:
    assert "\n".join(plan_table(STATES.values(), NOW, None)) == PLANS


def test_history_tells_what_came_of_plans_the_newest_last() -> None:
    over = [each for each in STATES.values() if standing(each).finished]
    assert "\n".join(history_table(over, NOW, None)) == HISTORY


def test_wide_adds_the_sentence() -> None:
    wide = plan_table([STATES["stale"]], NOW, None, wide=True)
    assert wide[0].split()[-2:] == ["COST", "SAYS"]
    assert wide[1].endswith("joe stopped it.")


def test_a_narrow_terminal_gets_blocks_instead_of_broken_lines() -> None:
    lines = plan_table(STATES.values(), NOW, 60)
    assert lines[:3] == ["plan-00000001", "  state: New", "  reason: -"]


def test_a_plan_on_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["fairstow"])
    assert "\n".join(page(STATES["executing"], NOW, None)) == PAGE


@pytest.mark.parametrize(
    ("state", "command"),
    [
        ("new", "doctor"),
        ("waiting", "approve plan/plan-00000002"),
        ("succeeded", "history"),
        ("stale", "plan --apply"),
        ("rejected", "plan --apply"),
    ],
)
def test_a_page_ends_with_what_to_do_now(state: str, command: str) -> None:
    assert list(page(STATES[state], NOW, None))[-1].endswith(command)


def policy(name: str, **changes: Any) -> Any:
    paths = {path.replace("__", "."): value for path, value in changes.items()}
    meta = {"metadata": {"name": name, "creationTimestamp": ago(86_400 * 9)}}
    return policy_view(changed(EXAMPLES["PackingPolicy"], meta | paths))


POLICIES = """\
NAME   POOL  MODE       SUSPENDED  READY          LAST RUN  OUTCOME      LAST PLAN      AGE
fresh  a100  Recommend  no         -              -         -            -              9d
lost   a100  Observe    yes        PolicyOverlap  -         -            -              9d
open   a100  Auto*      no         yes            90s ago   PlanCreated  plan-3f9a1c07  9d
* stops at Recommend: pods may land on the pool without Fairstow's filter."""


def test_policies_say_what_holds_them_back() -> None:
    ready = condition("Ready", "True", "PolicyReady", "Fine.")
    overlap = condition("Ready", "False", "PolicyOverlap", "Policy older packs gpu-1 too.")
    unsafe = condition("ReservationNotEnforced", "True", "ReservationNotEnforced", "3 pods.")
    run = {"time": ago(90), "reason": "PlanCreated"}
    all_ = [
        policy("fresh", spec__mode="Recommend"),
        policy("lost", spec__mode="Observe", spec__suspend=True,
               status={"conditions": [overlap]}),
        policy("open", spec__mode="Auto",
               status={"conditions": [ready, unsafe], "lastRun": run,
                       "lastPlan": "plan-3f9a1c07"}),
    ]  # fmt: skip
    assert "\n".join(policy_table(all_, NOW, None)) == POLICIES
    wide = policy_table(all_, NOW, None, wide=True)
    assert wide[2].endswith("Policy older packs gpu-1 too.")
    assert wide[3].endswith("3 pods.")


ALLOWED = {
    Verb.APPROVE: {"new", "waiting"},
    Verb.REJECT: {"new", "waiting"},
    Verb.ABORT: {"new", "waiting", "executing"},
}
ALREADY = {
    Verb.APPROVE: {"executing", "succeeded"},
    Verb.REJECT: {"rejected"},
    Verb.ABORT: {"stale"},
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("verb", Verb)
def test_what_may_be_decided_in_which_state(verb: Verb, state: str) -> None:
    said = answer(verb, STATES[state])
    assert (said.allowed, said.already) == (state in ALLOWED[verb], state in ALREADY[verb]), said
    assert said.allowed or said.said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"spec__budgets": "Unknown"}, "without knowing the PodDisruptionBudgets"),
        ({"spec__rules": "Paper"}, "paper's rules"),
        ({"spec__abort": {"by": "joe"}}, "it is over"),
    ],
)
def test_what_can_never_be_approved_says_why(changes: dict[str, Any], said: str) -> None:
    found = answer(Verb.APPROVE, plan(**changes))
    assert not found.allowed
    assert said in found.said


def test_a_what_if_plan_can_never_be_approved() -> None:
    assert answer(Verb.APPROVE, plan("what-if-3f9a1c07")).said.startswith("it is about pods")


def test_the_one_who_comes_second_learns_who_was_first() -> None:
    rejected = answer(Verb.APPROVE, STATES["rejected"])
    assert rejected == Answer(False, rejected.said)
    assert rejected.said.startswith("joe has rejected it.")


@pytest.mark.parametrize("verb", Verb)
def test_a_decision_is_of_the_version_that_was_read_and_keeps_the_plan_valid(verb: Verb) -> None:
    patch = change(verb, plan(), "jane")
    assert patch["metadata"] == {"uid": "uid-plan-3f9a1c07", "resourceVersion": "7"}
    raw = raw_plan()
    PackingPlan.model_validate(raw | {"spec": raw["spec"] | patch["spec"]})


def test_before_a_decision_its_consequences_are_told() -> None:
    assert consequence(Verb.APPROVE, plan()).startswith(
        "plan/plan-3f9a1c07: 1 running pod evicted and started on other nodes, 1 waiting pod "
        "given a node, in 1 step (cost 1)."
    )
    assert "1 of 1 step aren't finished" in consequence(Verb.ABORT, STATES["executing"])
    assert "Nothing moves" in consequence(Verb.REJECT, plan())


def test_a_plan_of_another_version_is_still_shown() -> None:
    newer = plan(spec__novelty={"x": 1}, status={"conditions": [WAIT_NEW], "novelty": []})
    assert standing(newer).state == "Waiting"
    assert standing(newer).reason == "WaitingForTheMoon"


WAIT_NEW = condition("Succeeded", "False", "WaitingForTheMoon")


@pytest.mark.parametrize(
    ("words", "name"),
    [(("plan/p-1",), "p-1"), (("pplan", "p-1"), "p-1"), (("p-1",), "p-1")],
)
def test_ways_to_name_a_plan(words: tuple[str, ...], name: str) -> None:
    assert named(words, PLAN_WORDS) == name


@pytest.mark.parametrize(
    "words", [("pod/x",), ("plan/",), ("plan/a/b",), ("plan/../x",), ("plan/x?y",), ("",)]
)
def test_what_names_no_plan(words: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="names no plan"):
        named(words, PLAN_WORDS)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0s"), (119, "119s"), (120, "2m"), (200, "3m20s"), (700, "11m"), (9000, "150m"),
     (25_200, "7h"), (25_500, "7h5m"), (90_000, "25h"), (400_000, "4d15h"), (864_000, "10d")],
)  # fmt: skip
def test_spans_are_written_as_kubectl_does(seconds: int, said: str) -> None:
    assert span(seconds) == said


def test_a_plan_of_the_same_name_is_the_same_only_if_it_does_the_same() -> None:
    new = raw_plan()
    refuse_another(
        "plan-3f9a1c07", new, plan(spec__approval={"decision": "Approved", "by": "jane"})
    )
    with pytest.raises(InputError, match="is there already and does something else"):
        refuse_another("plan-3f9a1c07", new, plan(spec__moves=[]))
