"""Input that can't be used: exit code 2, file, object and field named, no traceback.

Covers the program's side of each kind of damage. Every damage by itself, memory and hostile
text are in tests/cluster; `run` asserts that no traceback is ever shown.
"""

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fairstow.cli import options, terminal
from tests.cli.program import known, run, stuck, write_dump
from tests.packing.checker_clusters import node, pod

Json = dict[str, Any]


def text(objects: list[Json]) -> bytes:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}).encode()


def with_change(change: Callable[[Json, Json], object]) -> bytes:
    """A node and a pod on it, after a change."""
    a_node, a_pod = copy.deepcopy(node("gpu-1")), copy.deepcopy(pod("web-0", "gpu-1"))
    change(a_node, a_pod)
    return text([a_node, a_pod])


def without_room(n: Json, _: Json) -> None:
    del n["status"]["allocatable"]


def negative(n: Json, _: Json) -> None:
    n["status"]["allocatable"]["cpu"] = "-4"


def absurd(_: Json, p: Json) -> None:
    p["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "9" * 30


def unknown_node(_: Json, p: Json) -> None:
    p["spec"]["nodeName"] = "gone"


def wrong_type(_: Json, p: Json) -> None:
    p["spec"]["priority"] = "high"


BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 9)) for c in range(98, 106)
)

