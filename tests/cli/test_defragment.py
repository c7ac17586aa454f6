"""`plan --goal defragment` as a person runs it: texts, formats, flags, the report, the check.

Leaves out what is freed and proved (tests/packing/test_defragment).
"""

import json
from pathlib import Path

import pytest

from tests.cli.program import run, write_dump
from tests.packing.checker_clusters import Json, node, pod


def halves() -> list[Json]:
    """Two half-full nodes and a pod that waits for a whole one."""
    return [node("a"), node("b"), pod("x", "a", gpu=4), pod("y", "b", gpu=4), pod("big", gpu=8)]


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    return write_dump(tmp_path / "cluster.json", halves())


def defragment(dump: Path, *flags: str) -> str:
    done = run("plan", "--goal", "defragment", "-f", str(dump), *flags)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_plan_as_a_person_reads_it(dump: Path) -> None:
    text = defragment(dump, "--max-moves", "3")
    assert text.startswith(
        "Moving 1 running pod changes the free blocks by +1 of 8 nvidia.com/gpu (checked: 1 step, "
        "every one feasible). Nobody is evicted for good, and pending pods stay pending.\n"
    )
    assert "8 × nvidia.com/gpu    0          1        1  optimal\n" in text
    assert "It is proved that no plan that frees as much disturbs less (cost 1).\n" in text
    assert "Rules: at most 3 moves, nobody evicted for good" in text
    assert "1 pending pod: this plan places nobody" in text
    assert f"plan --goal defragment --max-moves 3 --report plan.html -f {dump}\n" in text


def test_sizes_can_be_chosen(dump: Path) -> None:
    text = defragment(dump, "--block", "3", "--block", "6")
    assert [line.split()[0] for line in text.split("\n") if " × " in line] == ["6", "3"]
    assert "Nothing to free" in defragment(dump, "--block", "4")
    assert "Nothing to free" in defragment(dump, "--block", "16")


def test_the_plan_is_an_object_that_the_check_accepts(dump: Path, tmp_path: Path) -> None:
    written = tmp_path / "plan.json"
    written.write_text(defragment(dump, "-o", "json"))
    spec = json.loads(written.read_text())["spec"]
    assert spec["goal"] == "Defragment"
    assert spec["blocks"][0] == {
        "resource": "nvidia.com/gpu",
        "size": 8,
        "before": 0,
        "after": 1,
        "bound": 1,
        "proof": "Optimal",
        "gapBlocks": 0,
    }
    assert run("plan", "--check", str(written), "-f", str(dump)).returncode == 0
    spec["blocks"][0] |= {"before": 1}
    written.write_text(json.dumps(json.loads(defragment(dump, "-o", "json")) | {"spec": spec}))
    refused = run("plan", "--check", str(written), "-f", str(dump))
    assert refused.returncode == 1
    assert "BlockCountMismatch" in refused.stdout


def test_the_report_shows_the_blocks(dump: Path, tmp_path: Path) -> None:
    page = tmp_path / "plan.html"
    done = run("plan", "--goal", "defragment", "-f", str(dump), "--report", str(page), "-o", "diff")
    assert done.returncode == 0
    text = page.read_text()
    assert "Plan to defragment" in text
    assert "free blocks of 8 nvidia.com/gpu" in text
    assert "What waits, and why" not in text


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--goal", "defragment", "--block", "4", "--block", "6"), "4, 6 don't divide"),
        (("--block", "8"), "--block: has no meaning without --goal defragment"),
        (("--goal", "defragment", "--max-evictions", "1"), "contradicts --goal defragment"),
        (("--goal", "defragment", "--order", "tier-by-tier"), "nobody is placed"),
        (("--goal", "defragment", "--with", "job.yaml"), "nobody is placed"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(
    dump: Path, flags: tuple[str, ...], said: str
) -> None:
    done = run("plan", "-f", str(dump), *flags)
    assert done.returncode == 2
    assert said in done.stderr
