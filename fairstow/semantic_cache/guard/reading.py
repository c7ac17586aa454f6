"""What the guard sees of a question: content words, quantities, negations, poles, who governs what.

    text → folded (NFKC, lower case, contractions apart) → without fillers → rewritten to one form
         → tokens → Reading

Names can only be seen in the text as written, so capitals are looked at first: a word that begins
with one elsewhere than at the start of a sentence is a name, unless most words do. Called by
`judge`, cached there: a stored question is read once.
"""

from __future__ import annotations

import re
import unicodedata

import msgspec

from fairstow.semantic_cache.guard.language import Language

LONGEST = 2_000
"""Characters: a longer question is no everyday question, and isn't read."""

_TOKEN = re.compile(
    r"[£$€%]|\d+(?:[.,:/]\d+)*|[^\W\d_](?:[^\W_])*(?:[+#]+)?(?:'[^\W\d_]+)?|[_@#&+=<>*^~|{}\\]"
)
_WORD = re.compile(r"[^\W_]+")
_SENTENCE = re.compile(r"(?:\A|[.!?:\n][\s\"'(]*)$")
_GLUED = re.compile(r"(\d)(?=[a-z])|(?<=[a-z])-(?=[a-z])|(?<=\d)-(?=[a-z])")
_SYMBOLS = re.compile(r"[-+*/=<>!&|^~%#@$\\]*[+*/=<>&|^~#@\\]+[-+*/=<>!&|^~%#@$\\]*|[()\[\]{}]{2,}")
"""What code consists of beside words."""
_PROSE = re.compile(r"(?<=[a-z)])\s?/\s?(?=[a-z])|(?<=[a-z0-9]) & (?=[a-z])|\(s\)|\s\*+$")
"""What reads as a word between words: and/or, salt & pepper; a footnote's star."""
_QUOTED = re.compile(r"`[^`\s][^`]*`|[\u2190-\u2bff]")
_MINUS = re.compile(r"(?<![^\s(])[-\u2212](?=[\d.£$€])")
_ORDINAL = re.compile(r"(\d+)(st|nd|rd|th)\b")


class Word(msgspec.Struct, frozen=True):
    """A content word.

    Attributes:
        at: which token it is.
        bases: forms it may be an inflection of, itself among them.
        name: whether it names somebody or something.
        governor: the preposition before it, empty if none is near.
    """

    text: str
    at: int
    bases: frozenset[str]
    name: bool
    governor: str


class Quantity(msgspec.Struct, frozen=True):
    """A number with its unit.

    Attributes:
        value: in the base of the dimension.
        dimension: '' without a unit.
        number: as it was said.
        governor: the preposition before it, empty if there is none.
    """

    value: float
    dimension: str
    said: str
    number: float
    governor: str


class Reading(msgspec.Struct, frozen=True):
    """A question as the guard sees it."""

    language: str
    tokens: tuple[str, ...]
    words: tuple[Word, ...]
    quantities: tuple[Quantity, ...]
    negations: int
    implicit: int
    poles: dict[str, frozenset[int]]
    scope: frozenset[str]
    asker: str
    persons: frozenset[str]
    symbols: frozenset[str]


def read(text: str, language: Language) -> Reading | None:
    """Return what the guard sees of a text; None if it isn't in this language or too long."""
    if len(text) > LONGEST or not text.strip():
        return None
    plain = unicodedata.normalize("NFKC", text).replace("’", "'").replace("‘", "'")
    names = _names(plain)
    folded = plain.casefold()
    if not language.covers(_WORD.findall(folded)):
        return None
    tokens = [token.removesuffix("'s") for token in _TOKEN.findall(_rewritten(folded, language))]
    tokens = [token for token in tokens if token not in language.fillers]
    quantities, used = _quantities(tokens, language)
    askers, persons = language.file.askers, language.file.persons
    return Reading(
        language=language.name,
        tokens=tuple(tokens),
        words=_words(tokens, used, names, language),
        quantities=quantities,
        negations=sum(token in language.negators for token in tokens)
        - len(language.idioms.findall(" ".join(tokens))),
        implicit=sum(
            bool(language.lexicon.bases(token) & language.implicit_negators) for token in tokens
        ),
        poles=_poles(tokens, used, language),
        scope=frozenset(tokens) & language.scope,
        asker=next((askers[token] for token in tokens if token in askers), ""),
        persons=frozenset(persons[token] for token in tokens if token in persons),
        symbols=frozenset(_SYMBOLS.findall(_PROSE.sub(" ", folded)))
        | frozenset(_QUOTED.findall(folded)),
    )


