"""Which content words of two questions say the same, and what is left over on either side.

One to one, the surest kinship first: the same word in any form, a typing error, an initialism,
derived words (cancel, cancellation), everyday synonyms, WordNet's synonyms. Who is left over
decides: with nobody left the questions differ in form only. The same words are found in O(n + m),
the others pair by pair, so that too many of them (`MOST_APART`) are no alignment. Called by
`judge`; `rules` and `verifier` read it.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from fairstow.semantic_cache.guard.language import Language
from fairstow.semantic_cache.guard.lexicon import Kinship, Lexicon
from fairstow.semantic_cache.guard.reading import Reading, Word

MOST_APART, MOST_LEFT = 16, 64
"""Words that are others on both sides, or on one: beyond, no two questions want one answer."""
_SHORTEST_TYPO = 4
_TWO_ERRORS = 8
"""Letters from which two typing errors are believed."""


class Match(msgspec.Struct, frozen=True):
    """Two words that say the same; `kinship` is None for the same word."""

    a: Word
    b: Word
    kinship: Kinship | None = None


class Alignment(msgspec.Struct, frozen=True):
    """The matches, in order of the first text, and the words that have none."""

    matches: tuple[Match, ...]
    left_a: tuple[Word, ...]
    left_b: tuple[Word, ...]


def align(a: Reading, b: Reading, language: Language) -> Alignment | None:
    """Match the words of two readings; None where too many are others, which is a no by itself."""
    lexicon = language.lexicon
    left_a, left_b = list(a.words), list(b.words)
    matches: list[Match] = []
    _take_same(left_a, left_b, matches)
    if min(len(left_a), len(left_b)) > MOST_APART or max(len(left_a), len(left_b)) > MOST_LEFT:
        return None
    _take(left_a, left_b, matches, lambda x, y: _typo(x, y, lexicon), None)
    _initials(left_a, left_b)
    _initials(left_b, left_a)
    for kinship in Kinship:
        _take(left_a, left_b, matches, _related(language, kinship), kinship)
    matches.sort(key=lambda match: match.a.at)
    said_a = frozenset(base for word in a.words for base in word.bases)
    said_b = frozenset(base for word in b.words for base in word.bases)
    return Alignment(  # a word said twice on one side is left over on none
        tuple(matches),
        tuple(word for word in left_a if word.name or not word.bases & said_b),
        tuple(word for word in left_b if word.name or not word.bases & said_a),
    )


def _take_same(left_a: list[Word], left_b: list[Word], matches: list[Match]) -> None:
    """As `_take` for words with a base in common, without looking at every pair."""
    places: dict[str, list[int]] = {}
    for at in range(len(left_b) - 1, -1, -1):
        for base in left_b[at].bases:
            places.setdefault(base, []).append(at)
    taken_a, taken_b = set(), set()
    for at, x in enumerate(left_a):
        first = len(left_b)
        for base in x.bases:
            there = places.get(base, [])
            while there and there[-1] in taken_b:
                there.pop()
            if there:
                first = min(first, there[-1])
        if first < len(left_b):
            matches.append(Match(x, left_b[first]))
            taken_a.add(at)
            taken_b.add(first)
    left_a[:] = [word for at, word in enumerate(left_a) if at not in taken_a]
    left_b[:] = [word for at, word in enumerate(left_b) if at not in taken_b]


def _take(
    left_a: list[Word],
    left_b: list[Word],
    matches: list[Match],
    accept: Callable[[Word, Word], bool],
    kinship: Kinship | None,
) -> None:
    for x in tuple(left_a):
        for y in left_b:
            if accept(x, y):
                matches.append(Match(x, y, kinship))
                left_a.remove(x)
                left_b.remove(y)
                break


def _related(language: Language, kinship: Kinship) -> Callable[[Word, Word], bool]:
    def accept(x: Word, y: Word) -> bool:
        if (x.name and y.name) or language.lexicon.kinship(x.bases, y.bases) is not kinship:
            return False
        if (x.name or y.name) and kinship is not Kinship.STRONG:
            return False  # a capital alone makes no name of an everyday word
        here, there = language.places(x.bases), language.places(y.bases)
        axes = {axis for axis, _ in here} & {axis for axis, _ in there}
        return all(place in there for place in here if place[0] in axes)

    return accept


def _typo(x: Word, y: Word, lexicon: Lexicon) -> bool:
    """Whether exactly one of them is no word, and a slip of the finger makes it the other."""
    one, other = sorted((x.text, y.text), key=len)
    if (
        len(one) < _SHORTEST_TYPO
        or x.text[0] != y.text[0]
        or x.name
        or y.name
        or not (one + other).isalpha()
    ):
        return False
    if lexicon.common(x.text) == lexicon.common(y.text):
        return False
    if lexicon.opposite(x.bases, y.bases):
        return False
    return _slips(one, other) <= (2 if len(other) >= _TWO_ERRORS else 1)


def _slips(one: str, other: str) -> int:
    """Return the letters left out, put in, changed or exchanged with the next (Damerau 1964)."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, x in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, y in enumerate(other, 1):
            least = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == other[j - 2] and one[i - 2] == y:
                least = min(least, last[j - 2] + 1)
            row.append(least)
    return row[-1]


def _initials(short: list[Word], long: list[Word]) -> None:
    """Drop a word that is the first letters of some in a row, with them."""
    for word in tuple(short):
        size = len(word.text)
        if not 2 <= size <= 6 or not word.text.isalpha():
            continue
        for start in range(len(long) - size + 1):
            row = long[start : start + size]
            if "".join(each.text[0] for each in row) == word.text:
                short.remove(word)
                del long[start : start + size]
                break
