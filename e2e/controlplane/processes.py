"""Starts, watches and ends the processes of one cluster, and leaves none behind.

Each child writes a record (pid and start time) into the cluster's folder before it becomes its
program. Whoever comes later, even after a crash, ends exactly the recorded processes and never
a stranger that got the same pid. Used by cluster.py and provider.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.controlplane import launch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GRACE_SECONDS = 10.0
_TAIL_LINES = 15
# The kernel ties "die with the parent" to the *thread* that forked. A test may start a cluster
# from a thread that ends early, so all children are forked from one that lives to the end.
_forker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fork")


class ComponentError(Exception):
    """A component ended or did not become ready; the message holds the end of its log."""


class Processes:
    """The children of one cluster, in the order they were started."""

    def __init__(self, folder: Path, *, die_with_parent: bool) -> None:
        self._records = folder / "pids"
        self._logs = folder / "logs"
        self._die_with_parent = die_with_parent
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, tuple[Sequence[str | Path], Mapping[str, str] | None]] = {}

    def spawn(
        self, name: str, command: Sequence[str | Path], env: Mapping[str, str] | None = None
    ) -> None:
        """Start `command` in a session of its own, its output going to `<folder>/logs/<name>.log`.

        A session of its own, because Ctrl-C on the terminal is for us: we end children in order.
        """
        self._records.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        self._commands[name] = (command, env)
        order = list(self._commands).index(name)
        record = self._records / f"{order:02d}-{name}.json"
        parent = str(os.getpid()) if self._die_with_parent else "-"
        launcher = [sys.executable, "-I", "-S", launch.__file__, str(record), parent]
        with self.log(name).open("ab") as log:
            self._children[name] = _forker.submit(
                subprocess.Popen,
                [*launcher, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=None if env is None else dict(os.environ | dict(env)),
            ).result()

    @property
    def names(self) -> frozenset[str]:
        """Names of the children that were started and not ended by us."""
        return frozenset(self._children)

    def pid(self, name: str) -> int:
        """Return the pid of a child, to kill or pause it in a test of faults."""
        return self._children[name].pid

    def restart(self, name: str) -> None:
        """End component `name` if it still runs, and start it again as it was."""
        if name in self._children:
            self.stop_one(name)
        self.spawn(name, *self._commands[name])

    def stop_one(self, name: str) -> None:
        """End component `name` if it still runs."""
        child = self._children.pop(name)
        for record in self._records.glob(f"*-{name}.json"):
            end(record, child)
            record.unlink(missing_ok=True)
        _reap(child)

    def kill_one(self, name: str) -> None:
        """End component `name` without any warning."""
        self._children[name].kill()
        self.stop_one(name)

    def log(self, name: str) -> Path:
        """Where the output of component `name` goes."""
        return self._logs / f"{name}.log"

    def ended(self) -> list[str]:
        """Return the children that have ended by themselves."""
        return [name for name, child in self._children.items() if child.poll() is not None]

    def check(self) -> None:
        """Raise ComponentError if a child has ended."""
        for name in self.ended():
            code = self._children[name].returncode
            raise self.error(name, f"ended with exit code {code}")

    def error(self, name: str, what: str) -> ComponentError:
        """Return an error about component `name` with the end of its log and the log's path."""
        log = self.log(name)
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        tail = "\n".join(f"    {line}" for line in lines[-_TAIL_LINES:])
        return ComponentError(f"{name} {what}. The end of {log}:\n{tail}")

    def stop(self) -> None:
        """End all recorded processes, the last started first, whoever started them."""
        for record in sorted(self._records.glob("*.json"), reverse=True):
            child = self._children.pop(record.stem.partition("-")[2], None)
            end(record, child)
            record.unlink(missing_ok=True)
        # A child that was interrupted before it wrote its record.
        for child in self._children.values():
            _reap(child)
        self._children.clear()


def running(record: Path) -> int | None:
    """Return the pid of the process that wrote `record` if that very process still runs."""
    try:
        content = json.loads(record.read_text())
    except (FileNotFoundError, ValueError):
        return None
    pid = int(content["pid"])
    return pid if launch.identity(pid) == content["identity"] else None


def end(record: Path, child: subprocess.Popen[bytes] | None = None) -> None:
    """Ask the recorded process to end, and kill it if it has not after GRACE_SECONDS."""
    for signum, patience in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, GRACE_SECONDS)):
        pid = running(record)
        if pid is not None:
            _signal(pid, signum)
        deadline = time.monotonic() + patience
        while running(record) is not None and time.monotonic() < deadline:
            time.sleep(0.02)
    if child is not None:
        _reap(child)


def _reap(child: subprocess.Popen[bytes]) -> None:
    """Leave no zombie; a child that has ended already is not signalled again."""
    child.kill()
    child.wait()


def _signal(pid: int, signum: signal.Signals) -> None:
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return
