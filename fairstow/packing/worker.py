"""A warm solver process: ortools is loaded once, and a search can't outlive its window.

CP-SAT doesn't always stop when its time is up (presolve can't be interrupted), so the deadline is
kept from outside: the worker sends every better layout as it is found, and a worker that is late
is killed, its last layout is the answer and the next search gets a new one. A crash of the solver
costs no more than that either.
"""

import multiprocessing
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any

from fairstow.packing.search import Outcome, Search, Task, known_without_search

_GRACE = 0.25
"""Seconds a search may be late before its process is killed, plus 2 % of its window."""


class Worker:
    """A solver process; use as a context manager, call it like `planner.Solver`."""

    _pipe: "Connection[Any, Any]"
    _process: SpawnProcess
    _ready: bool

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._start()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def ready(self, seconds: float) -> bool:
        """Wait until the solver is loaded, which the window of a search needn't pay for."""
        try:
            if not self._ready and self._pipe.poll(seconds):
                self._ready = bool(self._pipe.recv())
        except (EOFError, OSError):
            self._restart()
        return self._ready

    def __call__(self, task: Task, seconds: float) -> Outcome:
        """Run one search; returns within `seconds` plus a grace, with the best known."""
        latest: Outcome = known_without_search(task)
        if seconds <= 0:
            return latest
        deadline = time.monotonic() + seconds
        last_call = deadline + _GRACE + 0.02 * seconds
        try:
            if not self.ready(max(0.0, deadline - time.monotonic())):
                return latest
            self._pipe.send((task, deadline - time.monotonic()))
            while self._pipe.poll(max(0.0, last_call - time.monotonic())):
                latest, final = self._pipe.recv()
                if final:
                    return latest
        except (EOFError, OSError):
            pass  # the solver died: what it had reported stands
        self._restart()
        return latest

    def close(self) -> None:
        """End the process; idempotent."""
        self._pipe.close()
        self._process.kill()
        self._process.join()

    def _restart(self) -> None:
        self.close()
        self._start()

    def _start(self) -> None:
        self._ready = False
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
        with _interrupts_ignored():
            self._process.start()
        theirs.close()


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ctrl-C goes to every process of a terminal; one that is still loading would show a traceback.

    A process inherits what its parent ignores. Only the main thread may set that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(pipe: "Connection[Any, Any]") -> None:
    """Answer searches until the other end goes away."""
    try:
        pipe.send(True)
        while True:
            task, seconds = pipe.recv()
            search = Search(
                task,
                time.monotonic,
                time.monotonic() + seconds,
                report=lambda outcome: pipe.send((outcome, False)),
            )
            pipe.send((search.run(), True))
    except (EOFError, OSError):
        return
