"""The first process of a real node: sets its mounts up, starts its programs, ends with them.

Run by node.py as `python -S -m e2e.controlplane.realnode.init PLAN`. It makes a process and a
mount namespace and forks. When the child, process 1 in there, ends, the kernel ends all others,
pods included, and drops the mounts; it ends with us, however we end. Standard library only.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from e2e.controlplane.launch import die_with
from e2e.controlplane.realnode import cgroups

_CLONE_NEWNS = 0x00020000
_CLONE_NEWPID = 0x20000000
_AWAIT_SECONDS = 60.0


def main() -> None:
    """Make the namespaces, fork process 1, wait for its end or for SIGTERM."""
    plan = json.loads(Path(sys.argv[1]).read_text())
    cgroups.join(plan["cgroup"], os.getpid())
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS | _CLONE_NEWPID):
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNS | CLONE_NEWPID)")
    child = os.fork()
    if child == 0:
        die_with(0)  # seen from in here, our parent has no number
        os._exit(_first(plan))
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status) != 0)


def _first(plan: dict[str, Any]) -> int:
    """Do the work of process 1; return the exit code."""
    _mount(plan)
    names: dict[int, str] = {}
    for program in plan["programs"]:
        if not _await(program.get("after"), names):
            return 1
        names[_start(program)] = program["name"]
    while True:
        pid, status = os.wait()  # orphans of containers come to us, too
        if pid in names:
            return _ended(names[pid], status)


def _mount(plan: dict[str, Any]) -> None:
    """Hide the machine's state folders behind ours, and its kernel settings behind copies.

    The kubelet insists on some settings and writes those that differ; they are the machine's.
    Images lie in memory: a killed node leaves none of their many files, and a stopped one no wait.
    """
    commands = [["--make-rprivate", "/"], ["--make-rshared", "/"]]
    commands += [["-t", "proc", "proc", "/proc"], ["-t", "tmpfs", "images", plan["images"]]]
    commands += [["--bind", source, target] for target, source in plan["binds"].items()]
    for command in commands:
        subprocess.run(["mount", *command], check=True)


def _start(program: dict[str, Any]) -> int:
    with Path(program["log"]).open("ab") as log:
        process = subprocess.Popen(
            program["command"],
            env=os.environ | program.get("env", {}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    return process.pid


def _await(path: str | None, names: dict[int, str]) -> bool:
    """Wait until `path` exists; False if a program ended meanwhile or nothing came."""
    deadline = time.monotonic() + _AWAIT_SECONDS
    while path is not None and not Path(path).exists():
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid in names:
            return not _ended(names[pid], status)
        if time.monotonic() > deadline:
            print(f"{path} did not appear", flush=True)
            return False
        time.sleep(0.05)
    return True


def _ended(name: str, status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    print(f"{name} ended with exit code {code}, see {name}.log beside this file", flush=True)
    return 1


if __name__ == "__main__":
    main()