def _names(text: str) -> frozenset[str]:
    found, plain = set(), 0
    for match in _WORD.finditer(text):
        word = match.group()
        if _SENTENCE.search(text[: match.start()][-4:]) and not word.isupper():
            continue
        if word[0].isupper() and word != "I":
            found.add(word.casefold())
        elif word[0].islower():
            plain += 1
    return frozenset(found) if plain >= len(found) else frozenset()


def _rewritten(folded: str, language: Language) -> str:
    text = language.apostrophe_is.sub(r"\1 is", folded)
    text = language.contractions.sub(lambda each: language.file.contractions[each.group()], text)
    text = language.filler_phrases.sub(" ", text)
    text = _ORDINAL.sub(r"\1", _MINUS.sub("minus ", text))
    text = _GLUED.sub(lambda each: f"{each.group(1) or ''} ", text)
    text = " ".join(re.sub(r"[?!,;()\"“”]|\.(?!\w)|:(?!\d)", " ", text).split())
    for old, new in language.rewrites:
        text = old.sub(new, text, count=1)
    text = " ".join(text.split())
    return language.phrases.sub(lambda each: language.one_for[each.group()], text)


def _quantities(
    tokens: list[str], language: Language
) -> tuple[tuple[Quantity, ...], frozenset[int]]:
    """Return them, and which tokens they take."""
    found: list[Quantity] = []
    used: set[int] = set()
    at = 0
    while at < len(tokens):
        value, end = _number(tokens, at, language)
        if value is None:
            at += 1
            continue
        unit = _unit(tokens[end] if end < len(tokens) else "", language)
        symbol = language.file.symbols.get(tokens[at - 1] if at else "")
        if unit is not None:
            used.add(end)
        elif symbol is not None:
            unit = language.file.units[symbol]
            used.add(at - 1)
        if unit is None and tokens[at] == "one":
            at = end
            continue  # a pronoun, most of the time
        used.update(range(at, end))
        dimension, factor = unit or ("", 1.0)
        before = tokens[at - 1] if at else ""
        governor = before if before in language.pivots else ""
        said = " ".join(tokens[at:end])
        found.append(Quantity(value * factor, dimension, said, value, governor))
        at = end + (unit is not None and symbol is None)
    return tuple(found), frozenset(used)


def _number(tokens: list[str], at: int, language: Language) -> tuple[float | None, int]:
    """Return the number that begins here and where it ends."""
    total: float | None = None
    end = at
    while end < len(tokens):
        token = tokens[end]
        if token[0].isdigit():
            if total is not None:
                break
            total = _digits(token)
        elif token in language.file.number_words:
            more = language.file.number_words[token]
            if total is not None and not (total % 10 == 0 and total and more < 10):
                break
            total = (total or 0) + more
        elif token in language.file.scales and total is not None:
            total *= language.file.scales[token]
        else:
            break
        end += 1
    return total, end


def _digits(token: str) -> float:
    plain = token.replace(",", "")
    if plain.replace(".", "", 1).isdigit():
        return float(plain)
    first, *rest = [float(part) for part in re.split(r"[:/.]", plain)]
    for part in rest:  # 10:30, 2025/26: only equal to the same
        first = first * 1_000 + part
    return first if any(rest) or "/" in token else float(plain.split(":")[0])


def _unit(token: str, language: Language) -> tuple[str, float] | None:
    if token in language.file.symbols:
        token = language.file.symbols[token]
    for base in (token, *language.lexicon.bases(token)):
        if base in language.file.units:
            return language.file.units[base]
    return None


def _words(
    tokens: list[str], used: frozenset[int], names: frozenset[str], language: Language
) -> tuple[Word, ...]:
    found, governor, since = [], "", 0
    for at, token in enumerate(tokens):
        since += 1
        if token in language.pivots:
            begins = not at or tokens[at - 1] in language.infinitive_after
            governor, since = "" if begins and token in language.infinitives else token, 0
        if at in used or token in language.stopwords or token in language.negators:
            continue
        if not token[0].isalnum():
            continue
        name = token in names or language.lexicon.proper(token)
        bases = language.lexicon.bases(token)
        found.append(Word(token, at, bases, name, governor if since <= 4 else ""))
    return tuple(found)


def _poles(
    tokens: list[str], used: frozenset[int], language: Language
) -> dict[str, frozenset[int]]:
    found: dict[str, set[int]] = {}
    for at, token in enumerate(tokens):
        if at in used:
            continue
        for base in language.lexicon.bases(token):
            for axis, pole in language.poles.get(base, ()):
                if axis in language.numeric_axes and not _numeric(tokens, at + 1, language):
                    continue
                found.setdefault(axis, set()).add(pole)
    return {axis: frozenset(poles) for axis, poles in found.items()}


def _numeric(tokens: list[str], at: int, language: Language) -> bool:
    after = tokens[at] if at < len(tokens) else ""
    return (
        after[:1].isdigit()
        or after in language.file.symbols
        or (after in language.file.number_words)
    )
