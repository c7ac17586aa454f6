"""`queue`, `why` and `whatif weight`: tables, the picture, the order under other weights.

Golden text; objects as an API server has them. Not covered: a real one (e2e/spark_admission).
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import msgspec
import pytest

from fairstow.api import SparkQueueSpec
from fairstow.cli.objects import read
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
