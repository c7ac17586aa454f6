"""When each alert fires and when it doesn't, as Prometheus' own promtool judges (alerts.yaml).

Debian's package prometheus has promtool; without it the tests are skipped.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.monitoring.expressions import ALERTS, rules

CASES = Path(__file__).parent / "alerts.yaml"


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool here; Debian: apt-get install prometheus (make setup-system)")
    return found


def test_prometheus_takes_the_rules(promtool: str) -> None:
    done = subprocess.run(
        [promtool, "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout


def test_alerts_fire_when_they_should_and_only_then(promtool: str, tmp_path: Path) -> None:
    cases = yaml.safe_load(CASES.read_text()) | {"rule_files": [str(ALERTS)]}
    path = tmp_path / "cases.yaml"
    path.write_text(yaml.dump(cases))
    done = subprocess.run(
        [promtool, "test", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout


def test_every_alert_is_seen_firing_and_silent() -> None:
    tests = yaml.safe_load(CASES.read_text())["tests"]
    judged = [case for test in tests for case in test["alert_rule_test"]]
    firing = {case["alertname"] for case in judged if case.get("exp_alerts")}
    silent = {case["alertname"] for case in judged if not case.get("exp_alerts")}
    assert firing == silent == {rule["alert"] for rule in rules()}
