"""What a threshold would have done on an owner's own pairs, and which one to begin with.

Pairs are questions with a label: does the answer of one serve the other? For every threshold τ on a
grid a pair is *served* where cosine ≥ τ and guard and verifier agree (`equivalence`).

    served = share of the pairs with the same answer that are served (hits that were due)
    wrong  = share of the other pairs, the traps, that are served
    wrong per hit = wrong pairs of all that are served: depends on how many traps there are

The operating point is the τ that serves most with `wrong` at most the stated rate, the highest of
equals. What it shows is what these pairs did. The *assured* point serves most where the exact upper
bound of `wrong` keeps the rate: 2 % at 95 % needs 149 traps without a wrong one. That 51 were to
choose from costs no confidence: a higher τ serves a part of what a lower one does, so bounds only
fall with τ, and a τ whose true rate is over the stated one can be assured only if the highest such
is, which one exact bound allows with probability 1 − confidence (fixed-sequence testing:
Angelopoulos et al., arXiv 2110.01052). It holds for traps drawn independently from those to come:
many pairs about one question are fewer than they are counted.
Called by `fairstow cache calibrate` and the benchmarks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

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
    wrong_per_hit_upper: float | None
    hits: int
    wrong_hits: int


class Calibration(msgspec.Struct, frozen=True, rename="camel"):
    """The answer.

    Attributes:
        operating_point: None where no threshold keeps the rate.
        assured: whether its upper bound does.
        assured_point: None where no threshold's upper bound keeps the rate.
    """

    pairs: int
    same_answer: int
    traps: int
    target_wrong: float
    confidence: float
    assured: bool
    operating_point: Point | None
    assured_point: Point | None
    by_category: dict[str, Point]
    curve: list[Point]


class Counted:
    """Pairs in the order of their similarity, so that a threshold is looked up."""

    def __init__(self, pairs: Iterable[Scored]) -> None:
        found: dict[bool, list[float]] = {True: [], False: []}
        self._of = {True: 0, False: 0}
        for pair in pairs:
            self._of[pair.same_answer] += 1
            if pair.passes and pair.similarity is not None:
                found[pair.same_answer].append(pair.similarity * 1_000)
        self._found = {same: sorted(each) for same, each in found.items()}

    def served(self, threshold: int, *, same: bool) -> int:
        """Return how many pairs of a kind are served."""
        return len(self._found[same]) - bisect_left(self._found[same], threshold)

    def point(self, threshold: int, confidence: float) -> Point:
        """Return what a threshold does."""
        same, traps = self._of[True], self._of[False]
        right, wrong = self.served(threshold, same=True), self.served(threshold, same=False)
        hits = right + wrong
        return Point(
            threshold_permille=threshold,
            served=right / same if same else None,
            wrong=wrong / traps if traps else None,
            wrong_upper=upper(wrong, traps, confidence) if traps else None,
            wrong_per_hit=wrong / hits if hits else None,
            wrong_per_hit_upper=upper(wrong, hits, confidence) if hits else None,
            hits=hits,
            wrong_hits=wrong,
        )


def calibrate(pairs: Sequence[Scored], *, wrong: float, confidence: float) -> Calibration:
    """Return what thresholds do, and the one for at most this share of traps."""
    counted = Counted(pairs)
    curve = [counted.point(threshold, confidence) for threshold in GRID]
    best = _most_served(at for at in curve if (at.wrong or 0.0) <= wrong)
    assured = _most_served(
        at for at in curve if at.wrong_upper is not None and at.wrong_upper <= wrong
    )
    by_category: dict[str, list[Scored]] = {}
    for pair in pairs:
        by_category.setdefault(pair.category, []).append(pair)
    same = sum(pair.same_answer for pair in pairs)
    return Calibration(
        pairs=len(pairs),
        same_answer=same,
        traps=len(pairs) - same,
        target_wrong=wrong,
        confidence=confidence,
        assured=best is not None and best == assured,
        operating_point=best,
        assured_point=assured,
        by_category={}
        if best is None
        else {
            name: Counted(by_category[name]).point(best.threshold_permille, confidence)
            for name in sorted(by_category)
        },
        curve=curve,
    )


def _most_served(points: Iterable[Point]) -> Point | None:
    return max(points, key=lambda at: (at.served or 0.0, at.threshold_permille), default=None)
