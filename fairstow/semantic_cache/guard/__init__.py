"""The lexical guard: says no where two questions differ in a way that similarity doesn't see.

An embedding puts "enable dark mode" and "disable dark mode" at 0.88, beside true paraphrases. The
guard reads both texts (`reading`), matches their words (`alignment`) and lets every rule object
(`rules`). What it lets pass has still to convince the verifier. A text in no language that has
rules is compared as it is: equal but for case, spaces and closing punctuation, or refused.
Called by `fairstow.semantic_cache.decision`.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from itertools import islice

import msgspec

from fairstow.semantic_cache.guard.alignment import Alignment, align
from fairstow.semantic_cache.guard.language import english
from fairstow.semantic_cache.guard.reading import Reading, read
from fairstow.semantic_cache.guard.rules import Objection, objections

_READINGS = 4_096
_MOST_OBJECTIONS = 20


class Judgement(msgspec.Struct, frozen=True):
    """What the guard says of two questions.

    Attributes:
        objections: why the answer must not be served; empty where nothing is known against it.
        alignment: None where the texts couldn't be read; then only equal ones have no objection.
    """

    objections: tuple[Objection, ...]
    a: Reading | None = None
    b: Reading | None = None
    alignment: Alignment | None = None

    @property
    def unread(self) -> bool:
        """Whether there are no rules for a text."""
        return bool(self.objections) and self.alignment is None


def judge(
    a: str, b: str, *, all_objections: bool = False, namespace: str | None = None
) -> Judgement:
    """Compare two questions; the first objection ends it, with `all_objections` the twentieth.

    What was read is remembered for each namespace by itself: the time that it takes must not tell
    what somebody else has asked.
    """
    if plain(a) == plain(b):
        return Judgement(())
    here, there = _read(namespace, a), _read(namespace, b)
    if here is None or there is None:
        return Judgement((Objection("language", "no rules for this text", "so only equal ones"),))
    language = english()
    how = align(here, there, language)
    if how is None:
        return Judgement((Objection("words", "too many others", "to be compared"),), here, there)
    found = objections(here, there, how, language)
    kept = tuple(islice(found, _MOST_OBJECTIONS if all_objections else 1))
    return Judgement(kept, here, there, how)


def plain(text: str) -> str:
    """Return a text without what never matters: case, spaces, closing punctuation."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.split()).rstrip("?!. ")


@lru_cache(_READINGS)
def _read(namespace: str | None, text: str) -> Reading | None:  # noqa: ARG001 - of the memo
    return read(text, english())
