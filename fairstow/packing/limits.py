"""What a plan may cost at most, as the search and its bounds read it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Limits:
    """Bounds on a plan.

    Attributes:
        moves: most moves, or None.
        evictions: most evictions for good.
        evictable: groups that may lose pods for good.
        caps: most placed pods of a group, where less than all.
        tier_caps: most placed pods of a tier by priority, where less than all.
    """

    moves: int | None = None
    evictions: int = 0
    evictable: frozenset[int] = frozenset()
    caps: Mapping[int, int] = field(default_factory=dict)
    tier_caps: Mapping[int, int] = field(default_factory=dict)
