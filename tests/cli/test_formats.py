"""Plans as JSON, YAML, diff and page: what other programs read.

Covers that each form parses, says the same, is alone on standard output and comes out equal for
equal input. Leaves out what the page looks like (tests/report) and the text (test_plan_text).
"""

import json
from pathlib import Path

import pytest
import yaml

from fairstow.api import PackingPlan
from fairstow.cli.serialise import as_yaml
from fairstow.cluster import dump as dumps
from tests.cli.program import run, stuck, write_dump
from tests.packing.checker_clusters import node, pod


def test_json_is_a_valid_plan_and_nothing_else(plan_json: str) -> None:
    plan = PackingPlan.model_validate(json.loads(plan_json))
    assert [p.node for p in plan.spec.placements] == ["middle"]
    assert {(m.name, m.to) for m in plan.spec.moves} == {("small-0", "left"), ("small-1", "right")}


def test_yaml_is_the_same_object(dump: Path, plan_json: str) -> None:
    done = run("plan", "-f", str(dump), "-o", "yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert yaml.safe_load(done.stdout) == json.loads(plan_json)


def test_equal_input_and_seed_give_equal_bytes(dump: Path, plan_json: str) -> None:
    assert run("plan", "-f", str(dump), "-o", "json").stdout == plan_json


def test_diff_names_every_change_once_under_its_node(dump: Path) -> None:
    lines = run("plan", "-f", str(dump), "-o", "diff").stdout.splitlines()
    assert lines[0].startswith("--- snapshot ")
    assert lines[1].startswith("+++ plan-")
    assert lines[2:] == [
        "@@ left: nvidia.com/gpu 7/8 -> 8/8 @@",
        "+team-a/small-0 (ReplicaSet/small): moves from middle",
        "@@ middle: nvidia.com/gpu 6/8 -> 8/8 @@",
        *sorted(line for line in lines if line.startswith("-team-a")),
        "+team-b/big-0 (StatefulSet/big): was pending",
        "@@ right: nvidia.com/gpu 7/8 -> 8/8 @@",
        "+team-a/small-1 (ReplicaSet/small): moves from middle",
    ]


def test_warnings_go_to_standard_error_where_the_output_is_an_object(tmp_path: Path) -> None:
    path = write_dump(tmp_path / "part.json", stuck(), unknown=["PodDisruptionBudget"])
    for form in ("json", "diff"):
        done = run("plan", "-f", str(path), "-o", form)
        assert "PodDisruptionBudgets are unknown" in done.stderr
        assert "Warning" not in done.stdout
        assert form == "diff" or json.loads(done.stdout)["spec"]["budgets"] == "Unknown"


def test_report_is_a_page_beside_the_text(dump: Path, tmp_path: Path) -> None:
    page = tmp_path / "plan.html"
    done = run("plan", "-f", str(dump), "--report", str(page))
    assert done.returncode == 0
    assert "1 pod is pending" in done.stdout
    assert str(page) in done.stderr
    assert page.read_text().startswith("<!")
    assert "small-0" in page.read_text()


def test_report_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    page = str(tmp_path / "missing" / "plan.html")
    done = run("plan", "-f", str(tmp_path / "dump"), "--report", page)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {page}")


def test_input_may_come_by_standard_input_and_in_parts(tmp_path: Path) -> None:
    whole = write_dump(tmp_path / "whole.json.gz", [node("a"), pod("web")])
    nodes = write_dump(tmp_path / "nodes.json", [node("a")])
    pods = write_dump(tmp_path / "pods.json", [pod("web")])
    asked = ("-o", "json")
    once = run("plan", "-f", str(whole), *asked).stdout
    assert json.loads(once)["spec"]["placements"][0]["name"] == "web"
    assert run("plan", "-f", "-", *asked, stdin=whole.read_bytes()).stdout == once
    assert run("plan", "-f", str(nodes), "-f", str(pods), *asked).stdout == once


AWKWARD = ("1e5", "0x1F", "1_000", "y", "no", "12:30", "2026-01-01", "", "a: b", "~", "-", "é",
           "\x1b[31m")  # fmt: skip


@pytest.mark.parametrize("text", AWKWARD)
def test_yaml_keeps_text_text_for_every_reader(text: str, tmp_path: Path) -> None:
    written = as_yaml({"kind": "Thing", "metadata": {"name": text}})
    assert yaml.safe_load(written)["metadata"]["name"] == text
    assert written.isascii()
    path = tmp_path / "thing.yaml"
    path.write_text(written)
    (item,) = dumps.read([str(path)])
    assert item.decode(dict[str, dict[str, str] | str])["metadata"] == {"name": text}


@pytest.mark.parametrize("text", ["1e5", "12e45678", "y", "N", "007"])
def test_yaml_quotes_what_kubectl_would_take_for_something_else(text: str) -> None:
    assert as_yaml({"name": text}) == f'name: "{text}"'
