"""Whether the operator lives: all of its loops take turns.

Loops say when they have finished one (`Pace`, the certificates' loop); the admin port asks.
"""

import time
from collections.abc import Callable

LONGEST_TURN = 600.0
"""Seconds after which a loop that finished no turn is stuck; a policy's window is 5 min at most."""


class Turns:
    """When each loop last finished a turn."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._finished: dict[str, float] = {}

    def finished(self, loop: str) -> None:
        """Note that a loop has finished a turn, or what takes long in one, or begins its first."""
        self._finished[loop] = self._clock()

    def stuck(self) -> str:
        """Say which loop hasn't finished a turn for long, "" if none: those that wait count too."""
        for loop, when in self._finished.items():
            if (quiet := self._clock() - when) > LONGEST_TURN:
                return f"the loop {loop} hasn't finished a turn for {quiet:.0f} s"
        return ""
