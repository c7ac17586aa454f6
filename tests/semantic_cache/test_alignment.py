"""Words matched without looking at every pair.

Covered: the same words are matched as by looking at every pair; how many pairs are looked at where
two long questions have little in common, which is a no. Not covered: which words are kin
(test_guard).
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairstow.semantic_cache.equivalence import compare
from fairstow.semantic_cache.guard import alignment
from fairstow.semantic_cache.guard.alignment import MOST_APART, MOST_LEFT, Match
from fairstow.semantic_cache.guard.reading import Word

WORDS = st.lists(
    st.frozensets(st.sampled_from("abcdef"), min_size=1, max_size=3), max_size=12
).map(lambda bases: [Word("x", at, each, False, "") for at, each in enumerate(bases)])  # fmt: skip


@given(WORDS, WORDS)
def test_the_same_words_are_matched_as_by_every_pair(a: list[Word], b: list[Word]) -> None:
    slow_a, slow_b, slow = a[:], b[:], list[Match]()
    alignment._take(slow_a, slow_b, slow, lambda x, y: bool(x.bases & y.bases), None)
    quick_a, quick_b, quick = a[:], b[:], list[Match]()
    alignment._take_same(quick_a, quick_b, quick)
    assert (quick_a, quick_b, quick) == (slow_a, slow_b, slow)


def question(words: int, start: int, shared: int = 0) -> str:
    """So many made-up words, told apart by letters, in a text that is English."""
    letters = "bcdfghklmnprstvwz"
    parts = []
    for each in [*range(shared), *range(1_000 + start, 1_000 + start + words)]:
        one, two, three = each % 17, each // 17 % 17, each // 289
        parts.append(f"the {letters[one]}a{letters[two]}o{letters[three]}u is")
    return " ".join(parts)


@pytest.mark.parametrize(("words", "compared"), [(10, True), (100, False)])
def test_pairs_that_are_looked_at_are_bounded(
    words: int, compared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, real = [], alignment._typo

    def counted(x: Word, y: Word, lexicon: object) -> bool:
        looked.append(1)
        return real(x, y, lexicon)  # type: ignore[arg-type]

    monkeypatch.setattr(alignment, "_typo", counted)
    found = compare(question(words, 0, 5), question(words, 200, 5), 0.99, all_objections=True)
    assert not found.same
    assert bool(looked) is compared
    assert len(looked) <= MOST_APART * MOST_LEFT
    assert ("words" in {each.rule for each in found.objections}) is not compared
