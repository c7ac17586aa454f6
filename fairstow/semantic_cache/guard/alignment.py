"""Which content words of two questions say the same, and what is left over on either side.

One to one, the surest kinship first: the same word in any form, a typing error, an initialism,
derived words (cancel, cancellation), everyday synonyms, WordNet's synonyms. Who is left over
decides: with nobody left the questions differ in form only. Called by `judge`; `rules` and
`verifier` read it.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from fairstow.semantic_cache.guard.language import Language
from fairstow.semantic_cache.guard.lexicon import Kinship, Lexicon
from fairstow.semantic_cache.guard.reading import Reading, Word

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


def align(a: Reading, b: Reading, language: Language) -> Alignment:
    """Match the words of two readings."""
    lexicon = language.lexicon
    left_a, left_b = list(a.words), list(b.words)
    matches: list[Match] = []
    _take(left_a, left_b, matches, lambda x, y: bool(x.bases & y.bases), None)
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
    if len(one) < _SHORTEST_TYPO or x.name or y.name or not (one + other).isalpha():
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
