"""A language's rules as data: how `languages/NAME.yaml` is read, and which language a text is in.

The file says what is true of the language: contractions, ways to begin a question, fillers,
synonyms, axes (sets of words that exclude one another), negators, words of scope, prepositions,
numbers and units. A text is taken to be in a language where enough of its words are its stop
words, or nearly all are known; else it is in none, and the guard is stricter. Called by `reading`.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files

import msgspec
import yaml

from fairstow.semantic_cache.guard.lexicon import Lexicon, Source

_MARKS_SHARE = 0.2
_KNOWN_SHARE = 0.8


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`languages/NAME.yaml`; patterns are regular expressions over lower-case text."""

    contractions: dict[str, str]
    apostrophe_is: list[str]
    fillers: list[str]
    filler_phrases: list[str]
    rewrites: list[tuple[str, str]]
    phrases: dict[str, str]
    synonyms: list[list[str]]
    axes: list[list[str | list[str]]]
    strict_axes: list[str]
    numeric_axes: list[str]
    negators: list[str]
    implicit_negators: list[str]
    negation_idioms: list[str]
    negative_prefixes: list[str]
    scope: list[str]
    soft_scope: list[str]
    pivots: list[str]
    infinitives: list[str]
    infinitive_after: list[str]
    opposed: list[tuple[str, str]]
    opposed_amounts: list[tuple[str, str]]
    stopwords: list[str]
    askers: dict[str, str]
    persons: dict[str, str]
    subjects: dict[str, str]
    objects: dict[str, str]
    past: list[str]
    present: list[str]
    modals: list[str]
    passive: list[str]
    active: list[str]
    having: list[str]
    clauses: list[str]
    ergative: list[str]
    possessives: list[str]
    light: list[str]
    generic: list[str]
    idle: list[str]
    joints: list[str]
    symmetric: list[str]
    apart: list[str]
    spellings: list[tuple[str, str]]
    number_words: dict[str, float]
    scales: dict[str, int]
    units: dict[str, tuple[str, float]]
    symbols: dict[str, str]


class Language:
    """What `reading` and `rules` look up, made once."""

    def __init__(self, name: str, file: File, source: Source) -> None:
        self.name = name
        self.file = file
        self.fillers = frozenset(file.fillers)
        self.stopwords = frozenset(file.stopwords)
        self.negators = frozenset(file.negators)
        self.implicit_negators = frozenset(file.implicit_negators)
        self.scope = frozenset(map(_glued, file.scope))
        self.soft_scope = frozenset(file.soft_scope)
        self.pivots = frozenset(file.pivots)
        self.light = frozenset(file.light)
        self.generic = frozenset(file.generic)
        self.idle = frozenset(file.idle)
        self.past = frozenset(file.past)
        self.present = frozenset(file.present)
        self.modals = frozenset(file.modals)
        self.passive, self.active = frozenset(file.passive), frozenset(file.active)
        self.having, self.clauses = frozenset(file.having), frozenset(file.clauses)
        self.ergative, self.possessives = frozenset(file.ergative), frozenset(file.possessives)
        self.joints = frozenset(file.joints)
        self.symmetric = frozenset(file.symmetric)
        self.asking = frozenset(file.askers)
        self.strict_axes = frozenset(file.strict_axes)
        self.numeric_axes = frozenset(file.numeric_axes)
        self.infinitives = frozenset(file.infinitives)
        self.infinitive_after = frozenset(file.infinitive_after)
        self.opposed = frozenset(file.opposed) | {(b, a) for a, b in file.opposed}
        self.opposed_amounts = self.opposed | frozenset(
            pair for a, b in file.opposed_amounts for pair in ((a, b), (b, a))
        )
        self.poles = _poles(file.axes)
        self.lexicon = Lexicon(
            source, file.synonyms, file.negative_prefixes, file.spellings, frozenset(file.apart)
        )
        self.rewrites = [
            (re.compile(rf"(?:\b|^)(?:{old})(?!\w)"), new) for old, new in file.rewrites
        ]
        self.filler_phrases = re.compile(
            rf"(?<!\w)(?:{'|'.join(file.filler_phrases)})(?!\w)[ ]*[,:;.!]?"
        )
        self.contractions = re.compile("|".join(map(re.escape, file.contractions)))
        self.apostrophe_is = re.compile(rf"\b({'|'.join(file.apostrophe_is)})['’]?s\b(?!\w)")
        self.one_for = file.phrases | {
            word.replace("-", " "): _glued(word) for word in _hyphenated(file)
        }
        longest_first = sorted(map(re.escape, self.one_for), key=len, reverse=True)
        self.phrases = re.compile(rf"\b({'|'.join(longest_first)})\b")
        self.idioms = re.compile("|".join(map(re.escape, file.negation_idioms)))

    def places(self, bases: frozenset[str]) -> frozenset[tuple[str, int]]:
        """Return the axes and poles a word lies at."""
        return frozenset(place for base in bases for place in self.poles.get(base, ()))

    def covers(self, words: list[str]) -> bool:
        """Whether a text of these words is in this language."""
        words = [word for word in words if not word.isdecimal()]
        marks = sum(word in self.stopwords for word in words)
        if marks >= _MARKS_SHARE * len(words):
            return True
        known = sum(word in self.stopwords or self.lexicon.known(word) for word in words)
        return known >= _KNOWN_SHARE * len(words) > 0


def _glued(word: str) -> str:
    """Return "full-time" as the one token that reading makes of it."""
    return word.replace("-", "")


def _hyphenated(file: File) -> Iterable[str]:
    poles = (pole for _, *rest in file.axes for pole in rest)
    return (word for words in (*poles, file.scope) for word in words if "-" in word)


def _poles(axes: list[list[str | list[str]]]) -> Mapping[str, tuple[tuple[str, int], ...]]:
    """Return for each word on which axes it lies, and at which pole."""
    found: dict[str, list[tuple[str, int]]] = {}
    for axis, *poles in axes:
        for pole, words in enumerate(poles):
            for word in words:
                found.setdefault(_glued(word), []).append((str(axis), pole))
    return {word: tuple(places) for word, places in found.items()}


@cache
def english() -> Language:
    """The language that has rules so far."""
    folder = files("fairstow.semantic_cache.guard") / "languages"
    text = (folder / "en.yaml").read_text("utf-8")
    words = yaml.load(text, yaml.BaseLoader)  # noqa: S506 - makes strings alone: "no" is a word
    file = msgspec.convert(words, File, strict=False)
    packed = (folder / "en.lexicon.json.gz").read_bytes()
    return Language("en", file, msgspec.json.decode(gzip.decompress(packed), type=Source))
