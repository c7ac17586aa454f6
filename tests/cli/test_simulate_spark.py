"""`simulate spark`: what it prints, draws and refuses.

Covered: JSON, table, picture, standard input, bad files. Not covered: the figures themselves
(tests/spark, benchmarks.spark_simulator).
"""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.cli.program import run

HEADER = "submit_s,user,weight,core_s,tasks\n"
JOBS = HEADER + "0,alice,1,100,100\n0,alice,1,100,100\n1,bob,2,4,8\n"


def simulate(folder: Path, text: str, *arguments: str) -> tuple[int, str, str]:
    path = folder / "jobs.csv"
    path.write_text(text)
    done = run("simulate", "spark", "--jobs", str(path), "--cores", "8", *arguments)
    return done.returncode, done.stdout, done.stderr


def test_figures_of_all_and_of_each_user_as_json(tmp_path: Path) -> None:
    code, out, _ = simulate(tmp_path, JOBS, "-o", "json")
    found = json.loads(out)
    assert code == 0
    assert found["users"]["bob"]["meanResponse_s"] == pytest.approx(0.5)
    assert found["users"]["bob"]["dvr"] == 0
    names = {"meanResponse_s", "meanSlowdown", "dvr", "maxLatenessLmax"}
    for each in (found, *found["users"].values()):
        assert names <= set(each)
    assert set(found["users"]) == {"alice", "bob"}
    _, out, _ = simulate(tmp_path, JOBS, "-o", "json", "--policy", "fifo")
    assert json.loads(out)["users"]["bob"]["dvr"] > 10


def test_a_table_with_a_row_for_each_user(tmp_path: Path) -> None:
    code, out, _ = simulate(tmp_path, "\ufeff" + JOBS)  # as spreadsheets write it
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[2:6]] == ["USER", "all", "alice", "bob"]


def test_a_picture_with_a_lane_for_each_user(tmp_path: Path) -> None:
    code, out, _ = simulate(tmp_path, JOBS.replace("alice", "a<b"), "-o", "svg")
    assert code == 0
    texts = [element.text for element in ElementTree.fromstring(out).iter()]
    assert {"a<b", "bob"} <= set(texts)
    assert any(text and text.startswith("job-3 of bob: came") for text in texts)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no column submit_s, user, weight, core_s, tasks"),
        ("submit_s,user\n0,a\n", "has no column weight, core_s, tasks"),
        (HEADER, "holds no job"),
        (HEADER + "0,a,1,x,1\n", "line 2: core_s is 'x', which isn't a number"),
        (HEADER + "0,a,1,5\n", "line 2: tasks is ''"),
        (HEADER + "0,a,1,inf,1\n", "isn't a number"),
        (HEADER + "-1,a,1,5,1\n", "submit_s is -1"),
        (HEADER + "0,a,0,5,1\n", "weight is 0"),
        (HEADER + "0,a,1,5,1.5\n", "tasks is 1.5"),
        (HEADER + "0,a,1,1e308,1\n", "core_s is 1e308"),
        (HEADER + "0,a,1,5,1e12\n", "tasks is 1e12"),
        (HEADER + "0,,1,5,1\n", "names no user"),
        (HEADER + "0,a,1,5,1\n0,a\0b,1,5,1\n", "line 3: user 'a\ufffdb' has characters that can't"),
        (HEADER + "0,a\x1b[31mb,1,5,1\n", "line 2: user 'a\ufffd[31mb' has characters that can't"),
        (HEADER + "0,a,1,5,1\n0,a,2,5,1\n", "line 3: user a has another weight than before"),
        (HEADER + "0,a,1,5,1999999\n0,a,1,5,2\n", "more than 20,000 jobs or 2,000,000 tasks"),
    ],
)
def test_a_bad_file_is_told_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    code, _, err = simulate(tmp_path, text)
    assert code == 2
    assert said in err


def test_an_unknown_policy_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    code, _, err = simulate(tmp_path, JOBS, "--policy", "lottery")
    assert code == 2
    assert "Known are uwfq, cfq, ujf, fair, fifo, edd." in err
    assert run("simulate", "spark", "--jobs", str(tmp_path / "none.csv")).returncode == 2
