"""Where and when a run was made."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def provenance(*packages: str, folders: tuple[str, ...]) -> dict[str, object]:
    """Return date, commit, cores and versions.

    Args:
        packages: distributions whose versions matter.
        folders: what the result depends on, from the root; the commit is the last that touches
            them, with a `+` where files in them differ from it.
    """
    commit = _git("log", "-1", "--format=%h", "--abbrev=10", "--", *folders)
    changed = _git("status", "--porcelain", "--", *folders)
    found: dict[str, object] = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit + ("+" if changed else ""),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    return found | {name: version(name) for name in packages}


def _git(*args: str) -> str:
    run = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=False)
    return run.stdout.strip()
