"""Active against passive: who does it, and to whom it is done.

"Was Samsung sued by Apple" is "did Apple sue Samsung", "was Apple sued by Samsung" isn't, though
both share every word. A verb is passive where it looks like a participle and the last auxiliary
before it is a form of "be" or "get". Of a verb that is passive in one text alone, whoever stands
before it there has to stand after it in the other, and who comes after "by" before it. What can't
be found in the other text is left to the verifier, and so are participles that may be adjectives.
Called by `rules`.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto

from fairstow.semantic_cache.guard.alignment import Alignment, Match
from fairstow.semantic_cache.guard.language import Language
from fairstow.semantic_cache.guard.reading import Reading

_REACH = 6
"""Tokens between an auxiliary and its verb, or a verb and who it is done to."""


class Voice(Enum):
    """A verb's."""

    ACTIVE = auto()
    PASSIVE = auto()
    UNSURE = auto()


def turned(
    a: Reading, b: Reading, how: Alignment, language: Language
) -> Iterator[tuple[Match, bool]]:
    """Yield verbs that are passive in one text alone, and whether somebody kept their place.

    Then it is another question; where the parties change places with the voice, it is the same.
    """
    forth = {match.a.at: match.b.at for match in how.matches}
    back = {match.b.at: match.a.at for match in how.matches}
    for match in how.matches:
        if match.a.name or match.b.name or match.a.bases & language.ergative:
            continue
        here, there = voice(a, match.a.at, language), voice(b, match.b.at, language)
        if here is there or Voice.UNSURE in (here, there):
            continue
        if here is Voice.PASSIVE:
            yield match, _kept(a, match.a.at, b, match.b.at, forth, language)
        else:
            yield match, _kept(b, match.b.at, a, match.a.at, back, language)


def voice(reading: Reading, at: int, language: Language) -> Voice:
    """Return the voice of the word at a place, as if it were a verb."""
    tokens = reading.tokens
    if not language.lexicon.past(tokens[at]):
        return Voice.ACTIVE
    before = tokens[at - 1] if at else ""
    if before not in language.passive and before not in language.file.subjects:
        noun = any(word.at == at + 1 and word.text[-2:] != "ly" for word in reading.words)
        if noun and (before in language.light | language.scope or before[-2:] in ("", "ly")):
            return Voice.UNSURE  # "a hidden fee"
    for place in range(at - 1, max(-1, at - 1 - _REACH), -1):
        token = tokens[place]
        if token in language.passive:
            return Voice.PASSIVE
        if token in language.pivots:
            return Voice.UNSURE
        if token in language.having and place and place < at - 1:
            return Voice.UNSURE  # "have a tooth pulled"
        if token in language.modals or token in language.active or token in language.clauses:
            return Voice.ACTIVE
    return Voice.ACTIVE


def _kept(
    passive: Reading, verb: int, active: Reading, other: int, match: dict[int, int],
    language: Language,
) -> bool:  # fmt: skip
    """Whether somebody stands on the side of the verb where the other voice doesn't have them."""
    subjects = language.file.subjects
    for at in range(verb - 1, max(-1, verb - 1 - _REACH), -1):
        token = passive.tokens[at]
        if token in subjects:
            who = subjects[token]
            return any(subjects.get(said) == who for said in active.tokens[:other])
        if at in match:
            if match[at] < other:
                return True
            break
    by = next((at for at in range(verb + 1, len(passive.tokens)) if passive.tokens[at] == "by"), 0)
    return bool(by) and any(match[at] > other for at in (by + 1, by + 2) if at in match)
