"""The cgroup of a real node: made, joined, and swept away after its processes are gone.

Cgroups are the one thing the kernel doesn't drop with a namespace. A node that lives has a
process in `<name>/init`; whatever has none there is a leftover, of this run or a crashed one.
Used by init.py and node.py.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from e2e.controlplane.cache import cache_dir, locked

MOUNT = Path("/sys/fs/cgroup")
_PREFIX = "fairstow-node-"
_PATIENCE_SECONDS = 5.0


def name_of(folder: Path) -> str:
    """Return the cgroup's name for the cluster in `folder`."""
    return _PREFIX + hashlib.sha256(str(folder).encode()).hexdigest()[:12]


def unified(mount: Path = MOUNT) -> bool:
    """Whether this machine has version 2, one hierarchy for all controllers."""
    return (mount / "cgroup.controllers").exists()


def join(name: str, pid: int, mount: Path = MOUNT) -> None:
    """Make the cgroup in every hierarchy and put `pid` into its leaf `init`."""
    with locked(cache_dir() / "cgroups.lock"):
        if unified(mount):
            (mount / "cgroup.subtree_control").write_text("+cpu +cpuset +memory +pids")
        for hierarchy in hierarchies(mount):
            leaf = hierarchy / name / "init"
            leaf.mkdir(parents=True, exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):  # empty at first in version 1
                for group in (leaf.parent, leaf):
                    inherited = group.parent / setting
                    if not unified(mount) and inherited.exists():
                        (group / setting).write_text(inherited.read_text())
            (leaf / "cgroup.procs").write_text(str(pid))


def sweep(mount: Path = MOUNT) -> None:
    """Remove the cgroups of nodes that no longer live."""
    with locked(cache_dir() / "cgroups.lock"):
        left = {path.name for each in hierarchies(mount) for path in each.glob(f"{_PREFIX}*")}
        for name in left:
            roots = [each / name for each in hierarchies(mount) if (each / name).is_dir()]
            if not any(_alive(root) for root in roots):
                for root in roots:
                    _remove(root)


def hierarchies(mount: Path = MOUNT) -> list[Path]:
    """Return the root of every hierarchy, of which version 2 has one."""
    if unified(mount):
        return [mount]
    return [path for path in sorted(mount.iterdir()) if (path / "cgroup.procs").exists()]


def _alive(root: Path) -> bool:
    members = root / "init" / "cgroup.procs"
    return members.exists() and bool(members.read_text().strip())


def _remove(root: Path) -> None:
    """Remove a tree of cgroups from its leaves; the kernel may take a moment to let go."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while root.exists():
        for path in sorted((p for p in root.rglob("*") if p.is_dir()), reverse=True):
            _rmdir(path)
        _rmdir(root)
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)


def _rmdir(path: Path) -> None:
    try:
        path.rmdir()
    except OSError:
        return  # still busy: the caller comes again
