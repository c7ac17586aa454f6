"""Plans and policies in a cluster, in every state, as the API server gives them."""

from __future__ import annotations

from typing import Any

import msgspec

from fairstow.cli.seen import Plan, Policy
from fairstow.cluster.times import written
from tests.api.objects import EXAMPLES, changed

NOW = 1_772_366_400
"""2026-03-01T12:00:00Z."""

MOVED = EXAMPLES["PackingPlan"]["spec"]["moves"][0]["uid"]


def ago(seconds: int) -> str:
    return written(NOW - seconds)


def condition(type_: str, status: str, reason: str, message: str = "", since: int = 60) -> Any:
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": ago(since),
    }


def approved(decision: str = "Approved", by: str = "jane") -> dict[str, Any]:
    return {"spec.approval": {"decision": decision, "by": by}}


def raw_plan(name: str = "plan-3f9a1c07", made: int = 200, **changes: Any) -> dict[str, Any]:
    """A plan; changes are by dotted path, `__` for a dot."""
    paths = {path.replace("__", "."): value for path, value in changes.items()}
    meta = {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": "7",
            "creationTimestamp": ago(made),
        }
    }
    return changed(EXAMPLES["PackingPlan"], meta | paths)


def view(raw: dict[str, Any]) -> Plan:
    return msgspec.json.decode(msgspec.json.encode(raw), type=Plan)


def policy_view(raw: dict[str, Any]) -> Policy:
    return msgspec.json.decode(msgspec.json.encode(raw), type=Policy)


def plan(name: str = "plan-3f9a1c07", made: int = 200, **changes: Any) -> Plan:
    return view(raw_plan(name, made, **changes))


WAITS = condition("Succeeded", "False", "WaitingForApproval", "Waits for a person.")

STATES = {
    "new": plan("plan-00000001", 5),
    "waiting": plan("plan-00000002", 90, status={"conditions": [WAITS], "stepsTotal": 1}),
    "executing": plan(
        "plan-00000003",
        700,
        spec__policy="nightly",
        spec__approval={"decision": "Approved", "by": "jane@example.com"},
        status={
            "conditions": [
                condition("Succeeded", "False", "WaitingForPods", "1 pod has yet to arrive."),
                condition("Reserved", "True", "Reserved", since=100),
                condition("Executing", "True", "Executing", since=95),
            ],
            "stepsDone": 0,
            "step": {"index": 0, "startedAt": ago(95)},
            "startedAt": ago(95),
        },
    ),
    "succeeded": plan(
        "plan-00000004",
        9000,
        spec__approval={"decision": "Approved", "by": "system:serviceaccount:fairstow-system:op"},
        status={
            "conditions": [condition("Succeeded", "True", "Succeeded", since=8000)],
            "stepsDone": 1,
            "startedAt": ago(8200),
            "finishedAt": ago(8000),
        },
    ),
    "stale": plan(
        "plan-00000005",
        90_000,
        spec__approval={"decision": "Approved", "by": "jane"},
        spec__abort={"by": "joe"},
        status={
            "conditions": [
                condition("Succeeded", "False", "Aborted", "joe stopped it.", since=80_000),
                condition("Stale", "True", "Aborted", "joe stopped it.", since=80_000),
            ],
            "startedAt": ago(80_100),
            "finishedAt": ago(80_000),
        },
    ),
    "rejected": plan(
        "plan-00000006",
        400_000,
        spec__approval={"decision": "Rejected", "by": "joe"},
        status={"conditions": [condition("Succeeded", "False", "Rejected", since=399_000)]},
    ),
}
