"""`doctor`'s judgements, one table per check: what is well, what isn't, what to do.

Leaves out reading a cluster (e2e/test_verbs.py). Each finding that isn't ok says what to do.
"""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import pytest

from fairstow.cli import health
from fairstow.cli.doctoring import text
from fairstow.cli.health import Denied, Finding, Level
from fairstow.cluster.times import written

NOW = 1_772_366_400
NO = Denied('User "jane" cannot get it')


def levels(*findings: Finding) -> list[str]:
    assert all(f.do or f.level is Level.OK or f.check == "Kubernetes" for f in findings)
    return [f.level.value for f in findings]


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("v1.37.2", "ok"),
        ("v1.28.0-gke.1", "ok"),
        ("v1.27.9", "fail"),
        ("v1.38.0-alpha.1", "warn"),
        ("?", "warn"),
    ],
)
def test_versions(version: str, level: str) -> None:
    assert levels(health.server_version({"gitVersion": version})) == [level]


@pytest.mark.parametrize(
    ("skew", "level", "words"),
    [
        (0, "ok", "within 5 s"),
        (30, "warn", "30 s ahead of"),
        (-30, "warn", "30 s behind"),
        (300, "fail", "300 s ahead"),
    ],
)
def test_clocks(skew: int, level: str, words: str) -> None:
    found = health.clock(formatdate(NOW - skew, usegmt=True), NOW)
    assert levels(found) == [level]
    assert words in found.said


def test_a_server_without_a_clock_breaks_nothing() -> None:
    assert health.clock("", NOW).level is Level.WARN


def crd(schema: str, established: str = "True") -> dict[str, Any]:
    condition = {"type": "Established", "status": established}
    return {
        "metadata": {"labels": {"fairstow.dev/schema": schema}},
        "status": {"conditions": [condition]},
    }


@pytest.mark.parametrize(
    ("fact", "level"),
    [
        (crd("sab"), "ok"),
        (crd("sxy"), "warn"),
        (crd("sab", "False"), "fail"),
        ({"metadata": {}, "status": crd("")["status"]}, "warn"),
        (None, "fail"),
        (NO, "warn"),
    ],
)
def test_definitions(fact: Any, level: str) -> None:
    found = health.definitions({"packingplans": fact}, {"packingplans": "sab"})
    assert levels(*found) == [level]


def hooks(bundle: str = "Q0E=") -> dict[str, Any]:
    config = {"webhooks": [{"name": "stamp.fairstow.dev", "clientConfig": {"caBundle": bundle}}]}
    return {"ValidatingWebhookConfiguration": config}


@pytest.mark.parametrize(
    ("configurations", "tried", "expected"),
    [
        (hooks(), "", ["ok", "ok"]),
        (hooks(), "failed calling webhook: connection refused", ["ok", "fail"]),
        (hooks(), NO, ["ok", "warn"]),
        (hooks(""), None, ["fail"]),
        ({"ValidatingWebhookConfiguration": None}, None, ["fail"]),
        ({"ValidatingWebhookConfiguration": NO}, None, ["warn"]),
    ],
)
def test_webhook(configurations: Any, tried: Any, expected: list[str]) -> None:
    assert levels(*health.webhook(configurations, tried)) == expected


def lease(name: str, ago: int, holder: str = "pod-a") -> dict[str, Any]:
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": written(NOW - ago)}
    return {"metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize(
    ("fact", "level"),
    [
        (lease("fairstow-operator", 10), "ok"),
        (lease("fairstow-operator", 60), "fail"),
        (lease("fairstow-operator", 5, ""), "fail"),
        ({"metadata": {"name": "x"}, "spec": {}}, "fail"),
        (None, "fail"),
        (NO, "warn"),
    ],
)
def test_operator(fact: Any, level: str) -> None:
    assert levels(health.operator(fact, NOW)) == [level]


@pytest.mark.parametrize(
    ("fact", "deployment", "level"),
    [
        (lease("fairstow-scheduler", 10), {}, "ok"),
        (None, {}, "fail"),
        (None, None, "warn"),
        (NO, None, "warn"),
    ],
)
def test_scheduler(fact: Any, deployment: Any, level: str) -> None:
    assert levels(health.scheduler(fact, deployment, NOW)) == [level]


def endpoints(*ready: str, unready: str = "") -> list[dict[str, Any]]:
    found = [{"targetRef": {"name": name}, "conditions": {"ready": True}} for name in ready]
    if unready:
        found.append({"targetRef": {"name": unready}, "conditions": {"ready": False}})
    return [{"endpoints": found}]


LIVE = [lease("fairstow-extender-a", 5, "a"), lease("fairstow-extender-b", 5, "b")]
LATE = [lease("fairstow-extender-a", 5, "a"), lease("fairstow-extender-b", 90, "b")]


@pytest.mark.parametrize(
    ("leases", "slices", "level", "words"),
    [
        (LIVE, endpoints("a", "b"), "ok", "2 replicas ready"),
        (LATE, endpoints("a", unready="b"), "ok", "1 replica ready"),
        (LATE, endpoints("a", "b"), "fail", "b keeps no live Lease"),
        (LIVE[:1], endpoints("a", "b"), "fail", "b keeps no live Lease"),
        (LIVE, [], "fail", "no replica is ready"),
        ([], [], "warn", "no room is kept"),
        (NO, [], "warn", "not looked at"),
        ([], NO, "warn", "not looked at"),
    ],
)
def test_extender(leases: Any, slices: Any, level: str, words: str) -> None:
    found = health.extender(leases, slices, NOW)
    assert levels(found) == [level]
    assert words in found.said


def test_rights() -> None:
    assert levels(*health.rights({"list nodes": True, "list pods": True})) == ["ok"]
    (missing,) = health.rights({"list nodes": True, "approve packingplans.fairstow.dev": False})
    assert missing.said == "you may not approve packingplans.fairstow.dev"


PAGE = """\
ok    clock      fine
fail  crd/plans  isn't installed
                 → Install it.

1 ok, 0 to look at, 1 broken"""


def test_what_is_read_first_is_how_bad_it_is() -> None:
    findings = [
        Finding(Level.OK, "clock", "fine"),
        Finding(Level.FAIL, "crd/plans", "isn't installed", "Install it."),
    ]
    assert "\n".join(text(findings, None)) == PAGE
