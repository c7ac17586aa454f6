"""What a command is doing, on standard error, where somebody is looking and it takes a while."""

import sys
import threading
import time
from types import TracebackType

_PATIENCE = 1.0
"""Seconds before anything is shown."""

_TICK = 0.1


class Progress:
    """A context manager; `say` names the phase. Quiet unless standard error is a terminal."""

    def __init__(self) -> None:
        self._phase: tuple[str, float | None, float] = ("", None, time.monotonic())
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty():
            self._thread = threading.Thread(target=self._show, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def say(self, doing: str, seconds: float | None = None) -> None:
        """Name what is being done, and how long it may take."""
        self._phase = (doing, seconds, time.monotonic())

    def _show(self) -> None:
        if self._over.wait(_PATIENCE):
            return
        from rich.console import Console
        from rich.live import Live
        from rich.progress_bar import ProgressBar
        from rich.spinner import Spinner
        from rich.table import Table

        from fairstow.cluster.errors import printable

        spinner = Spinner("line")

        def line() -> Table:
            doing, seconds, since = self._phase
            elapsed = time.monotonic() - since
            grid = Table.grid(padding=(0, 1))
            cells: list[object] = [spinner, printable(doing, 60)]
            if seconds is not None:
                cells.append(ProgressBar(total=seconds, completed=min(elapsed, seconds), width=20))
                cells.append(f"{min(elapsed, seconds):.0f} of {seconds:.0f} s")
            grid.add_row(*cells)  # type: ignore[arg-type]
            return grid

        with Live(console=Console(stderr=True), transient=True, get_renderable=line) as live:
            while not self._over.wait(_TICK):
                live.refresh()
