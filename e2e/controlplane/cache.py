"""Where built programs and detached clusters are kept between runs, and the lock around it.

Used by build.py and by `python -m e2e.controlplane`.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The user's cache folder of Fairstow: $FAIRSTOW_CACHE, else below $XDG_CACHE_HOME."""
    if own := environ.get("FAIRSTOW_CACHE"):
        return Path(own).expanduser()
    base = environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "fairstow"


@contextmanager
def locked(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold an exclusive lock on `path`; call `on_wait` once if another process has it.

    The kernel drops the lock with its holder, so a killed process leaves none behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
