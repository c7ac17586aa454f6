"""`queue`, `why` and `whatif weight`: tables, the picture, the order under other weights.

Golden text; objects as an API server has them. Not covered: a real one (e2e/spark_admission).
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from contextlib import nullcontext
from typing import Any

import msgspec
import pytest

from fairstow.api import SparkQueueSpec
from fairstow.cli import spark_queues
from fairstow.cli.errors import ClusterError
from fairstow.cli.objects import read
from fairstow.cli.options import Output
from fairstow.cli.spark_queues import Admission, drawn, job, queue_table, supposed, why_lines
from fairstow.cluster.errors import InputError
from tests.cli.program import run

NOW = 1_767_225_660.0
TABLE = """\
QUEUE      POS  NAMESPACE  APPLICATION  USER  PHASE    CORES  STARTS       WHY
analytics    -  team       bob-0        bob   Running      4  -            HasCores
analytics    1  team       bob-1        bob   Waiting      4  in 4–6 min   WaitsForCores
analytics    2  team       bob-2        bob   Waiting      4  in 9–11 min  BehindOthers
analytics    3  team       ana-0        ana   Waiting      4  in 9–11 min  BehindOthers"""


def raw(name: str, user: str, position: int | None, due: int, **status: Any) -> msgspec.Raw:
    known = {
        "phase": "Waiting", "position": position, "firstCores": 4, "estimateCoreSeconds": 1200,
        "lowCoreSeconds": 600, "highCoreSeconds": 2400, "virtualStart": 100, "virtualFinish": due,
        "message": f"position {position}", "reason": "BehindOthers",
        "startsAfter": "2026-01-01T00:10:00Z", "startsBefore": "2026-01-01T00:12:00Z",
    }  # fmt: skip
    spec = {"queue": "analytics", "user": user, "kind": "Pod", "name": name, "template": "etl"}
    meta = {"name": f"{name}-00000000", "namespace": "team"}
    return msgspec.Raw(msgspec.json.encode(
        {"metadata": meta, "spec": spec, "status": known | status}
    ))  # fmt: skip


SOON = {"startsAfter": "2026-01-01T00:05:00Z", "startsBefore": "2026-01-01T00:07:00Z"}
RAWS = [
    raw("bob-2", "bob", 2, 3700),
    raw("ana-0", "ana", 3, 3800),
    raw("bob-1", "bob", 1, 2500, reason="WaitsForCores", **SOON),
    raw("bob-0", "bob", None, 1300, phase="Running", reason="HasCores"),
]


class Server:
    """A list."""

    def listed(self, kind: str, namespace: str | None) -> tuple[list[msgspec.Raw], str]:
        assert kind == "sparkadmissions"
        return (RAWS if namespace in (None, "team") else []), "7"


SERVER: Any = Server()
FOUND = [read(each, Admission) for each in RAWS]


def test_applications_as_a_table() -> None:
    from fairstow.cli.spark_queues import admissions

    assert "\n".join(queue_table(admissions(SERVER, None), NOW, None)) == TABLE


def test_why_an_application_waits() -> None:
    one = job(SERVER, ["job/ana-0"], None)
    lines = why_lines(one, FOUND, NOW)
    assert lines[0] == "team/ana-0 of ana, in SparkQueue analytics"
    assert "Waiting: position 3" in lines
    assert "Ahead of it, 2 applications:" in lines
    assert any("1. team/bob-1 of bob, due at 2,500" in line or "bob-1" in line for line in lines)
    assert "1,200 core-seconds (600 to 2,400), as runs of etl were" in "\n".join(lines)


@pytest.mark.parametrize("words", [["job/ana-0"], ["job", "ana-0"], ["ana-0"], ["team/ana-0"]])
def test_an_application_is_named_as_people_do(words: list[str]) -> None:
    assert job(SERVER, words, None).spec.name == "ana-0"


def test_a_tenant_is_told_without_seeing_other_namespaces(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Closed(Server):
        def listed(self, kind: str, namespace: str | None) -> tuple[list[msgspec.Raw], str]:
            if namespace is None:
                raise ClusterError(InputError("sparkadmissions", "you may not list them"))
            return super().listed(kind, namespace)

    monkeypatch.setattr(spark_queues, "objects", lambda _: nullcontext(Closed()))
    nowhere: Any = None
    spark_queues.why(nowhere, ["job/ana-0"], "team", Output.TEXT)
    assert "Ahead of it, 2 applications" in capsys.readouterr().out


def test_weights_of_groups_are_those_that_the_operator_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Queues(Server):
        def get(self, *_: str) -> bytes:
            users = [{"name": "bob", "weight": 9}, {"name": "ana", "weight": 1}]
            spec = {"cores": 8, "groups": [{"name": "staff", "weight": 9}]}
            found = {"metadata": {"name": "analytics"}, "spec": spec, "status": {"users": users}}
            return msgspec.json.encode(found)

    monkeypatch.setattr(spark_queues, "objects", lambda _: nullcontext(Queues()))
    nowhere: Any = None
    spark_queues.whatif(nowhere, ["user=ana:3"], "analytics", Output.JSON)
    then = {row["application"]: row["then"] for row in json.loads(capsys.readouterr().out)}
    assert then == {"bob-1": 1, "bob-2": 2, "ana-0": 3}


def test_an_unknown_application_is_said() -> None:
    with pytest.raises(InputError, match="no queued Spark application of that name"):
        job(SERVER, ["job/nothing"], None)


def test_other_weights_change_the_order() -> None:
    spec = SparkQueueSpec(cores=8)
    rows = supposed(spec, FOUND, {"ana": 3})
    then = {row["application"]: (row["position"], row["then"]) for row in rows}
    assert then == {"bob-1": (1, 2), "bob-2": (2, 3), "ana-0": (3, 1)}


def test_a_picture_of_lanes() -> None:
    picture = ET.fromstring(drawn(FOUND, "analytics"))
    titles = [each.text or "" for each in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert any(title.startswith("team/ana-0 of ana: came 0.0") for title in titles)
    assert ET.fromstring(drawn([], "none")) is not None


def test_what_means_nothing_is_refused() -> None:
    for words in (["queue", "-w", "-o", "json"], ["whatif", "speed", "x"], ["whatif", "weight"],
                  ["hold", "plan/x"], ["hold", "x"]):  # fmt: skip
        assert run(*words).returncode == 2
