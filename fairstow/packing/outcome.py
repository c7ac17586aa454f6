"""What a search has found, and what is known of a level before any.

Apart from `search`, since whoever asks a search in another process needs no solver in its own.
"""

from collections.abc import Callable
from dataclasses import dataclass

from fairstow.packing.objective import Level
from fairstow.packing.problem import Problem, Site


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is known at some moment of a search.

    Attributes:
        changes: how the best layout differs from the current placement.
        bounds: by level, the proved bound given what the levels above reached.
        complete: whether the search ended by itself, not cut off or lost.
    """

    changes: dict[Site, int]
    bounds: tuple[int, ...]
    complete: bool = True


Report = Callable[[Outcome], None]
"""Is told of every better layout."""


def by_counting(level: Level, problem: Problem) -> int:
    """Bound a level: nobody places more pods than there are, nor disturbs less than nothing."""
    if not level.places:
        return 0
    covered = ((i, g) for i, g in enumerate(problem.groups) if level.covers(g.priority))
    return sum(g.placed if i in problem.pinned else g.most for i, g in covered)
