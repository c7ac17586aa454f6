"""What a gateway takes an engine to have cached.

Covered: common beginnings count by whole blocks and for one tenant, what is over the bound is
forgotten from the end of the longest unused on. Not covered: what engines really keep.
"""

from __future__ import annotations

from array import array

from fairstow.serving.model import RequestView
from fairstow.serving.prefixes import BLOCK, Prefixes, keys


def asked(tokens: array[int], salt: str = "s") -> RequestView:
    return RequestView("r", len(tokens), 10, 0.0, keys=keys(tokens, salt))


def test_a_common_beginning_counts_by_blocks() -> None:
    known = Prefixes(100 * BLOCK)
    first = array("I", range(5 * BLOCK + 3))
    known.add(keys(first, "s"))
    assert known.cached(asked(first)) == 5 * BLOCK
    other = first[: 2 * BLOCK + 7] + array("I", [9] * 90)
    assert known.cached(asked(other)) == 2 * BLOCK
    assert known.cached(asked(first, salt="another tenant's")) == 0
    assert known.cached(asked(first[: BLOCK - 1])) == 0


def test_the_longest_unused_is_forgotten_its_end_first() -> None:
    known = Prefixes(4 * BLOCK)
    old, new = array("I", [1] * 3 * BLOCK), array("I", [2] * 2 * BLOCK)
    known.add(keys(old, "s"))
    known.add(keys(new, "s"))
    assert known.cached(asked(new)) == 2 * BLOCK
    assert known.cached(asked(old)) == 2 * BLOCK
