"""The real helm, and the chart as it renders. Used by tests of the chart and of its parts."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from e2e.controlplane.build import HELM_CLI, ensure

if TYPE_CHECKING:
    from collections.abc import Mapping

CHART = Path(__file__).parents[1] / "helm" / "fairstow"
NAMESPACE = "fairstow-system"


class HelmError(Exception):
    """helm ended with an error; the message holds the command and what it said."""


def helm(*args: str, environ: Mapping[str, str] | None = None, timeout: float = 300) -> str:
    """Run helm and return its output. Raises HelmError."""
    reply = subprocess.run(
        [str(ensure(HELM_CLI)), *args],
        env=dict(environ or os.environ),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if reply.returncode:
        raise HelmError(f"helm {' '.join(args)}: {reply.stderr.strip()} {reply.stdout.strip()}")
    return reply.stdout


def rendered(
    values: Mapping[str, Any] | None = None, *more: str, namespace: str = NAMESPACE
) -> list[dict[str, Any]]:
    """Return the objects that the chart makes with these values. Raises HelmError."""
    text = helm(
        *("template", "fairstow", str(CHART), "--namespace", namespace),
        *("--set-json", json.dumps(dict(values or {}))),
        *more,
    )
    return [each for each in yaml.safe_load_all(text) if each]
