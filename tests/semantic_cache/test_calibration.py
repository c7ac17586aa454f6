"""Bounds, and the threshold that calibration chooses.

Covered: Clopper–Pearson against its defining equation and textbook values; that the operating point
serves most within the rate; that an assured threshold breaks its rate no more often than confidence
allows, although it is chosen; shares by category; odd sets of pairs. Not
covered: embeddings (tests/cache_sidecar), the command (tests/cli).
"""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairstow.semantic_cache.bounds import lower, upper
from fairstow.semantic_cache.calibration import Scored, calibrate


def test_bounds_known_from_tables() -> None:
    assert upper(0, 149, 0.95) == pytest.approx(1 - 0.05 ** (1 / 149))
    assert upper(2, 10, 0.975) == pytest.approx(0.5561, abs=1e-4)
    assert lower(2, 10, 0.975) == pytest.approx(0.0252, abs=1e-4)
    assert upper(0, 0, 0.95) == 1
    assert lower(0, 7, 0.95) == pytest.approx(0)


@given(st.integers(0, 40), st.integers(1, 40), st.floats(0.6, 0.99))
def test_the_bound_solves_its_equation(hits: int, more: int, confidence: float) -> None:
    trials = hits + more
    at = upper(hits, trials, confidence)
    tail = sum(math.comb(trials, k) * at**k * (1 - at) ** (trials - k) for k in range(hits + 1))
    assert tail == pytest.approx(1 - confidence, abs=1e-6)


def scored(similarity: float, same: bool, passes: bool = True, category: str = "c") -> Scored:
    return Scored(category, same, similarity, passes)


def test_the_point_serves_most_within_the_rate() -> None:
    pairs = [scored(0.9, True), scored(0.8, True), scored(0.7, True), scored(0.6, True)]
    pairs += [scored(0.75, False), *(scored(0.3, False) for _ in range(3))]
    strict = calibrate(pairs, wrong=0.0, confidence=0.95).operating_point
    assert strict is not None
    assert (strict.threshold_permille, strict.served, strict.wrong) == (800, 0.5, 0.0)
    loose = calibrate(pairs, wrong=0.25, confidence=0.95).operating_point
    assert loose is not None
    assert (loose.threshold_permille, loose.served, loose.wrong) == (600, 1.0, 0.25)
    assert loose.wrong_per_hit == 1 / 5


def test_what_guard_or_verifier_refuse_is_never_served() -> None:
    found = calibrate([scored(1.0, True, passes=False)] * 5, wrong=0.0, confidence=0.95)
    assert all(at.hits == 0 for at in found.curve)


def test_a_rate_is_assured_by_enough_traps_only() -> None:
    for traps, assured in ((148, False), (149, True)):
        pairs = [scored(0.9, True), *(scored(0.1, False) for _ in range(traps))]
        assert calibrate(pairs, wrong=0.02, confidence=0.95).assured is assured
    assert not calibrate([scored(0.9, True)], wrong=0.02, confidence=0.95).assured


def test_an_assured_threshold_keeps_its_rate_where_it_was_not_chosen() -> None:
    chance, broken, assured = random.Random(7), 0, 0
    target = 0.05
    for _ in range(120):
        # A trap passes with chance 0.3 and lies anywhere: τ's true rate is 0.3 (1 − τ).
        traps = [scored(chance.random(), False, chance.random() < 0.3) for _ in range(200)]
        pairs = [*(scored(chance.random(), True) for _ in range(50)), *traps]
        found = calibrate(pairs, wrong=target, confidence=0.9).assured_point
        if found is not None:
            assured += 1
            broken += 0.3 * (1 - found.threshold_permille / 1_000) > target
    assert assured == 120  # τ = 1 serves none of these
    assert broken <= 120 * 0.1 + 3 * math.sqrt(120 * 0.1 * 0.9)


def test_an_operating_point_that_is_not_assured_has_an_assured_one_beside() -> None:
    pairs = [scored(0.95, True), scored(0.85, True), *(scored(0.1, False) for _ in range(195))]
    pairs += [scored(0.87, False)] * 3
    found = calibrate(pairs, wrong=0.02, confidence=0.95)
    assert found.operating_point is not None
    assert found.assured_point is not None
    assert found.operating_point.threshold_permille == 850
    assert not found.assured
    assert found.assured_point.threshold_permille == 950
    assert found.operating_point.wrong_per_hit_upper == upper(3, 5, 0.95)


def test_pairs_of_one_kind_or_without_vectors_have_no_shares_that_nobody_counted() -> None:
    for pairs in (
        [scored(0.9, False)] * 3,
        [scored(0.9, True)] * 3,
        [Scored("c", True, None, False)],
    ):
        found = calibrate(pairs, wrong=0.0, confidence=0.95)
        assert found.operating_point is not None
        assert (found.operating_point.wrong is None) == (found.traps == 0)
        assert (found.operating_point.served is None) == (found.same_answer == 0)


def test_many_pairs_of_as_many_categories() -> None:
    pairs = [scored(at / 2e4, at % 3 == 0, category=str(at)) for at in range(20_000)]
    found = calibrate(pairs, wrong=0.02, confidence=0.95)
    assert len(found.by_category) == 20_000
    assert found.assured_point is not None
    assert found.operating_point is not None
    assert found.assured_point.threshold_permille >= found.operating_point.threshold_permille == 990


def test_categories_are_shown_at_the_point() -> None:
    pairs = [scored(0.9, True, category="x"), scored(0.2, False, category="y")]
    found = calibrate(pairs, wrong=0.0, confidence=0.95).by_category
    assert (found["x"].served, found["x"].wrong) == (1.0, None)
    assert (found["y"].served, found["y"].wrong) == (None, 0.0)
