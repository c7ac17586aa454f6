"""`explain`: finding the pod a person means, and showing what is known of it.

Leaves out what explanations say (tests/packing).
"""

import json
from pathlib import Path

import pytest

from tests.cli.program import run, write_dump
from tests.packing.checker_clusters import node, pod


def test_text_goes_from_evidence_to_one_command(dump: Path) -> None:
    done = run("explain", "pod/big-0", "-f", str(dump))
    assert (done.returncode, done.stderr) == (0, "")
    parts = [
        "pod/team-b/big-0 (StatefulSet/big, priority prod 1000) asks for 1 cpu, 4 nvidia.com/gpu.",
        "largest hole is 2 of the 4",
        "Nodes left, rule by rule\n",
        "Nearest nodes\n",
        "With a plan\n",
        "Next (",
        f"  fairstow plan -o yaml -f {dump}",
    ]
    at = [done.stdout.index(part) for part in parts]
    assert at == sorted(at)


def test_without_a_plan_none_is_made(dump: Path) -> None:
    text = run("explain", "pod/big-0", "-f", str(dump), "--no-plan").stdout
    assert "Nearest nodes" in text
    assert "With a plan" not in text


def test_a_running_pod_needs_no_plan(dump: Path) -> None:
    text = run("explain", "pod/half", "-f", str(dump)).stdout
    assert "on middle" in text
    assert "With a plan" not in text


def test_json_holds_the_same(dump: Path) -> None:
    said = json.loads(run("explain", "pod/big-0", "-f", str(dump), "-o", "json").stdout)
    assert said["pod"]["name"] == "big-0"
    assert said["state"] == "Blocked"
    assert said["nearest"][0]["deficits"][0]["missing"] == "2"
    assert said["plan"]["node"] == "middle"
    assert {m["pod"] for m in said["plan"]["moves"]} == {"team-a/small-0", "team-a/small-1"}


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> str:
    objects = [
        node("a"),
        pod("web-5d9-abc"),
        pod("web-5d9-xyz"),
        pod("train-0"),
        pod("train-0", namespace="team-b", owner="ReplicaSet/other"),
        pod("single-7f-qqq"),
    ]
    return str(write_dump(tmp_path_factory.mktemp("names") / "x.json", objects))


@pytest.mark.parametrize(
    "words",
    [
        ("pod/single-7f-qqq",),
        ("pod", "single-7f-qqq"),
        ("po/single-7f-qqq",),
        ("pod/team-a/single-7f-qqq",),
        ("pod/single-7f-qqq", "-n", "team-a"),
        ("pod/single-7f-qqq", "-A"),
        ("pod/single",),
        ("pod/single-7f",),
    ],
)
def test_ways_to_name_a_pod(words: tuple[str, ...], names: str) -> None:
    done = run("explain", *words, "-f", names, "--no-plan")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("pod/team-a/single-7f-qqq ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("pod/web",), "Say which:\n  pod/team-a/web-5d9-abc\n  pod/team-a/web-5d9-xyz"),
        (("pod/train-0",), "Say which:\n  pod/team-a/train-0\n  pod/team-b/train-0"),
        (("pod/tran-0",), "Did you mean:\n  pod/team-a/train-0"),
        (("pod/single-7f-qqq", "-n", "team-b"), "Did you mean:\n  pod/team-a/single-7f-qqq"),
        (("pod/zzzzzzzzz",), "no such pod"),
        (("single-7f-qqq",), "Write it as pod/NAME"),
        (("job/train",), "Write it as pod/NAME"),
        (("pod/",), "Write it as pod/NAME"),
        (("pod/team-a/train-0", "-n", "team-b"), "-n"),
    ],
)
def test_a_name_that_means_no_one_pod(words: tuple[str, ...], said: str, names: str) -> None:
    done = run("explain", *words, "-f", names, "--no-plan")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
