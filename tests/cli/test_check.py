"""`plan --check`: whatever was written is read back and judged, exit code 0 or 1.

Covers the program's side. What the checker refuses and why is in tests/packing.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from fairstow.cli.checking import verdict_text
from fairstow.cli.errors import InternalError
from fairstow.cli.live import Live
from fairstow.cli.making import make
from fairstow.cli.sources import Source, load
from fairstow.cli.terminal import Look
from fairstow.packing.checker import Verdict
from fairstow.packing.model import Request
from fairstow.packing.worker import Worker
from tests.cli.program import run, stuck, write_dump
from tests.packing.checker_clusters import node, pod


@pytest.fixture
def plan(plan_json: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(plan_json)
    return read


def checked(plan: Any, dump: Path, tmp_path: Path, *more: str) -> tuple[int, str]:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan))
    done = run("plan", "--check", str(path), "-f", str(dump), *more)
    return done.returncode, done.stdout + done.stderr


def test_its_own_plan_is_accepted(plan: Any, dump: Path, tmp_path: Path) -> None:
    code, said = checked(plan, dump, tmp_path)
    assert code == 0
    assert "accepted. All 3 steps are feasible one after the other" in said


def test_yaml_is_read_as_well(dump: Path, tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(run("plan", "-f", str(dump), "-o", "yaml").stdout)
    assert run("plan", "--check", str(path), "-f", str(dump)).returncode == 0


def test_another_target_is_refused_with_the_step_and_the_numbers(
    plan: Any, dump: Path, tmp_path: Path
) -> None:
    spec = plan["spec"]
    spec["placements"][0]["node"] = "left"
    spec["steps"][-1]["bind"][0]["node"] = "left"
    code, said = checked(plan, dump, tmp_path)
    assert code == 1
    assert "InsufficientResources: step 3, pod team-b/big-0, node left" in said
    assert "accepted" not in said


def test_a_cluster_that_has_changed_is_said_to_have(plan: Any, tmp_path: Path) -> None:
    changed = [o for o in stuck() if o["metadata"]["name"] != "small-0"]
    code, said = checked(plan, write_dump(tmp_path / "later.json", changed), tmp_path)
    assert code == 1
    assert "has changed since" in said
    assert "small-0" in said


def test_the_verdict_as_an_object(plan: Any, dump: Path, tmp_path: Path) -> None:
    code, said = checked(plan, dump, tmp_path, "-o", "json")
    verdict = json.loads(said)
    assert (code, verdict["accepted"], verdict["stepsReplayed"]) == (0, True, 3)
    plan["spec"]["cost"] = 99
    code, said = checked(plan, dump, tmp_path, "-o", "json")
    verdict = json.loads(said)
    assert (code, verdict["accepted"]) == (1, False)
    assert [v["rule"] for v in verdict["violations"]] == ["CostMismatch"]


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}, "0 PackingPlans"),
        ({}, "0 PackingPlans"),
        ([], "0 PackingPlans"),
        (7, ""),
    ],
)
def test_what_is_no_plan_is_bad_input(plan: Any, said: str, dump: Path, tmp_path: Path) -> None:
    code, text = checked(plan, dump, tmp_path)
    assert code == 2
    assert "plan.json" in text
    assert said in text


@pytest.mark.parametrize("spec", [None, 7, {}, {"steps": "x"}, {"placements": [None]}])
def test_a_plan_of_the_wrong_shape_is_refused(spec: Any, dump: Path, tmp_path: Path) -> None:
    plan = {
        "apiVersion": "fairstow.dev/v1alpha1",
        "kind": "PackingPlan",
        "metadata": {"name": "p"},
        "spec": spec,
    }
    code, said = checked(plan, dump, tmp_path)
    assert code == 1
    assert "PlanShape" in said


def test_nothing_for_a_plan_has_a_hint_on_plans(dump: Path) -> None:
    done = run("plan", "--check", "/dev/null", "-f", str(dump))
    assert done.returncode == 2
    assert "fairstow plan -f DUMP -o json > plan.json" in done.stderr
    assert "kubectl get" not in done.stderr


@pytest.mark.parametrize("accepted", [True, False])
def test_what_was_not_checked_is_said(accepted: bool, dump: Path) -> None:
    source = load([str(dump)], Live(), keep=False, progress=lambda _: None)
    verdict = Verdict(accepted, (), notes=("StorageClasses are unknown",))
    text = verdict_text(verdict, {}, source, "plan.json", Look())
    assert "- not checked: StorageClasses are unknown" in text


def test_a_plan_that_the_checker_refuses_is_never_shown(tmp_path: Path) -> None:
    """The planner sees room that the checker, reading other objects, doesn't."""

    def source(name: str, gpu: int) -> Source:
        path = write_dump(tmp_path / name, [node("a", gpu=gpu), pod("web", gpu=2)])
        return load([str(path)], Live(), keep=True, progress=lambda _: None)

    roomy, tight = source("roomy.json", 8), source("tight.json", 1)
    torn = Source(roomy.snapshot, tight.objects, "")
    with Worker() as worker, pytest.raises(InternalError) as refused:
        make(torn, Request(roomy.snapshot), worker)
    assert "isn't shown" in refused.value.problem
    assert any("InsufficientResources" in line for line in refused.value.details)