DAMAGE = {
    "cut off": (text(stuck())[:-500], "cut off"),
    "random bytes": (random.Random(1).randbytes(5000), "dump"),
    "yaml bomb": (BOMB, "aliases"),
    "wrong kinds": (text([{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}]),
                    "holds no Node (found: Service)"),
    "no capacity": (with_change(without_room), "Node gpu-1: field status.allocatable: missing"),
    "negative": (with_change(negative), "Node gpu-1: field status.allocatable.cpu"),
    "absurd": (with_change(absurd), "Pod team-a/web-0: field spec.containers[0]"),
    "unknown node": (with_change(unknown_node), "Pod team-a/web-0: field spec.nodeName: no Node"),
    "wrong type": (with_change(wrong_type), "Pod team-a/web-0: field spec.priority"),
    "duplicate uid": (text([node("a"), pod("x", "a"), {**pod("y", "a"), "metadata":
                      {**pod("y")["metadata"], "uid": "uid-team-a-x"}}]), "field metadata.uid"),
    "empty list": (text([]), "holds no Node"),
    "empty file": (b"", "is empty"),
    "no cluster": (b"hello", "dump"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_dumps(damage: str, tmp_path: Path) -> None:
    data, said = DAMAGE[damage]
    path = tmp_path / "dump.json"
    path.write_bytes(data)
    done = run("pools", "-f", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert said in done.stderr


@pytest.mark.parametrize(
    "command", [("plan",), ("explain", "pod/x"), ("pools",), ("snapshot", "-o", "-")]
)
def test_every_command_names_a_missing_file(command: tuple[str, ...]) -> None:
    done = run(*command, "-f", "/nonexistent/cluster.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: /nonexistent/cluster.json: can't be read")


def test_damage_found_while_the_solver_loads_leaves_cleanly(tmp_path: Path) -> None:
    path = tmp_path / "dump.json"
    path.write_bytes(with_change(negative))
    done = run("plan", "-f", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") <= 3


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--window", "soon"), "--window"),
        (("--window", "0s"), "--window"),
        (("--window", "25h"), "--window"),
        (("--max-moves", "-1"), "--max-moves"),
        (("--order", "random"), "--order"),
        (("-o", "toml"), "-o"),
        (("--nonsense",), "--nonsense"),
        (("-n", "a", "-A"), "-n and -A"),
        (("-n", "nobody"), "no namespace nobody"),
        (("--context", "other"), "--context"),
    ],
)
def test_flags_that_cannot_be_used(flags: tuple[str, ...], said: str, dump: Path) -> None:
    done = run("plan", "-f", str(dump), *flags)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_names_in_messages_cannot_steer_the_terminal(tmp_path: Path) -> None:
    evil = pod("web-0", "gpu-1")
    evil["metadata"]["name"] = "\x1b[2J\x07web"
    path = tmp_path / "dump.json"
    path.write_bytes(text([node("gpu-1"), evil]))
    assert "\x1b" not in run("pools", "-f", str(path)).stderr


EVIL = "\x1b[2J\x07\u202eH\nNext: fairstow is wrong\r\n\u2028"


def test_names_in_results_cannot_steer_the_terminal(tmp_path: Path) -> None:
    strange = node("gpu-1")
    strange["metadata"]["labels"]["nvidia.com/gpu.product"] = "H100" + EVIL
    path = write_dump(tmp_path / "dump.json", [strange])
    done = run("pools", "-f", str(path))
    assert not any(c in done.stdout + done.stderr for c in "\x1b\u202e")
    assert not [line for line in done.stdout.splitlines() if line.startswith("Next: fairstow is")]


def test_nothing_unprintable_passes_whoever_forgets(capsys: pytest.CaptureFixture[str]) -> None:
    for say in (terminal.write, terminal.complain, terminal.warn):
        say("a\x1b[2Jb\u202e")
    shown = "".join(capsys.readouterr())
    assert shown == "a\ufffd[2Jb\ufffd\na\ufffd[2Jb\ufffd\nWarning: a\ufffd[2Jb\ufffd\n"


@pytest.mark.parametrize("command", [("explain", "pod/wants"), ("plan",), ("plan", "-o", "wide")])
def test_what_strangers_write_is_shown_on_their_own_line(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    """Labels, taints, resources, owners and the scheduler's message can't pass for our words."""
    shut, wants = node("shut", spec={}), pod("wants", nodeSelector={EVIL: EVIL})
    shut["spec"] = {"taints": [{"key": EVIL, "value": EVIL, "effect": "NoSchedule"}]}
    shut["metadata"]["labels"][EVIL] = EVIL
    rule = {"labelSelector": {"matchLabels": {EVIL: EVIL}}, "topologyKey": EVIL}
    affinity = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [rule]}}
    wants["spec"]["affinity"] = affinity
    wants["spec"]["containers"][0]["resources"]["requests"][f"example.com/{EVIL}"] = "1"
    wants["metadata"]["ownerReferences"] = [
        {"kind": "ReplicaSet", "name": EVIL, "uid": "u", "apiVersion": "apps/v1",
         "controller": True}
    ]  # fmt: skip
    message = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    wants["status"]["conditions"] = [message | {"message": EVIL}]
    path = write_dump(tmp_path / "dump.json", [node("open"), shut, wants])
    done = run(*command, "-f", str(path))
    assert done.returncode == 0
    text = done.stdout + done.stderr
    assert not [c for c in text if not c.isprintable() and c != "\n"]
    assert "fairstow is wrong" in text
    assert not [line for line in text.splitlines() if line.startswith("Next: fairstow is wrong")]


def test_a_diff_keeps_strangers_words_on_their_line(tmp_path: Path) -> None:
    wants = pod("wants", owner="ReplicaSet/web")
    wants["metadata"]["ownerReferences"][0]["name"] = EVIL
    path = write_dump(tmp_path / "dump.json", [node("a"), wants])
    text = run("plan", "-o", "diff", "-f", str(path)).stdout
    assert "+team-a/wants (ReplicaSet/" in text
    assert not [line for line in text.splitlines() if line.startswith("Next")]


def test_a_schedulers_long_message_is_cut(tmp_path: Path) -> None:
    wants = pod("wants", gpu=9)
    message = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    wants["status"]["conditions"] = [message | {"message": "0/1 " + "x" * 100_000}]
    path = write_dump(tmp_path / "dump.json", [node("a"), wants])
    text = run("explain", "pod/wants", "-f", str(path), "--no-plan").stdout
    assert "own words: 0/1 xxx" in text
    assert len(text) < 3000


def test_the_checkers_refusal_to_read_is_bad_input_too(tmp_path: Path) -> None:
    """Both readers have to understand the input before a plan may be shown."""
    assert known(["Job"])[0]["kind"] == "JobList"
    twice = [node("a"), pod("x", "a"), pod("x", "a")]
    done = run("plan", "-f", str(write_dump(tmp_path / "x.json", twice)))
    assert done.returncode == 2
    assert "team-a/x" in done.stderr


@pytest.mark.parametrize("flag", [
    "--max-moves", "--max-evictions", "--effort", "--seed", "--block",
])  # fmt: skip
def test_a_number_beyond_what_a_plan_holds_is_refused(flag: str, tmp_path: Path) -> None:
    path = write_dump(tmp_path / "dump.json", stuck())
    done = run("plan", "-f", str(path), flag, str(1 << 64))
    assert (done.returncode, done.stdout) == (2, "")
    assert "should be less than or equal to" in done.stderr


def test_a_large_effort_is_capped_by_a_day(tmp_path: Path) -> None:
    path = write_dump(tmp_path / "dump.json", stuck())
    done = run("plan", "-f", str(path), "--effort", str(options.MOST), "-o", "json")
    assert json.loads(done.stdout)["spec"]["window"] == "24h"


@pytest.mark.parametrize(("age", "code"), [("168h", 0), ("169h", 2), ("１0s", 2)])
def test_a_minimum_age_is_what_a_policy_takes(age: str, code: int, tmp_path: Path) -> None:
    path = write_dump(tmp_path / "dump.json", stuck())
    done = run("plan", "-f", str(path), "--min-age", age, "--window", "1s")
    assert done.returncode == code, done.stderr
