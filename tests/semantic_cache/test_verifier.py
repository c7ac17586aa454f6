"""The trained verifier: what must hold whatever it learned.

Covered: the score is monotone in similarity and in each sign against, as its module says; the
weights that ship are of these features and say where they come from; questions that a rewriting or
synonym once made the same are refused, by guard or verifier. Not covered: how good it is
(benchmarks.cache_safety).
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairstow.semantic_cache.equivalence import compare
from fairstow.semantic_cache.guard import judge
from fairstow.semantic_cache.verifier import FEATURES, features, probability, trained

PAIR = ("How do I book a court for tennis?", "How can I reserve a court for tennis at the club?")


@given(st.floats(-1, 1), st.floats(0, 1))
def test_more_similarity_never_lowers_it(similarity: float, more: float) -> None:
    judgement = judge(*PAIR)
    assert judgement.objections == ()
    assert probability(judgement, similarity) <= probability(judgement, similarity + more)


def test_no_sign_against_counts_for_a_hit() -> None:
    assert min(trained().weights.values()) >= 0
    found = dict(zip(FEATURES, features(judge(*PAIR), 0.9), strict=True))
    signs = set(FEATURES) - {"similarity", "similarity_above", "same_words"}
    assert all(found[name] <= 0 for name in signs)


def test_the_weights_say_where_they_come_from() -> None:
    assert {"data", "sha256", "model", "made_by"} <= set(trained().provenance)


def test_an_objection_ends_it_and_equal_texts_pass() -> None:
    assert not compare("Is it open in May?", "Is it open in June?", 1.0).same
    assert compare("Is it open in May?", "is it open in may", 0.0).same
    assert not compare("How do I sell a car?", "Who repairs boats in winter weather?", 0.2).same


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("How much does a babysitter cost?", "How much does a babysitter pay?"),
        ("What is the rate of divorce?", "What is the cost of divorce?"),
        ("How much should I drink?", "How much is a drink?"),
        ("What are the options on Tesla stock?", "What are the tips on Tesla stock?"),
        ("What are the ideas of socialism?", "What are the methods of socialism?"),
        ("Which artist sold the most in 2020?", "Which author sold the most in 2020?"),
        ("What port does http use?", "What port does https use?"),
        ("How do I make a form?", "How do I submit a form?"),
        ("How do I book a cake?", "How do I make a cake?"),
    ],
)
def test_rewriting_and_synonyms_make_no_other_question_the_same(a: str, b: str) -> None:
    assert not compare(a, b, 0.95).same
    assert not compare(b, a, 0.95).same
