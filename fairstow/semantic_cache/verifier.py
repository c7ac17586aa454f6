"""The trained pair verifier: how sure it is that two questions want the same answer.

Behind the guard, which only knows signs against. For what it lets pass,

    P(same answer) = 1 / (1 + exp(−(b + w · x))),   w ≥ 0,

with features x oriented so that more is better. In training no weight falls under a part of the one
that a person expects, so that no accident of the pairs makes a leftover word an argument for a hit,
or none against it (`benchmarks/cache_safety/train.py`, which also says on which data). So the score
is monotone: more similarity never lowers it, one more leftover word never raises it. Both kinds of
pairs weigh the same in training: P is at even odds. The weights are data, `verifier.json`, with
their provenance. Called by `equivalence`.
"""

from __future__ import annotations

import math
from functools import cache
from importlib.resources import files

import msgspec

from fairstow.semantic_cache.guard import Judgement
from fairstow.semantic_cache.guard.alignment import Alignment
from fairstow.semantic_cache.guard.language import Language, english
from fairstow.semantic_cache.guard.lexicon import Kinship
from fairstow.semantic_cache.guard.reading import Reading, Word
from fairstow.semantic_cache.guard.rules import exchanged, explained

FEATURES = (
    "similarity",  # cosine × 10, up to 0.9
    "similarity_above",  # the rest × 20
    "replaced",  # − content words left over on both sides
    "added",  # − content words left over on one
    "generic",  # − left-over words that say little (get, way, time)
    "function",  # − function words that only one side has
    "function_share",  # the same by matched content word
    "form",  # − another form of question (how, what, yes or no)
    "yes_no",  # − how or what against a question for yes or no
    "persons",  # − other persons (my, your, their)
    "tense",  # − was against is
    "modal",  # − can, should, will that only one side has
    "weak",  # − matches by WordNet alone
    "strong",  # − matches by everyday synonyms
    "short",  # − 1 / matched words
    "left_share",  # − left-over by matched content word
    "length",  # − tokens more or less
    "reordered",  # − words in another order that no preposition explains
    "same_words",  # 1 where at most one idle word is left over, and then:
    "same_idle",  # − that word
    "same_reordered",  # − reordered
    "same_function",  # − function_share
    "same_short",  # − 1 / matched words
    "same_form",  # − other form, other persons
    "same_yes_no",  # − yes_no
    "same_tense",  # − tense, modal
    "same_far",  # − cosine under 0.9, × 10
)


class Weights(msgspec.Struct, frozen=True):
    """`verifier.json`.

    Attributes:
        accept: the probability from which a pair passes.
    """

    provenance: dict[str, str | int | float]
    accept: float
    bias: float
    weights: dict[str, float]


def features(judgement: Judgement, similarity: float) -> tuple[float, ...]:
    """Return x for a pair without objections that was read; in the order of `FEATURES`."""
    assert judgement.a is not None
    assert judgement.b is not None
    assert judgement.alignment is not None
    language = english()
    here, there, how = judgement.a, judgement.b, judgement.alignment
    plain_a, generic_a = _split(how.left_a, language)
    plain_b, generic_b = _split(how.left_b, language)
    matched = max(1, len(how.matches))
    function = min(len(_function(here, language) ^ _function(there, language)), 6)
    form, persons = here.asker != there.asker, here.persons != there.persons
    yes_no = form and not (here.asker and there.asker)
    tense, modal = _differs(here, there, language.past), _differs(here, there, language.modals)
    left = (*how.left_a, *how.left_b)
    same = len(left) <= 1 and all(word.bases & language.idle for word in left)
    reordered = any(not explained(*pair) for pair in exchanged(how, language))
    return (
        10 * min(similarity, 0.9),
        20 * max(similarity - 0.9, 0.0),
        -min(plain_a, plain_b),
        -min(max(plain_a, plain_b), 3),
        -(generic_a + generic_b),
        -function,
        -function / matched,
        -form,
        -yes_no,
        -persons,
        -tense,
        -modal,
        -_by(how, Kinship.WEAK),
        -_by(how, Kinship.STRONG),
        -1 / matched,
        -(plain_a + plain_b) / matched,
        -min(abs(len(here.tokens) - len(there.tokens)), 8) / 4,
        -reordered,
        float(same),
        -same * len(left),
        -same * reordered,
        -same * function / matched,
        -same / matched,
        -same * (form + persons),
        -same * yes_no,
        -same * (tense + modal),
        -same * 10 * max(0.9 - similarity, 0.0),
    )


def probability(judgement: Judgement, similarity: float) -> float:
    """Return P(same answer) for a pair without objections."""
    if judgement.alignment is None:
        return 1.0  # equal texts
    weights = trained()
    score = weights.bias + sum(
        weights.weights[name] * value
        for name, value in zip(FEATURES, features(judgement, similarity), strict=True)
    )
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, score))))


@cache
def trained() -> Weights:
    """Return the weights that ship."""
    found = (files("fairstow.semantic_cache") / "verifier.json").read_bytes()
    weights = msgspec.json.decode(found, type=Weights)
    if set(weights.weights) != set(FEATURES):
        raise ValueError("verifier.json is of other features: train it anew")
    return weights


def _split(words: tuple[Word, ...], language: Language) -> tuple[int, int]:
    generic = sum(bool(word.bases & language.generic) for word in words)
    return len(words) - generic, generic


def _differs(here: Reading, there: Reading, words: frozenset[str]) -> bool:
    return (frozenset(here.tokens) & words) != (frozenset(there.tokens) & words)


def _function(reading: Reading, language: Language) -> frozenset[str]:
    return frozenset(reading.tokens) & language.stopwords - language.light


def _by(how: Alignment, kinship: Kinship) -> int:
    return sum(match.kinship is kinship for match in how.matches)
