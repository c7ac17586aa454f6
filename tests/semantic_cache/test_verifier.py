"""The trained verifier: what must hold whatever it learned.

Covered: the score is monotone in similarity and in each sign against, as its module says; the
weights that ship are of these features and say where they come from. Not covered: how good it is
(benchmarks.cache_safety).
"""

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
