"""Dashboards and alerts name what the programs export, and each alert has its page.

Whether Prometheus takes the expressions is e2e/test_monitoring.py's; when alerts fire,
test_alerts.py's.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.monitoring.expressions import exported, expressions, rules, unknown
from tools.generate.boards import BOARDS
from tools.generate.dashboards import dashboards

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("where", "expression"), expressions(), ids=lambda text: text[:60])
def test_every_expression_names_what_is_exported(where: str, expression: str) -> None:
    assert "fairstow_" in expression
    assert unknown(expression) == set(), where


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("fairstow_nothing_total", {"fairstow_nothing_total"}),
        ('fairstow_packing_pool_gpus{color="red"}', {"fairstow_packing_pool_gpus{color}"}),
        ("sum by (color) (fairstow_packing_pool_gpus)", {"color"}),
        ("rate(fairstow_packing_run_seconds_sum[5m])", set()),
    ],
)
def test_what_is_not_exported_is_noticed(expression: str, wrong: set[str]) -> None:
    assert unknown(expression) == wrong


def test_every_metric_is_shown_somewhere() -> None:
    shown = " ".join(expression for _, expression in expressions())
    families = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in exported()}
    hidden = {name for name in families if not re.search(rf"\b{name}", shown)}
    assert {name for name in hidden if f"{name}_total" not in families} == set()


def test_dashboards_are_what_grafana_reads() -> None:
    written = dashboards()
    assert len(written) == len(BOARDS)
    for text in written.values():
        board: dict[str, Any] = json.loads(text)
        ids = [panel["id"] for panel in board["panels"]]
        assert len(ids) == len(set(ids))
        graphs = [panel for panel in board["panels"] if panel["type"] != "row"]
        assert graphs
        for panel in graphs:
            assert panel["description"], panel["title"]
            assert panel["datasource"]["uid"] == "$datasource"
            assert all(target["expr"] for target in panel["targets"])
        variables = {each["name"] for each in board["templating"]["list"]}
        used = set(re.findall(r"\$([a-z]+)\b", text)) - {"datasource"}
        assert used <= variables | {"__rate_interval", "__all"}


PARTS = ("**Seen**", "**Means**", "**Run**", "**Before ", "**So that it doesn't happen again**")


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_alert_has_a_page_of_the_usual_shape(rule: dict[str, Any]) -> None:
    url = rule["annotations"]["runbook_url"]
    path = ROOT / "docs" / "runbooks" / f"{rule['alert']}.md"
    assert url.endswith(f"/docs/runbooks/{path.name}")
    text = path.read_text()
    at = [text.index(part) for part in PARTS]
    assert at == sorted(at)
    assert text.startswith(f"# {rule['alert']}\n")
    assert {"summary", "description"} <= rule["annotations"].keys()
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}


def test_no_page_is_left_over() -> None:
    pages = {path.stem for path in (ROOT / "docs" / "runbooks").glob("*.md")}
    assert pages == {rule["alert"] for rule in rules()}
