"""How much a request may generate yet, from what the last requests generated.

Called by policies that look ahead. With H the outputs of recent requests and g what a request has
generated, its whole output is like those of H that are longer than g:

    mean    E[l | l ∈ H, l > g] − g
    drawn   one of them less g: the quantile is the request's own, one for each draw, so that the
            same question has one answer and asking again isn't a new chance

Where none is longer, it is assumed to double, `UNKNOWN` at least while little is known; never more
than its limit allows.
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate

from fairstow.serving.model import RequestView

UNKNOWN = 256
"""Tokens left where nothing is known."""

ENOUGH = 20
"""Outputs that tell something."""


class Outputs:
    """Recent outputs, sorted once for many questions."""

    def __init__(self, outputs: Sequence[int]) -> None:
        self._sorted = sorted(outputs)
        self._sums = [0, *accumulate(self._sorted)]

    def mean_left(self, request: RequestView) -> float:
        """Return the mean of what is left."""
        if request.left is not None:
            return request.left
        longer, first = self._longer(request)
        if not longer:
            return _unknown(request)
        mean = (self._sums[-1] - self._sums[first]) / longer
        return min(mean - request.generated, _allowed(request))

    def drawn_left(self, request: RequestView, draw: int) -> float:
        """Return what is left by one of 16 independent draws."""
        longer, first = self._longer(request)
        if not longer:
            return _unknown(request)
        number = int.from_bytes(_bits(request.id)[4 * draw : 4 * draw + 4])
        at = first + (number * longer >> 32)
        return min(self._sorted[at] - request.generated, _allowed(request))

    def _longer(self, request: RequestView) -> tuple[int, int]:
        """Return how many outputs are longer, and where they begin; none if too few are known."""
        if len(self._sorted) < ENOUGH:
            return 0, 0
        first = bisect_right(self._sorted, request.generated)
        return len(self._sorted) - first, first


@lru_cache(32_768)  # more than run at once: one fewer, and a look at all finds none
def _bits(request: str) -> bytes:
    """Return 16 numbers of 32 bits that are random, but the request's own."""
    return blake2b(request.encode()).digest()


def _allowed(request: RequestView) -> float:
    return max(1, request.limit - request.generated)


def _unknown(request: RequestView) -> float:
    return min(max(request.generated, UNKNOWN), _allowed(request))
