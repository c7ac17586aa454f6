"""What makes two questions different, whatever their similarity: each rule says no with a reason.

A rule sees two readings and their alignment and knows nothing of embeddings. Objections are hard:
no threshold, load or verifier overrules one. Rules are one-sided: that none objects doesn't mean
the answer is the same, only that no known sign says otherwise. Called by `judge`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations

import msgspec

from fairstow.semantic_cache.guard.alignment import Alignment, Match
from fairstow.semantic_cache.guard.language import Language
from fairstow.semantic_cache.guard.reading import Quantity, Reading

_NEAR = 1e-6
_FORMS = frozenset({"why", "who", "when", "where"})


class Objection(msgspec.Struct, frozen=True):
    """Why not: the rule, and what either text says."""

    rule: str
    a: str
    b: str


def objections(a: Reading, b: Reading, how: Alignment, language: Language) -> Iterator[Objection]:
    """Yield every objection; the first is enough to say no."""
    yield from _quantities(a, b)
    yield from _negation(a, b)
    yield from _opposites(how, language)
    yield from _axes(a, b, how, language)
    yield from _form(a, b)
    yield from _scope(a, b, language)
    yield from _names(how)
    yield from _roles(a, b, how, language)


def _quantities(a: Reading, b: Reading) -> Iterator[Objection]:
    """Numbers, dates and amounts: each has its equal on the other side."""
    left = list(b.quantities)
    missing = []
    for quantity in a.quantities:
        equal = next((other for other in left if _equal(quantity, other)), None)
        if equal is None:
            missing.append(quantity)
        else:
            left.remove(equal)
    # One that is only said twice is no other one.
    missing = [one for one in missing if not any(_equal(one, other) for other in b.quantities)]
    left = [one for one in left if not any(_equal(one, other) for other in a.quantities)]
    if missing or left:
        yield Objection("number", _said(missing), _said(left))


def _equal(one: Quantity, other: Quantity) -> bool:
    same = one.dimension == other.dimension or not (one.dimension and other.dimension)
    return same and abs(one.value - other.value) <= _NEAR * max(1.0, abs(one.value))


def _said(quantities: Iterable[Quantity]) -> str:
    return ", ".join(quantity.said for quantity in quantities)


def _negation(a: Reading, b: Reading) -> Iterator[Objection]:
    """An even and an odd number of negations can't mean the same."""
    here, there = a.negations + a.implicit, b.negations + b.implicit
    if (here - there) % 2:
        yield Objection("negation", f"{here} negations", f"{there} negations")


def _opposites(how: Alignment, language: Language) -> Iterator[Objection]:
    for x in how.left_a:
        for y in how.left_b:
            if language.lexicon.opposite(x.bases, y.bases):
                yield Objection("antonym", x.text, y.text)


def _axes(a: Reading, b: Reading, how: Alignment, language: Language) -> Iterator[Objection]:
    """Words that exclude one another: months, more and less, tenant and landlord."""
    both: dict[str, set[int]] = {}
    for match in how.matches:  # two words for one thing lie where either does
        for base in match.a.bases | match.b.bases:
            for axis, pole in language.poles.get(base, ()):
                both.setdefault(axis, set()).add(pole)
    for axis in sorted(a.poles.keys() | b.poles.keys()):
        shared = both.get(axis, set())
        here = a.poles.get(axis, frozenset()) | shared
        there = b.poles.get(axis, frozenset()) | shared
        if here != there and (axis in language.strict_axes or (here and there)):
            yield Objection(f"axis {axis}", _pole(here), _pole(there))


def _pole(poles: frozenset[int]) -> str:
    return ", ".join(str(pole) for pole in sorted(poles)) or "nothing"


def _form(a: Reading, b: Reading) -> Iterator[Objection]:
    """Why, who, when, where or how much is no other question's form; code's symbols are words."""
    if a.asker != b.asker and (a.asker in _FORMS or b.asker in _FORMS):
        yield Objection("form", a.asker or "yes or no", b.asker or "yes or no")
    if a.symbols != b.symbols:
        yield Objection("symbols", " ".join(a.symbols - b.symbols), " ".join(b.symbols - a.symbols))


def _scope(a: Reading, b: Reading, language: Language) -> Iterator[Objection]:
    here, there = a.scope - language.soft_scope, b.scope - language.soft_scope
    if here != there:
        yield Objection("scope", " ".join(sorted(here - there)), " ".join(sorted(there - here)))


def _names(how: Alignment) -> Iterator[Objection]:
    """A name that only one side has; also two names for what might be one thing."""
    here = [word.text for word in how.left_a if word.name]
    there = [word.text for word in how.left_b if word.name]
    if here or there:
        yield Objection("name", " ".join(here), " ".join(there))


def _roles(a: Reading, b: Reading, how: Alignment, language: Language) -> Iterator[Objection]:
    """Who does what to whom: the same words in exchanged places."""
    for match in how.matches:
        governed = (match.a.governor, match.b.governor)
        if governed in language.opposed:
            yield Objection("role", " ".join((governed[0], match.a.text)),
                            " ".join((governed[1], match.b.text)))  # fmt: skip
    for one, other in combinations(how.matches, 2):
        if one.b.at < other.b.at:
            continue
        names = one.a.name and other.a.name and not (_kept(one) and _kept(other))
        if names or not _moved(one, other) or _pivoted(a, b, how, (one, other), language):
            yield _exchanged(one, other)


def _moved(one: Match, other: Match) -> bool:
    """Whether a preposition explains the order: a phrase in front, "law exam", "exam in law"."""
    return any(_kept(match) for match in (one, other)) or bool(one.b.governor or other.a.governor)


def _kept(match: Match) -> bool:
    return bool(match.a.governor) and match.a.governor == match.b.governor


def _exchanged(one: Match, other: Match) -> Objection:
    return Objection("order", f"{one.a.text} … {other.a.text}", f"{other.b.text} … {one.b.text}")


def _pivoted(
    a: Reading, b: Reading, how: Alignment, pair: tuple[Match, Match], language: Language
) -> bool:
    """Whether two words stand on exchanged sides of something between them: x p y, y p x."""
    one, other = pair
    between_a = range(one.a.at + 1, other.a.at)
    between_b = range(other.b.at + 1, one.b.at)
    words = any(match.a.at in between_a and match.b.at in between_b for match in how.matches)
    if words:
        return True
    said = {a.tokens[at] for at in between_a} & {b.tokens[at] for at in between_b}
    return bool(said - language.light)
