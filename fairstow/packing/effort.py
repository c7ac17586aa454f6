"""A clock of work done instead of time passed, so that equal questions get equal answers.

The search asks one clock for everything it decides by time. Under a budget of work that clock is a
`Meter`: it stands still but for what is spent on it, and what is spent depends on the question
alone (CP-SAT's deterministic time, sizes of programs, pods looked at). A unit is about a second of
one core.
"""

from collections.abc import Callable

Clock = Callable[[], float]

WORKERS = 2
"""Threads under a budget of work: another number would find another layout."""

UNLIMITED = 1e6
"""Seconds for what can't be interrupted after so much work rather than so much time."""


class Meter:
    """Counts units of work; called like a clock."""

    def __init__(self) -> None:
        self._spent = 0.0

    def __call__(self) -> float:
        """Return the units spent so far."""
        return self._spent

    def spend(self, units: float) -> None:
        """Note work that was done."""
        self._spent += units


def spend(clock: Clock, units: float) -> None:
    """Note work on a meter; a real clock goes by itself."""
    if isinstance(clock, Meter):
        clock.spend(units)
