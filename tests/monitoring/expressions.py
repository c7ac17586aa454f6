"""Every expression that people and alerts look at, and what the programs export.

Used by tests/monitoring (names and labels) and e2e/test_monitoring.py (a real Prometheus).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import REGISTRY

import controllers.metrics
import controllers.spark.metrics  # noqa: F401 - importing declares the operator's metrics
from controllers.webhook import metrics as webhook
from fairstow.cache_sidecar import metrics as cache
from fairstow.gateway import metrics as gateway
from scheduler_plugins import metrics as extender
from tools.generate.boards import BOARDS
from tools.generate.dashboards import queries

ALERTS = Path(__file__).parents[2] / "helm" / "fairstow" / "alerts" / "fairstow.yaml"

REGISTRIES = (REGISTRY, webhook.REGISTRY, extender.REGISTRY, gateway.REGISTRY, cache.REGISTRY)
OURS = re.compile(r"\bfairstow_[a-z0-9_]+")
_METRIC = re.compile(r"(?P<name>\bfairstow_[a-z0-9_]+)(?:\{(?P<where>[^}]*)\})?")
_LABEL = re.compile(r"([a-z_]+)\s*(?:=~|!~|!=|=)")
_BY = re.compile(r"\bby \(([^)]*)\)")
_OF_PROMETHEUS = {"instance", "job", "le"}


def exported() -> dict[str, set[str]]:
    """Labels by name of every series that our programs export."""
    known: dict[str, set[str]] = {}
    for registry in REGISTRIES:
        for name, collector in registry._names_to_collectors.items():
            if name.startswith("fairstow_"):
                known[name] = set(getattr(collector, "_labelnames", ()))
    return known


def rules() -> list[dict[str, Any]]:
    """The alerting rules."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> list[tuple[str, str]]:
    """Where each expression is, and itself."""
    variables = [
        (f"{board.title}: variable {label}", f"sum by ({label}) ({metric})")
        for board in BOARDS
        for label, metric in board.variables
    ]
    alerts = [(f"alert {rule['alert']}", str(rule["expr"])) for rule in rules()]
    return [*queries(), *variables, *alerts]


def unknown(expression: str) -> set[str]:
    """Metrics and labels of an expression that no program exports."""
    known = exported()
    wrong, labels = set(), set(_OF_PROMETHEUS)
    for found in _METRIC.finditer(expression):
        name = found["name"]
        if name not in known:
            wrong.add(name)
            continue
        labels |= known[name]
        wrong |= {f"{name}{{{label}}}" for label in _LABEL.findall(found["where"] or "")
                  if label not in known[name]}  # fmt: skip
    by = {label.strip() for group in _BY.findall(expression) for label in group.split(",")}
    return wrong | (by - labels)
