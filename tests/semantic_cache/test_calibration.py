"""Bounds, and the threshold that calibration chooses.

Covered: Clopper–Pearson against its defining equation and textbook values; that the operating point
serves most within the rate; shares by category; that there is nothing to say without traps. Not
covered: embeddings (tests/cache_sidecar), the command (tests/cli).
"""

import math

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


def test_categories_are_shown_at_the_point() -> None:
    pairs = [scored(0.9, True, category="x"), scored(0.2, False, category="y")]
    found = calibrate(pairs, wrong=0.0, confidence=0.95).by_category
    assert (found["x"].served, found["x"].wrong) == (1.0, None)
    assert (found["y"].served, found["y"].wrong) == (None, 0.0)
