"""Shows how far a long build is: a bar on a terminal, a line every 30 seconds elsewhere.

Used by build.py; `go build -v` names each package it has compiled, which is the measure.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINE_EVERY_SECONDS = 30.0


@contextmanager
def progress(
    what: str, *, total: int, expected: str, stream: TextIO | None = None
) -> Iterator[Callable[[int], None]]:
    """Yield a function that takes the number of packages done so far."""
    stream = stream or sys.stderr
    if stream.isatty():
        with _bar(what, total=total, expected=expected, stream=stream) as update:
            yield update
    else:
        with _lines(what, total=total, expected=expected, stream=stream) as update:
            yield update


@contextmanager
def _bar(
    what: str, *, total: int, expected: str, stream: TextIO
) -> Iterator[Callable[[int], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn(f"of about {expected}"),
    )
    with Progress(*columns, console=Console(file=stream)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def _lines(
    what: str, *, total: int, expected: str, stream: TextIO
) -> Iterator[Callable[[int], None]]:
    start = last = time.monotonic()
    print(f"{what}: about {expected} on two cores …", file=stream, flush=True)

    def update(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= LINE_EVERY_SECONDS:
            last = now
            print(f"{what}: {done}/{total} packages, {now - start:.0f} s", file=stream, flush=True)

    yield update
    print(f"{what}: done in {time.monotonic() - start:.0f} s", file=stream, flush=True)
