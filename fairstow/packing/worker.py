"""A warm solver process: ortools is loaded once, and a search can't outlive its window.

CP-SAT doesn't always stop when its time is up (presolve can't be interrupted), so the deadline is
kept from outside: the worker sends every better layout as it is found, and a worker that is late
is killed, its last layout is the answer and the next search gets a new one. A crash of the solver
costs no more than that either.
"""

import multiprocessing
import signal
import time
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

    def __call__(self, task: Task, seconds: float) -> Outcome:
        """Run one search; returns within `seconds` plus a grace, with the best known."""
        latest: Outcome = known_without_search(task)
        if seconds <= 0:
            return latest
        deadline = time.monotonic() + seconds
        last_call = deadline + _GRACE + 0.02 * seconds
        try:
            # Wait for a cold worker to be ready on the window's time, not the search's.
            if not self._ready and not self._pipe.poll(max(0.0, deadline - time.monotonic())):
                return latest
            if not self._ready:
                self._ready = bool(self._pipe.recv())
            self._pipe.send((task, deadline - time.monotonic()))
            while self._pipe.poll(max(0.0, last_call - time.monotonic())):
                latest, final = self._pipe.recv()
                if final:
                    return latest
        except (EOFError, OSError):
            pass  # the solver died: what it had reported stands
        self.close()
        self._start()
        return latest

    def close(self) -> None:
        """End the process; idempotent."""
        self._pipe.close()
        self._process.kill()
        self._process.join()

    def _start(self) -> None:
        self._ready = False
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()


def _serve(pipe: "Connection[Any, Any]") -> None:
    """Answer searches until the other end goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
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
