"""What a replica says it keeps, and when.

Covered: a plan is named a moment after its room is kept, and no longer once it isn't; the Lease's
form. Not covered: the Lease on an API server (e2e/test_extender.py).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import cast

from fairstow.kube.aio.api import Api
from scheduler_plugins.acknowledge import SETTLE_SECONDS, Acknowledgement, lease

NOBODY = cast(Api, None)


def test_a_plan_is_named_once_pods_answered_before_it_have_arrived() -> None:
    now, kept = [0.0], ["a"]
    said = Acknowledgement(
        NOBODY, "r", "ns", plans=lambda: list(kept), whole=lambda: True, clock=lambda: now[0]
    )
    assert said.settled() == ([], True)
    now[0] += SETTLE_SECONDS
    kept.append("b")
    assert said.settled() == (["a"], True)
    now[0] += SETTLE_SECONDS
    assert said.settled() == (["a", "b"], False)
    kept.clear()  # the operator died: for a while its room is anybody's
    assert said.settled() == ([], False)
    kept.append("a")
    assert said.settled() == ([], True)


def test_the_lease_names_replica_and_plans() -> None:
    found = lease("r-0", "ns", ["u1", "u2"], datetime(2026, 1, 1, 0, 0, 0, 5, tzinfo=UTC))
    assert found["metadata"]["name"] == "fairstow-extender-r-0"
    assert json.loads(found["metadata"]["annotations"]["fairstow.dev/enforced-plans"]) == [
        "u1",
        "u2",
    ]
    assert found["spec"] == {
        "holderIdentity": "r-0",
        "leaseDurationSeconds": 15,
        "renewTime": "2026-01-01T00:00:00.000005Z",
    }
