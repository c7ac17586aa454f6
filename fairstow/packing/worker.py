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
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any

from fairstow.packing.outcome import Outcome, Report
from fairstow.packing.task import Task

_MARGIN = 0.1
"""Seconds the search is told to end before it is cut off; less of a window under a second."""


_ENDING = (signal.SIGINT, signal.SIGTERM)


class SolverError(RuntimeError):
    """The search failed by a fault of ours; the message is its traceback."""


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
        """Run one search; returns within `seconds` with the best known.

        A process that dies is replaced once, and the search goes on from what it had reported.

        Raises:
            SolverError: the search failed by a fault of ours, not of time.
        """
        deadline = time.monotonic() + seconds
        latest = task.begin()
        for _ in range(2):
            try:
                latest = self._search(replace(task, start=latest.changes), deadline, latest)
            except (EOFError, OSError):
                self._restart()  # it died: what it had reported stands
                continue
            if not latest.complete:
                self._restart()  # it is late: it would answer into the next search
            break
        return latest

    def _search(self, task: Task, deadline: float, latest: Outcome) -> Outcome:
        if not self.ready(max(0.0, deadline - time.monotonic())):
            return latest
        seconds = deadline - time.monotonic()
        self._pipe.send((task, seconds - _MARGIN * min(1.0, seconds)))
        while self._pipe.poll(max(0.0, deadline - time.monotonic())):
            answer = self._pipe.recv()
            if isinstance(answer, str):
                raise SolverError(answer)
            latest, final = answer
            if final:
                return latest
        return replace(latest, complete=False)

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
        with _signals_held():
            self._process.start()
        theirs.close()


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold back what would end this process while another starts; keep Ctrl-C from that for good.

    Ended in the middle, this process would leave the other half-made, and that would complain. And
    Ctrl-C goes to every process of a terminal: one that is still loading would answer it with a
    traceback. What is blocked is inherited as blocked; but other threads of this process still
    take the signal, hence the handlers. Python's resource tracker is started first, since its
    start unblocks the signal.
    """
    resource_tracker.ensure_running()
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    came: list[int] = []
    before = {n: signal.signal(n, lambda n, _: came.append(n)) for n in _ENDING}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
        for arrived in came:
            signal.raise_signal(arrived)


def _serve(pipe: "Connection[Any, Any]") -> None:
    """Answer searches until the other end goes away."""
    import fairstow.packing.search  # noqa: F401 - ortools, which the window of a search shan't pay for

    try:
        pipe.send(True)
        while True:
            task, seconds = pipe.recv()
            pipe.send(_answer(task, seconds, lambda outcome: pipe.send((outcome, False))))
    except (EOFError, OSError):
        return


def _answer(task: Task, seconds: float, report: Report) -> tuple[Outcome, bool] | str:
    try:
        return task.run(time.monotonic, time.monotonic() + seconds, report), True
    except (EOFError, OSError):
        raise  # the other end went away in the middle of a search
    except Exception:  # noqa: BLE001 - whatever it is, the other end tells the user
        return traceback.format_exc()
