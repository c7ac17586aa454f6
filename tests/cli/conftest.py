"""Fixtures of the command line's tests: a small cluster with one useful plan, and that plan."""

from pathlib import Path

import pytest

from tests.cli.program import run, stuck, write_dump


@pytest.fixture(scope="session")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dump of a cluster with a stuck pod that two moves free."""
    return write_dump(tmp_path_factory.mktemp("stuck") / "cluster.json", stuck())


@pytest.fixture(scope="session")
def plan_json(dump: Path) -> str:
    """What `plan -o json` prints for it."""
    done = run("plan", "-f", str(dump), "-o", "json")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
