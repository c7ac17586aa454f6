"""Skips tests of an engine where it can't be installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.engines.environments import InstallError


def installed(environment: Callable[[], Path]) -> None:
    """Install an engine, if need be; skip the test where that fails, and say why."""
    try:
        environment()
    except InstallError as error:
        pytest.skip(f"no engine: {error}")
