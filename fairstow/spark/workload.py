"""Jobs as the simulator and the fluid systems see them: with what they will really need.

Shared by `fluid`, `simulator`, the command line and the benchmarks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Work:
    """A job to come.

    Attributes:
        submit: seconds; where it follows another job, seconds after the end of that.
        stages: seconds of one core of each task, stage by stage; a stage begins when all tasks of
            the one before it are over.
        declared: its estimate, as a multiple of what it needs.
        after: the job that it follows, "" for none.
    """

    id: str
    submit: float
    user: str
    stages: tuple[tuple[float, ...], ...]
    weight: float = 1.0
    declared: float = 1.0
    after: str = ""

    @cached_property
    def core_s(self) -> float:
        """What it needs in all."""
        return sum(sum(stage) for stage in self.stages)

    @cached_property
    def longest_task(self) -> float:
        """Seconds of its longest task."""
        return max((max(stage, default=0.0) for stage in self.stages), default=0.0)


def even(core_s: float, tasks: int) -> tuple[float, ...]:
    """Return a stage of equal tasks."""
    return (core_s / tasks,) * tasks
