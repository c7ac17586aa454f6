"""The files of operator/: small, run as files, imported by nobody, never a package.

Not covered: that they work (e2e/test_webhook.py, e2e/execution).
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENTRYPOINTS = sorted((ROOT / "operator").glob("*"))
PROGRAMS = [path for path in ENTRYPOINTS if path.suffix == ".py"]


def test_there_is_nothing_but_programs() -> None:
    """A package called `operator` would shadow the standard library's."""
    assert {p.name for p in ENTRYPOINTS} - {"__pycache__"} == {p.name for p in PROGRAMS}
    assert "__init__.py" not in {p.name for p in PROGRAMS}


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.name)
def test_a_program_is_small(program: Path) -> None:
    assert len(program.read_text().splitlines()) <= 40


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.name)
def test_a_program_imports_no_other(program: Path) -> None:
    others = {path.stem for path in PROGRAMS}
    tree = ast.parse(program.read_text())
    imported = {n.name for i in ast.walk(tree) if isinstance(i, ast.Import) for n in i.names}
    imported |= {i.module or "" for i in ast.walk(tree) if isinstance(i, ast.ImportFrom)}
    assert not imported & others


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.name)
def test_a_program_runs_from_anywhere_and_says_how_it_is_used(
    program: Path, tmp_path: Path
) -> None:
    command = [sys.executable, str(program), "--help"]
    reply = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert program.name in reply.stdout
    wrong = [sys.executable, str(program), "--no-such-flag"]
    assert subprocess.run(wrong, cwd=tmp_path, capture_output=True, check=False).returncode == 2


def test_the_operator_leaves_the_solver_to_its_own_process() -> None:
    """Ortools and what it brings take 90 MB of a program that only asks it."""
    said = "import sys, controllers.runtime; print({'ortools', 'numpy'} & sys.modules.keys())"
    command = [sys.executable, "-c", said]
    reply = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert reply.stdout == "set()\n"
