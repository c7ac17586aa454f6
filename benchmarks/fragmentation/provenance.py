"""Where and when a run was made."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent


def provenance() -> dict[str, object]:
    """Return date, commit (with `+` where files differ from it), cores and versions."""
    import numpy as np

    commit = _git("rev-parse", "--short=10", "HEAD")
    changed = _git("status", "--porcelain", "--", str(HERE))
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit + ("+" if changed else ""),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def _git(*args: str) -> str:
    run = subprocess.run(["git", *args], cwd=HERE, capture_output=True, text=True, check=False)
    return run.stdout.strip()
