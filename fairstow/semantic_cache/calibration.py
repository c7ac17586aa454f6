"""What a threshold would have done on an owner's own pairs, and which one to begin with.

Pairs are questions with a label: does the answer of one serve the other? For every threshold τ on a
grid a pair is *served* where cosine ≥ τ and guard and verifier agree (`equivalence`).

    served = share of the pairs with the same answer that are served (hits that were due)
    wrong  = share of the other pairs, the traps, that are served
    wrong per hit = wrong pairs of all that are served: depends on how many traps there are

The operating point is the τ that serves most with `wrong` at most the stated rate, the highest of
equals. It is *assured* where the exact upper bound at the stated confidence keeps the rate too:
2 % at 95 % needs 149 traps. Choosing among 51 thresholds by the same pairs flatters the result a
little; the bound doesn't count that. Called by `fairstow cache calibrate` and the benchmarks.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fairstow.semantic_cache.bounds import upper

GRID = range(500, 1_001, 10)
"""Thresholds in permille."""


class Scored(msgspec.Struct, frozen=True):
    """A pair as it was found.

    Attributes:
        similarity: of the vectors, None where a text has none.
        passes: whether guard and verifier agree.
    """

    category: str
    same_answer: bool
    similarity: float | None
    passes: bool


class Point(msgspec.Struct, frozen=True, rename="camel"):
    """What a threshold does; shares are None where there is no pair to take one of."""

    threshold_permille: int
    served: float | None
    wrong: float | None
    wrong_upper: float | None
    wrong_per_hit: float | None
    hits: int
    wrong_hits: int


class Calibration(msgspec.Struct, frozen=True, rename="camel"):
    """The answer.

    Attributes:
        operating_point: None where no threshold keeps the rate.
        assured: whether its upper bound does.
    """

    pairs: int
    same_answer: int
    traps: int
    target_wrong: float
    confidence: float
    assured: bool
    operating_point: Point | None
    by_category: dict[str, Point]
    curve: list[Point]


def calibrate(pairs: Sequence[Scored], *, wrong: float, confidence: float) -> Calibration:
    """Return what thresholds do, and the one for at most this share of traps."""
    curve = [point(pairs, threshold, confidence) for threshold in GRID]
    kept = [at for at in curve if (at.wrong or 0.0) <= wrong]
    best = max(kept, key=lambda at: (at.served or 0.0, at.threshold_permille), default=None)
    categories = sorted({pair.category for pair in pairs})
    same = sum(pair.same_answer for pair in pairs)
    return Calibration(
        pairs=len(pairs),
        same_answer=same,
        traps=len(pairs) - same,
        target_wrong=wrong,
        confidence=confidence,
        assured=best is not None and best.wrong_upper is not None and best.wrong_upper <= wrong,
        operating_point=best,
        by_category={}
        if best is None
        else {
            name: point(
                [pair for pair in pairs if pair.category == name],
                best.threshold_permille,
                confidence,
            )
            for name in categories
        },
        curve=curve,
    )


def point(pairs: Sequence[Scored], threshold: int, confidence: float) -> Point:
    """Return what one threshold does."""
    served = [
        pair
        for pair in pairs
        if pair.passes and pair.similarity is not None and pair.similarity * 1_000 >= threshold
    ]
    same = sum(pair.same_answer for pair in pairs)
    traps = len(pairs) - same
    right = sum(pair.same_answer for pair in served)
    wrong = len(served) - right
    return Point(
        threshold_permille=threshold,
        served=right / same if same else None,
        wrong=wrong / traps if traps else None,
        wrong_upper=upper(wrong, traps, confidence) if traps else None,
        wrong_per_hit=wrong / len(served) if served else None,
        hits=len(served),
        wrong_hits=wrong,
    )
