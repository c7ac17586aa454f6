"""The real dump of 120 nodes: the plan is accepted and comes near the optimum, its bound proved.

Needs the data folder that FAIRSTOW_DATA names; without it the test is skipped and says so.
"""

import json
import os
from pathlib import Path

import pytest

from tests.cli.program import run

OPTIMUM = {1000: 188, 100: 344, 0: 149}
"""Pods that can be placed by moves alone, by priority: an upper bound, spread left out."""


def test_openb_120(tmp_path: Path) -> None:
    data = os.environ.get("FAIRSTOW_DATA")
    dump = Path(data or "", "clusters", "openb-120.json.gz")
    if not data or not dump.exists():
        pytest.skip("FAIRSTOW_DATA names no folder with clusters/openb-120.json.gz")
    made = run("plan", "-f", str(dump), "-o", "json")
    assert made.returncode == 0, made.stderr
    tiers = json.loads(made.stdout)["spec"]["tiers"]
    assert {t["priority"]: t["bound"] for t in tiers} == OPTIMUM
    placed = {t["priority"]: t["placedAfter"] for t in tiers}
    for priority, best in OPTIMUM.items():
        assert best - 2 <= placed[priority] <= best
    plan = tmp_path / "plan.json"
    plan.write_text(made.stdout)
    checked = run("plan", "--check", str(plan), "-f", str(dump))
    assert checked.returncode == 0, checked.stdout
    assert "accepted" in checked.stdout
