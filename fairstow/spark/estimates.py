"""How much work an application or job will be, of what its like was before.

Called by the Spark controller and by the simulator. Like are those of one template and user: of
these an exponentially weighted mean is kept, in core-seconds, and its spread as the mean square of
the logarithm of real over expected, since runs differ by factors:

    m := m + α·(x − m)            α = 0.3, so the last five runs weigh five sixths
    s² := s² + α·((ln x/m)² − s²)    before the first run s = ln 2

    expected m, from m/eˢ to m·eˢ

What has never run is taken to be the median of what the user's templates are expected to be, else
of everybody's, else the stated default; the range is then from the least to the most of these
(the middle four fifths where there are ten or more), for the default a quarter to four times. The
median, since a few giants mustn't make every new thing look like one; what is wrong is charged
back (`fair_queueing`).

State is plain data with at most `MOST` entries; who wasn't seen for longest is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import exp, isfinite, log, sqrt
from statistics import median
from typing import Any, Final

MOST: Final = 5_000
"""Templates × users that are kept: under 1 MB as JSON."""

_LATEST = 0.3
_UNKNOWN_SPREAD = log(2)
_DEFAULT_FACTOR = 4.0
_LEAST = 1e-3
"""Core-s that any run is taken to be at least, so that it has a logarithm."""


class Basis(Enum):
    """What an estimate is of."""

    TEMPLATE = "Template"
    USER = "User"
    CLUSTER = "Cluster"
    DEFAULT = "Default"


@dataclass(frozen=True, slots=True)
class Estimate:
    """Expected core-s, and a range. Attributes: runs: that it is of; 0 where none was alike."""

    work: float
    low: float
    high: float
    basis: Basis
    runs: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """Of one template and user. Attributes: mean: core-s; square: of the logarithm's error."""

    mean: float
    square: float
    runs: int


@dataclass(frozen=True)
class Estimates:
    """All that is known. Attributes: known: by user and template, the latest seen last."""

    known: Mapping[tuple[str, str], Known] = field(default_factory=dict)

    def learned(self, user: str, template: str, core_s: float) -> Estimates:
        """Return it with a run that ended. Raises ValueError for work that isn't a number."""
        if not (isfinite(core_s) and core_s >= 0):
            raise ValueError(f"core_s is {core_s}; it has to be a number of at least 0")
        real = max(core_s, _LEAST)
        old = self.known.get((user, template))
        if old is None:
            new = Known(real, _UNKNOWN_SPREAD**2, 1)
        else:
            error = log(real / old.mean) ** 2
            new = Known(
                old.mean + _LATEST * (real - old.mean),
                old.square + _LATEST * (error - old.square),
                old.runs + 1,
            )
        kept = {key: each for key, each in self.known.items() if key != (user, template)}
        kept[user, template] = new
        while len(kept) > MOST:
            del kept[next(iter(kept))]
        return Estimates(kept)

    def estimate(self, user: str, template: str, default: float) -> Estimate:
        """Return what such an application is expected to be."""
        found = self.known.get((user, template))
        if found is not None:
            factor = exp(sqrt(found.square))
            return Estimate(
                found.mean, found.mean / factor, found.mean * factor, Basis.TEMPLATE, found.runs
            )
        own = [known.mean for (whose, _), known in self.known.items() if whose == user]
        if own:
            return _of_others(own, Basis.USER)
        if self.known:
            return _of_others([known.mean for known in self.known.values()], Basis.CLUSTER)
        low, high = default / _DEFAULT_FACTOR, default * _DEFAULT_FACTOR
        return Estimate(default, low, high, Basis.DEFAULT)

    def as_data(self) -> list[list[Any]]:
        """Return it as plain data, for `from_data`."""
        return [
            [user, template, round(each.mean, 3), round(each.square, 4), each.runs]
            for (user, template), each in self.known.items()
        ]

    @classmethod
    def from_data(cls, data: Iterable[Iterable[Any]]) -> Estimates:
        """Return what gave this data; entries that can't be are left out, so none does harm."""
        known = {}
        for entry in data:
            try:
                user, template, mean, square, runs = entry
                found = Known(float(mean), float(square), int(runs))
            except (TypeError, ValueError):
                continue
            if 0 < found.mean < float("inf") and 0 <= found.square < float("inf"):
                known[str(user), str(template)] = found
        return cls(known)


def _of_others(means: list[float], basis: Basis) -> Estimate:
    means.sort()
    cut = len(means) // 10
    return Estimate(median(means), means[cut], means[-1 - cut], basis)
