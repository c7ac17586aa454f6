"""Whether two questions want the same answer: the guard's objections, then the verifier's doubt.

The one place that joins them, so that the sidecar, `cache explain` and `cache calibrate` can't
disagree. Similarity comes in as a number: this module knows no embedding. Called by `decision` and
`calibration`.
"""

from __future__ import annotations

import msgspec

from fairstow.semantic_cache.guard import judge
from fairstow.semantic_cache.guard.rules import Objection
from fairstow.semantic_cache.verifier import probability, trained


class Equivalence(msgspec.Struct, frozen=True):
    """What is said of a pair.

    Attributes:
        same: whether the answer of one may be served for the other.
        probability: the verifier's, 0 where the guard objects.
        objections: the guard's, empty where it has none.
    """

    same: bool
    probability: float
    objections: tuple[Objection, ...] = ()


def compare(
    a: str,
    b: str,
    similarity: float,
    *,
    all_objections: bool = False,
    namespace: str | None = None,
) -> Equivalence:
    """Compare two questions of a namespace whose vectors have this cosine similarity."""
    judgement = judge(a, b, all_objections=all_objections, namespace=namespace)
    if judgement.objections:
        return Equivalence(False, 0.0, judgement.objections)
    found = probability(judgement, similarity)
    return Equivalence(found >= trained().accept, found)
