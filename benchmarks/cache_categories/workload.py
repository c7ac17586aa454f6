"""Mixed traffic after published figures: how dense a category is, how it repeats and goes stale.

From arXiv 2510.26835: hit rates that are there to be had (code 55 %, documentation 45 %, legal
10 %, medical 6 %), thresholds (code 0.88–0.90, conversation 0.75–0.78), traps (of near code
questions with another answer 15 % reach 0.80 and 3 % reach 0.90, so that they are normal with mean
0.68 and deviation 0.12), answers that change (prices within minutes, code within days). Where it
says nothing (how often conversation and finance repeat, the spread of repeated ones) the figure is
ours. Vectors are not made: a request is its similarity to the nearest question before it, and that
one's age. Called by `__main__`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A category of traffic.

    Attributes:
        share: of the requests. repeats: those whose answer was given before.
        near, trap: mean and deviation of the similarity to a question with the same answer, and to
            the nearest one with another.
        changes: seconds after which half of the answers are no longer true.
        upstream: seconds that the model takes.
    """

    name: str
    share: float
    repeats: float
    near: tuple[float, float]
    trap: tuple[float, float]
    changes: float
    upstream: float


DAY = 86_400.0
_TRAP = (0.68, 0.12)
KINDS = (
    Kind("code", 0.25, 0.55, (0.94, 0.03), _TRAP, 7 * DAY, 0.5),
    Kind("documentation", 0.20, 0.45, (0.92, 0.04), _TRAP, 3 * DAY, 0.2),
    Kind("conversation", 0.30, 0.20, (0.83, 0.05), (0.55, 0.08), 30 * DAY, 0.2),  # repeats: ours
    Kind("finance", 0.10, 0.30, (0.92, 0.04), _TRAP, 300.0, 0.2),  # repeats: ours
    Kind("legal", 0.08, 0.10, (0.92, 0.04), _TRAP, 30 * DAY, 0.5),
    Kind("medical", 0.07, 0.06, (0.92, 0.04), _TRAP, 30 * DAY, 0.5),
)


@dataclass(frozen=True)
class Request:
    """A request; the ages are of the nearest entries with its answer, and with another."""

    kind: Kind
    near: float
    trap: float
    age: float
    stale: bool


def requests(count: int, seed: int) -> list[Request]:
    """Return requests in the order of their arrival."""
    made = random.Random(seed)
    shares = [kind.share for kind in KINDS]
    found = []
    for _ in range(count):
        (kind,) = made.choices(KINDS, shares)
        repeated = made.random() < kind.repeats
        age = made.expovariate(1 / 3_600)
        found.append(
            Request(
                kind,
                _similarity(made, kind.near) if repeated else -1.0,
                _similarity(made, kind.trap),
                age,
                made.random() > 0.5 ** (age / kind.changes),
            )
        )
    return found


def _similarity(made: random.Random, how: tuple[float, float]) -> float:
    return min(1.0, made.gauss(*how))
