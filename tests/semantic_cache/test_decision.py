"""The cache's decision: each step, in order, with its reason.

Covered: every outcome; that nothing of another namespace or context is ever served, whatever its
similarity; Shadow, load, budget, economics; a client only tightens; age. Not covered: who is asked
for candidates (the sidecar's index), the pair itself (test_guard, test_verifier).
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fairstow.semantic_cache.decision import (
    Candidate,
    Lookup,
    Mode,
    Outcome,
    Policy,
    decide,
    tightened,
)
from fairstow.semantic_cache.eligibility import Eligibility, Tier
from fairstow.semantic_cache.thresholds import Adaptation

NEAR = Candidate("e", "ns", "fp", "How can I reset my password?", 90.0, 0.97)
LOOKUP = Lookup(
    namespace="ns",
    eligibility=Eligibility(Tier.SEMANTIC, store=True),
    policy=Policy("docs", Mode.ENFORCE, budget_signed=True),
    now=100.0,
    fingerprint="fp",
    question="How do I reset my password?",
    near=(NEAR,),
)


def having(**changes: Any) -> Lookup:
    return replace(LOOKUP, **changes)


def policy(**changes: Any) -> Policy:
    return replace(LOOKUP.policy, **changes)


def rules(lookup: Lookup) -> list[str]:
    return [reason.rule for reason in decide(lookup).reasons]


def test_a_near_question_is_served() -> None:
    verdict = decide(LOOKUP)
    assert verdict.outcome is Outcome.HIT_SEMANTIC
    assert (verdict.entry, verdict.similarity, verdict.age) == ("e", 0.97, 10.0)
    assert verdict.threshold == 0.9
    assert not verdict.store


def test_the_same_request_is_served_first_and_in_shadow_counted() -> None:
    exact = replace(NEAR, id="x", similarity=None)
    verdict = decide(having(exact=exact))
    assert (verdict.outcome, verdict.entry) == (Outcome.HIT_EXACT, "x")
    verdict = decide(having(exact=exact, policy=policy(mode=Mode.SHADOW)))
    assert (verdict.outcome, verdict.entry, verdict.shadow) == (Outcome.MISS, "x", True)
    assert not verdict.store


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"near": (replace(NEAR, namespace="other"),)}, "identity"),
        ({"near": (replace(NEAR, fingerprint="other"),)}, "fingerprint"),
        ({"near": (replace(NEAR, similarity=0.89),)}, "threshold"),
        ({"near": (replace(NEAR, similarity=float("nan")),)}, "threshold"),
        ({"near": (replace(NEAR, stored=-9_999.0),)}, "age"),
        ({"near": (replace(NEAR, stored=101.0),)}, "age"),
        ({"near": (replace(NEAR, question="How do I reset my router?"),)}, "verifier"),
        ({"near": (replace(NEAR, question="How do I not reset my password?"),)}, "guard"),
        ({"client_threshold": 0.98}, "threshold"),
        ({"budget_threshold": 0.98}, "threshold"),
        ({"eligibility": Eligibility(Tier.EXACT, True, ("tools",))}, "exact only"),
        ({"eligibility": Eligibility(Tier.SEMANTIC, True, max_age=5)}, "age"),
        ({"policy": policy(caching=Tier.EXACT)}, "exact only"),
    ],
)
def test_one_thing_against_it_is_a_miss_that_says_so(changes: dict[str, Any], rule: str) -> None:
    verdict = decide(having(**changes))
    assert verdict.outcome is Outcome.MISS
    assert verdict.entry is None
    assert verdict.store
    assert rule in rules(having(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"namespace": None},
        {"policy": policy(mode=Mode.OFF)},
        {"eligibility": Eligibility(Tier.BYPASS, False, ("several choices",))},
    ],
)
def test_what_may_not_be_looked_up_bypasses(changes: dict[str, Any]) -> None:
    exact = replace(NEAR, similarity=None)
    verdict = decide(having(exact=exact, **changes))
    assert (verdict.outcome, verdict.entry) == (Outcome.BYPASS, None)
    assert not verdict.store


@pytest.mark.parametrize(
    "changes",
    [
        {"policy": policy(mode=Mode.SHADOW)},
        {"economical": False},
        {"policy": policy(budget_signed=False)},
    ],
)
def test_in_shadow_a_hit_is_counted_and_forwarded(changes: dict[str, Any]) -> None:
    verdict = decide(having(**changes))
    assert (verdict.outcome, verdict.shadow, verdict.entry) == (Outcome.MISS, True, "e")
    assert verdict.store
    assert "shadow" in rules(having(**changes))


def test_labels_that_show_the_budget_end_the_shadow() -> None:
    shown = having(policy=policy(budget_signed=False), budget_threshold=0.9)
    assert decide(shown).outcome is Outcome.HIT_SEMANTIC


def test_load_relaxes_the_threshold_but_not_the_guard() -> None:
    relaxed = policy(adaptation=Adaptation(relax=0.1))
    low = replace(NEAR, similarity=0.85)
    assert decide(having(policy=relaxed, near=(low,), load=0.0)).outcome is Outcome.MISS
    assert decide(having(policy=relaxed, near=(low,), load=1.0)).outcome is Outcome.HIT_SEMANTIC
    trap = replace(low, question="How do I not reset my password?")
    assert decide(having(policy=relaxed, near=(trap,), load=1.0)).outcome is Outcome.MISS


def test_the_next_candidate_is_tried() -> None:
    trap = replace(NEAR, id="trap", question="How do I reset my router?", similarity=0.99)
    assert decide(having(near=(trap, NEAR))).entry == "e"


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.floats(-1, 1)), max_size=6),
    st.floats(0, 1),
)
def test_nothing_of_another_namespace_or_context_is_served(
    found: list[tuple[str, str, float]], load: float
) -> None:
    near = tuple(
        Candidate(str(at), namespace, fingerprint, "How do I reset my password?", 99.0, similarity)
        for at, (namespace, fingerprint, similarity) in enumerate(found)
    )
    relaxed = policy(adaptation=Adaptation(1.0), floor=0.0)
    verdict = decide(having(near=near, namespace="a", fingerprint="x", load=load, policy=relaxed))
    if verdict.entry is not None:
        assert found[int(verdict.entry)][:2] == ("a", "x")
    told = {reason.entry for reason in verdict.reasons}
    assert not told & {str(at) for at, each in enumerate(found) if each[0] == "b"}


def test_a_second_category_tightens_in_everything_and_loosens_in_nothing() -> None:
    adaptive = Adaptation(0.1, 4.0)
    mine = policy(threshold=0.8, ttl=60.0, ttl_max=90.0, adaptation=adaptive, budget_signed=False)
    other = Policy("law", Mode.SHADOW, Tier.EXACT, 0.95, 0.9, 3_600.0, 80.0, budget_signed=True)
    expected = Policy("docs", Mode.SHADOW, Tier.EXACT, 0.95, 0.9, 60.0, 80.0)
    assert tightened(mine, other) == expected
    assert tightened(mine, mine) == mine
