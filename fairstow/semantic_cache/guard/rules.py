"""What makes two questions different, whatever their similarity: each rule says no with a reason.

A rule sees two readings and their alignment and knows nothing of embeddings. Objections are hard:
no threshold, load or verifier overrules one. Rules are one-sided: that none objects doesn't mean
the answer is the same, only that no known sign says otherwise. Called by `judge`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations, pairwise, product

import msgspec

from fairstow.semantic_cache.guard.alignment import Alignment, Match
from fairstow.semantic_cache.guard.language import Language
from fairstow.semantic_cache.guard.reading import Quantity, Reading
from fairstow.semantic_cache.guard.voice import turned

_NEAR = 1e-6
_EXACT = 15
"""Digits that a float tells apart."""
_SUBJECTS, _DOES = frozenset({"who", "what"}), frozenset({"do", "does", "did"})
_TIMELESS = frozenset({"", "why"})
_JOINED = frozenset({("and",), ("then",), ("and", "then"), ("or",)})
_OTHERS = frozenset({"self", "other"})
_MINE = frozenset({"self", "you"})
_GENERAL = frozenset({"how", "why"})
_FROM = frozenset({"from"})
_BE, _ABOUT = (("is",), ("are",)), frozenset({"with", "about", "for"})
_FORMS = frozenset({"why", "who", "when", "where"})


class Objection(msgspec.Struct, frozen=True):
    """Why not: the rule, and what either text says."""

    rule: str
    a: str
    b: str


def objections(a: Reading, b: Reading, how: Alignment, language: Language) -> Iterator[Objection]:
    """Yield every objection; the first is enough to say no."""
    if not how.matches and not a.quantities and a.tokens != b.tokens:
        yield Objection("words", " ".join(a.tokens), " ".join(b.tokens))
    yield from _quantities(a, b, how, language)
    yield from _exchanged_numbers(a, b, language)
    yield from _negation(a, b)
    yield from _opposites(how, language)
    yield from _axes(a, b, how, language)
    yield from _form(a, b)
    yield from _tense(a, b, how, language)
    yield from _scope(a, b, language)
    yield from _names(how)
    voices = list(turned(a, b, how, language))
    yield from _roles(a, b, how, [verb for verb, kept in voices if not kept], language)
    for verb, kept in voices:
        if kept:
            yield Objection("voice", verb.a.text, verb.b.text)


def _quantities(a: Reading, b: Reading, how: Alignment, language: Language) -> Iterator[Objection]:
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
    marks = [
        [word.text for word in words if len(word.text) == 1 or any(map(str.isdigit, word.text))]
        for words in (how.left_a, how.left_b)
    ]
    if any(marks):  # M605x, vitamin C
        yield Objection("number", *map(" ".join, marks))
    for one, other in product(a.quantities, b.quantities):
        if _equal(one, other) and (one.governor, other.governor) in language.opposed_amounts:
            yield Objection("role", f"{one.governor} {one.said}", f"{other.governor} {other.said}")


def _equal(one: Quantity, other: Quantity) -> bool:
    if one.dimension and one.dimension == other.dimension:
        return abs(one.value - other.value) <= _NEAR * max(1.0, abs(one.value))
    if one.dimension and other.dimension:
        return False
    said = one.said.replace(",", ""), other.said.replace(",", "")
    return one.number == other.number and (said[0] == said[1] or not any(map(_named, said)))


def _named(said: str) -> bool:
    """Whether digits name something: 3.10 isn't 3.1, 0049 isn't 49, and floats end at 2⁵³."""
    return said[:1].isdigit() and (
        "." in said or len(said) > _EXACT or (said[0] == "0" and said[1:2].isdigit())
    )


def _exchanged_numbers(a: Reading, b: Reading, language: Language) -> Iterator[Objection]:
    """2 to the power of 3, 3 to the power of 2."""
    if not language.joints.isdisjoint(a.tokens) and not language.joints.isdisjoint(b.tokens):
        return
    there = [at for x in a.quantities for at, y in enumerate(b.quantities) if _equal(x, y)]
    each_once = len(there) == len(set(there)) == len(a.quantities) == len(b.quantities)
    if each_once and there != sorted(there):
        yield Objection("order", _said(a.quantities), _said(b.quantities))


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
    for one, other in ((a, b), (b, a)):
        counts = ("how", "many") in pairwise(one.tokens) and not other.asker
        if counts or (_deed(one) and _definition(other)):
            yield Objection("form", " ".join(a.tokens[:3]), " ".join(b.tokens[:3]))
    if a.symbols != b.symbols:
        yield Objection("symbols", " ".join(a.symbols - b.symbols), " ".join(b.symbols - a.symbols))


def _definition(reading: Reading) -> bool:
    """What is X?"""
    return reading.tokens[:1] == ("what",) and reading.tokens[1:2] in _BE


def _deed(reading: Reading) -> bool:
    """What does X do? What can I do about X?"""
    return reading.asker == "what" and any(
        word == "do" and (at + 1 == len(reading.tokens) or reading.tokens[at + 1] in _ABOUT)
        for at, word in enumerate(reading.tokens)
    )


def _tense(a: Reading, b: Reading, how: Alignment, language: Language) -> Iterator[Objection]:
    """What was, and what is or will be; why something was so is asked in either."""
    if ("will" in a.tokens) != ("will" in b.tokens):
        for match in how.matches:
            old, new = (match.b, match.a) if "will" in a.tokens else (match.a, match.b)
            if old.text != new.text in old.bases and language.lexicon.past(old.text):
                yield Objection("tense", match.a.text, match.b.text)
    if a.asker != b.asker or a.asker in _TIMELESS:
        return
    here, there = (
        (frozenset(each.tokens) & language.past, frozenset(each.tokens) & language.present)
        for each in (a, b)
    )
    for one, other in ((here, there), (there, here)):
        if one[0] and not one[1] and other[1] and not other[0]:
            yield Objection("tense", " ".join(here[0] | here[1]), " ".join(there[0] | there[1]))


def _inverted(a: Reading, b: Reading, how: Alignment) -> Iterator[Objection]:
    """Who plays for Ann, who does Ann play for."""
    for x, y, begun in (
        (a.tokens, b.tokens, {match.b.at for match in how.matches if match.kinship is None}),
        (b.tokens, a.tokens, {match.a.at for match in how.matches if match.kinship is None}),
    ):
        does = len(x) > 1 and x[0] in _SUBJECTS and x[1] in _DOES
        if does and 1 in begun and x[0] == y[0]:
            yield Objection("order", " ".join(a.tokens[:3]), " ".join(b.tokens[:3]))


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


def _roles(
    a: Reading, b: Reading, how: Alignment, turns: Iterable[Match], language: Language
) -> Iterator[Objection]:
    """Who does what to whom: the same words in exchanged places, but around verbs that turn."""
    for match in how.matches:
        governed = (match.a.governor, match.b.governor)
        amount = not match.a.bases.isdisjoint(language.file.units)
        if governed in (language.opposed_amounts if amount else language.opposed):
            yield Objection("role", " ".join((governed[0], match.a.text)),
                            " ".join((governed[1], match.b.text)))  # fmt: skip
        whose = [
            language.file.persons.get(each.tokens[word.at - 1]) if word.at else None
            for each, word in ((a, match.a), (b, match.b))
        ]
        said = {each.tokens[word.at - 1] for each, word in ((a, match.a), (b, match.b)) if word.at}
        mine = set(whose) == _MINE and said <= language.possessives
        if set(whose) == _OTHERS or (mine and not (_general(a) and _general(b))):
            yield Objection("role", a.tokens[match.a.at - 1], b.tokens[match.b.at - 1])
    yield from _pronouns(a, b, how, language)
    yield from _choice(a, b, how)
    yield from _inverted(a, b, how)
    for one, other in exchanged(how, language):
        if any(one.a.at <= verb.a.at <= other.a.at for verb in turns):
            continue  # was sued by Apple, did Apple sue
        if _compared(a, b, (one, other), language):
            continue
        names = one.a.name and other.a.name and not (_kept(one) and _kept(other))
        names = names and not _listed(a, b, (one, other), language)
        beside = _beside(a, b, how, (one, other), language)
        if names or beside or _governed(one, other) or _pivoted(a, b, how, (one, other), language):
            yield Objection(
                "order", f"{one.a.text} … {other.a.text}", f"{other.b.text} … {one.b.text}"
            )


def _compared(a: Reading, b: Reading, pair: tuple[Match, Match], language: Language) -> bool:
    """Whether both ask how the two differ: x and y, y and x; but not: from x to y."""
    one, other = pair
    turning = language.pivots - language.joints - _FROM
    for reading, tokens in (
        (a, a.tokens[one.a.at + 1 : other.a.at]),
        (b, b.tokens[other.b.at + 1 : one.b.at]),
    ):
        asked = any(word.bases & language.symmetric for word in reading.words)
        joined = not (language.joints | _FROM).isdisjoint(tokens)
        if not (asked and joined and turning.isdisjoint(tokens)):
            return False
    return True


def _general(reading: Reading) -> bool:
    """Whether "you" is anybody: how do you keep your hands warm."""
    return reading.asker in _GENERAL


def _pronouns(a: Reading, b: Reading, how: Alignment, language: Language) -> Iterator[Objection]:
    """I … pay … Eve, Eve … pays … me: somebody stands on either side of the same pair of words."""
    subjects, objects = language.file.subjects, language.file.objects
    for x, y, matches in (
        (a.tokens, b.tokens, [(match.a.at, match.b.at) for match in how.matches]),
        (b.tokens, a.tokens, [(match.b.at, match.a.at) for match in how.matches]),
    ):
        begin = {
            subjects[token]: at for at, token in reversed([*enumerate(x)]) if token in subjects
        }
        if x[:2] == ("how", "to"):  # how do I
            begin.setdefault("self", 1)
        end = {objects[token]: at for at, token in enumerate(y) if token in objects}
        for who in begin.keys() & end.keys():
            between = sorted(at for at in matches if begin[who] < at[0] and at[1] < end[who])
            does = any(one == begin[who] + 1 and other + 1 == end[who] for one, other in matches)
            if does or any(other[1] < one[1] for one, other in pairwise(between)):
                yield Objection("role", x[begin[who]], y[end[who]])

    persons = [
        [said for token in each.tokens if (said := language.file.persons.get(token)) in _OTHERS]
        for each in (a, b)
    ]
    if persons[0] != persons[1] and sorted(persons[0]) == sorted(persons[1]):
        yield Objection("role", " ".join(persons[0]), " ".join(persons[1]))


def _choice(a: Reading, b: Reading, how: Alignment) -> Iterator[Objection]:
    """Drink and drive, drink or drive."""
    for one, other in pairwise(how.matches):
        here, there = a.tokens[one.a.at + 1 : other.a.at], b.tokens[one.b.at + 1 : other.b.at]
        if here != there and {here, there} <= _JOINED and ("or",) in (here, there):
            yield Objection("role", " ".join(here), " ".join(there))


def exchanged(how: Alignment, language: Language) -> Iterator[tuple[Match, Match]]:
    """Yield matches in the other order; where the word that asks stands says nothing."""
    told = [match for match in how.matches if match.a.text not in language.asking]
    if all(one.b.at < other.b.at for one, other in pairwise(told)):
        return iter(())
    return ((one, other) for one, other in combinations(told, 2) if one.b.at > other.b.at)


def explained(one: Match, other: Match) -> bool:
    """Whether a preposition explains the order: a phrase in front, "law exam", "exam in law"."""
    return _kept(one) or _kept(other) or bool(one.b.governor or other.a.governor)


def _governed(one: Match, other: Match) -> bool:
    """Whether the order is another one for another preposition: flu from jabs, jabs with flu."""
    before, after = (one.a.governor, other.b.governor), (other.a.governor, one.b.governor)
    return not any(before) and all(after)


def _beside(
    a: Reading, b: Reading, how: Alignment, pair: tuple[Match, Match], language: Language
) -> bool:
    """Whether two words stand side by side in both: milk chocolate, who killed Caesar.

    What a preposition, a form of "be" or an adverb may turn round isn't meant.
    """
    one, other = pair
    if explained(one, other) or any(
        word.text.endswith("ly") or word.bases & language.generic
        for word in (one.a, other.a, one.b, other.b)
    ):
        return False
    between_a = range(one.a.at + 1, other.a.at)
    between_b = range(other.b.at + 1, one.b.at)
    if any(match.a.at in between_a or match.b.at in between_b for match in how.matches):
        return False
    said = {a.tokens[at] for at in between_a} | {b.tokens[at] for at in between_b}
    return "then" in said or said.isdisjoint(
        language.present | language.past | language.joints | {"if"}
    )


def _listed(a: Reading, b: Reading, pair: tuple[Match, Match], language: Language) -> bool:
    """Whether both texts join the two: x and y, y and x."""
    one, other = pair
    here, there = a.tokens[one.a.at : other.a.at], b.tokens[other.b.at : one.b.at]
    return not language.joints.isdisjoint(here) and not language.joints.isdisjoint(there)


def _kept(match: Match) -> bool:
    return bool(match.a.governor) and match.a.governor == match.b.governor


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
    return bool(said - language.light - language.joints)
