"""Words: their base forms, and which mean the same, the opposite, or come of one another.

Two sources, kept apart because they deserve different trust: a language's own list of everyday
synonyms (`language`, STRONG) and WordNet's first senses (WEAK: "charge" and "bill" are synonyms in
one sense, "scratch" and "cancel" too). Base forms by WordNet's own rule: detach an inflection,
keep what is a word. Called by `language`; read-only once made.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from enum import IntEnum
from functools import lru_cache

import msgspec


class Kinship(IntEnum):
    """How two different words are related, the nearest first."""

    DERIVED = 1
    STRONG = 2
    WEAK = 3


class Source(msgspec.Struct, frozen=True):
    """A lexicon's file: words apart by spaces, groups of them in lists."""

    source: str
    common: str
    proper: str
    synonyms: list[str]
    antonyms: list[str]
    derived: list[str]
    irregular: dict[str, str]


_ENDINGS = (
    ("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh"), ("zes", "z"),
    ("men", "man"), ("es", "e"), ("s", ""), ("ied", "y"), ("ed", "e"), ("ed", ""), ("ing", "e"),
    ("ing", ""), ("ier", "y"), ("er", "e"), ("er", ""), ("iest", "y"), ("est", "e"), ("est", ""),
    ("ily", "y"), ("ly", ""), ("able", ""), ("able", "e"),
)  # fmt: skip
_SHORTEST_STEM = 4
_LONGER = ("ly", "able")
_GRADES = ("er", "est", "ier", "iest")
_PLURAL = re.compile(r"[^\W\d_]{3,}[^\W\d_s]s")
_KEPT = 50_000


class Lexicon:
    """A language's words."""

    def __init__(
        self,
        source: Source,
        synonyms: Iterable[Iterable[str]],
        prefixes: Iterable[str],
        spellings: Iterable[tuple[str, str]],
        apart: frozenset[str],
    ) -> None:
        self._common = frozenset(source.common.split())
        self._proper = frozenset(source.proper.split())
        self._irregular = source.irregular
        self._strong = _groups(synonyms)
        self._weak = _groups(line.split() for line in source.synonyms)
        self._derived = _pairs(line.split() for line in source.derived)
        self._opposite = _pairs(line.split() for line in source.antonyms)
        self._prefixes = tuple(prefixes)
        self._spellings = tuple(spellings)
        self._apart = apart
        self.bases = lru_cache(_KEPT)(self._bases)

    def common(self, word: str) -> bool:
        """Whether it is an ordinary word, in any form."""
        return any(base in self._common for base in self.bases(word))

    def known(self, word: str) -> bool:
        """Whether it is a word or a name."""
        return word in self._proper or self.common(word)

    def proper(self, word: str) -> bool:
        """Whether it is only ever a name."""
        return word in self._proper and not self.common(word)

    def past(self, word: str) -> bool:
        """Whether it looks like a verb's past: ended, won."""
        return word.endswith("ed") or (word in self._irregular and not word.endswith(("s", "ing")))

    def _bases(self, word: str) -> frozenset[str]:
        found = {word}
        if (irregular := self._irregular.get(word)) is not None:
            found.add(irregular)
        for ending, instead in _ENDINGS if word not in self._apart else ():
            if not word.endswith(ending) or len(word) <= len(ending) + 1:
                continue
            stem = word[: -len(ending)]
            if ending in _LONGER and len(stem) < _SHORTEST_STEM:
                continue  # only, apply
            if ending in _GRADES and stem + instead not in self._opposite and len(stem) > 4:
                continue  # a baker is not more bake
            for base in (stem + instead, stem[:-1] if _doubled(stem) and not instead else ""):
                if base in self._common or base in self._proper:
                    found.add(base)
        unknown = not (word in self._common or word in self._proper or word in self._apart)
        if unknown and found == {word} and _PLURAL.fullmatch(word):
            found.add(word[:-1])  # of a word that no list has
        for here, there in self._spellings:
            for base in tuple(found):
                if here in base and (other := base.replace(here, there)) in self._common:
                    found.add(other)
        return frozenset(found)

    def kinship(self, one: frozenset[str], other: frozenset[str]) -> Kinship | None:
        """How words of these base forms are related, None if they aren't."""
        if any(self._derived.get(base, frozenset()) & other for base in one):
            return Kinship.DERIVED
        if any(self._strong.get(base, frozenset()) & other for base in one):
            return Kinship.STRONG
        if any(self._weak.get(base, frozenset()) & other for base in one):
            return Kinship.WEAK
        return None

    def opposite(self, one: frozenset[str], other: frozenset[str]) -> bool:
        """Whether they are antonyms, or one is the other behind a negative prefix."""
        if any(self._opposite.get(base, frozenset()) & other for base in one):
            return True
        return any(
            prefix + base in rest
            for here, rest in ((one, other), (other, one))
            for base in here
            if len(base) > 2
            for prefix in self._prefixes
        )


def _doubled(stem: str) -> bool:
    return len(stem) > 2 and stem[-1] == stem[-2]


def _groups(groups: Iterable[Iterable[str]]) -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for group in groups:
        members = set(group)
        for word in members:
            found[word] |= members - {word}
    return {word: frozenset(others) for word, others in found.items()}


def _pairs(pairs: Iterable[Iterable[str]]) -> Mapping[str, frozenset[str]]:
    return _groups(pairs)
