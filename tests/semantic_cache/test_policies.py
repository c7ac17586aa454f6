"""Load, error budget, economics, quotas, categories: each against its own derivation.

Covered: thresholds never under floor, budget or the client's; hysteresis; the anytime bound holds
along whole streams with its confidence; few labels show nothing; drift is found; break-even and
switching off; who is evicted; who chooses a category. Not covered: figures over 1,000 seeds
(benchmarks.cache_budget), labelling (the sidecar).
"""

import math
import random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fairstow.semantic_cache import economics, error_budget, quotas, thresholds
from fairstow.semantic_cache.categories import Category, Examples, choose
from fairstow.semantic_cache.economics import Economics, Times
from fairstow.semantic_cache.error_budget import Budget, Evidence, Judge, Labels
from fairstow.semantic_cache.quotas import Held
from fairstow.semantic_cache.thresholds import Adaptation, Load

SHARE = st.floats(0, 1)


@given(SHARE, SHARE, SHARE, SHARE, SHARE, st.none() | SHARE)
def test_load_only_relaxes_above_floor_budget_and_client(
    at: float, floor: float, budget: float, relax: float, load: float, client: float | None
) -> None:
    how = Adaptation(relax)
    found = thresholds.threshold(
        at, floor=floor, budget=budget, adaptation=how, load=load, client=client
    )
    assert found >= max(floor, budget, client or 0.0)
    assert found <= max(at, floor, budget, client or 0.0)


def test_load_has_hysteresis_and_forgets() -> None:
    load = thresholds.observe(Load(), 0.4, 0.0)
    assert load.effective == 0
    load = thresholds.observe(load, 1.0, 60.0)
    assert load.effective > 0.9
    load = thresholds.observe(load, 0.35, 600.0)
    assert load.relaxing
    load = thresholds.observe(load, 0.0, 700.0)
    assert load.effective == 0
    assert thresholds.observe(load, math.nan, 701.0).smoothed <= load.smoothed
    assert thresholds.observe(load, 1.0, 1.0).smoothed == load.smoothed  # the clock went back


def test_lifetimes() -> None:
    how = Adaptation(ttl_factor=3)
    assert thresholds.lifetime(100, longest=250, adaptation=how, load=0) == 100
    assert thresholds.lifetime(100, longest=250, adaptation=how, load=1) == 250
    assert 90 <= thresholds.jittered(100, "8" * 64) <= 100


def test_the_bound_holds_at_every_moment_of_a_stream() -> None:
    rate, alpha, missed = 0.05, 0.1, 0
    for seed in range(20):
        chance, wrong = random.Random(seed), 0
        for n in range(1, 301):
            wrong += chance.random() < rate
            if error_budget.upper(n, wrong, alpha) < rate:
                missed += 1
                break
    assert missed / 20 <= alpha


def test_the_bound_needs_labels() -> None:
    assert error_budget.upper(0, 0, 0.05) == 1
    assert error_budget.upper(186, 0, 0.05) > 0.02 >= error_budget.upper(187, 0, 0.05)
    assert error_budget.upper(5, 5, 0.05) == pytest.approx(1)


def labelled(n: int, wrong: int, budget: Budget, similarity: float = 0.99) -> Evidence:
    evidence = Evidence.none(budget)
    for at in range(n):
        evidence = error_budget.label(evidence, budget, similarity, at < wrong)
    return evidence


def test_a_threshold_is_open_once_its_labels_show_it() -> None:
    budget = Budget()
    assert error_budget.least_threshold(labelled(100, 0, budget), budget) is None
    assert error_budget.least_threshold(labelled(600, 0, budget), budget) == 0.8
    assert error_budget.least_threshold(labelled(600, 0, budget, 0.86), budget) == 0.8
    assert error_budget.least_threshold(labelled(600, 0, budget, 0.5), budget) is None
    hopeless = Budget(judge=Judge(0.5, 0.5))
    assert error_budget.least_threshold(labelled(600, 0, hopeless), hopeless) is None


@example(15, 14, 1.0)
@given(st.integers(0, 1_999), st.integers(0, 60), st.sampled_from([1.0, 0.01]))
def test_a_threshold_is_open_exactly_where_its_bound_keeps_the_budget(
    hits: int, wrong: int, before: float
) -> None:
    budget = Budget(grid=(0.9,), judge=Judge(0.005, 0.1))
    evidence = Evidence((Labels(hits, min(wrong, hits), before),))
    kept = error_budget.bounds(evidence, budget)[0] <= budget.share
    assert (error_budget.least_threshold(evidence, budget) == 0.9) is kept


def test_drift_closes_it_again_and_is_found_soon() -> None:
    budget = Budget(grid=(0.9,))
    evidence = labelled(600, 0, budget)
    chance = random.Random(1)
    seen = 0
    while error_budget.least_threshold(evidence, budget) is not None:
        evidence = error_budget.label(evidence, budget, 0.95, chance.random() < 0.25)
        seen += 1
    assert seen < 150
    alarmed = error_budget.label(Evidence((Labels(drift=1e9),)), budget, 1.0, True)
    assert alarmed.labels == (Labels(alarmed=True),)


TIMES = Times(embed=0.010, search=0.002, fetch=0.005, upstream=0.405)


def test_break_even_is_where_time_saved_is_time_spent() -> None:
    at = economics.break_even(TIMES)
    assert at == pytest.approx(0.03)
    assert at * (TIMES.upstream - TIMES.fetch) == pytest.approx(TIMES.embed + TIMES.search)
    assert economics.break_even(Times(0.01, 0.01, 0.5, 0.4)) == math.inf


def test_a_tier_that_does_not_pay_switches_off_and_on_again() -> None:
    state = Economics()
    for _ in range(economics.LEAST - 1):
        state = economics.looked_up(state, False, TIMES)
    assert not state.off
    state = economics.looked_up(state, False, TIMES)
    assert state.off
    assert economics.reason(state, TIMES) == "Off: hit rate 0.0 % under break-even 3.0 %"
    assert sum(economics.probes(state, number) for number in range(100)) == 5
    for at in range(economics.LEAST):
        state = economics.looked_up(state, at % 5 == 0, TIMES)
    assert not state.off


def held(name: str, **more: float | int | str) -> Held:
    facts = {"priority": 0, "stored": 0.0, "expires": 1e9, "hits": 0, "saved": 1.0} | more
    return Held(id=name, **facts)  # type: ignore[arg-type]


def test_the_expired_go_first_then_low_priority_then_low_value() -> None:
    entries = [
        held("old", expires=5, hits=99),
        held("low", priority=-1, hits=99),
        held("idle"),
        held("busy", hits=50),
    ]
    assert quotas.evicted(entries, 4, now=10, threshold=0.9) == ("old",)
    assert quotas.evicted(entries, 2, now=10, threshold=0.9) == ("low", "old")
    assert quotas.evicted(entries, 1, now=10, threshold=0.9) == ("idle", "low", "old")


def test_of_two_duplicates_one_stays() -> None:
    twins = [held("a", hits=9, nearest=1.0, nearest_id="b"),
             held("b", hits=8, nearest=1.0, nearest_id="a"), held("c", hits=1)]  # fmt: skip
    assert quotas.evicted(twins, 2, now=10, threshold=0.9) in (("a",), ("b",))
    assert quotas.evicted(twins, 1, now=10, threshold=0.9)[-1] == "c"


CATEGORIES = {
    each.name: each
    for each in (
        Category("code", 0.9, code=True),
        Category("chat", 0.75, ("hello",)),
        Category("legal", 0.95, ("contract",)),
    )
}


def test_the_first_rule_that_knows_decides() -> None:
    def of(text: str, **more: str | bool) -> tuple[str, str]:
        found = choose(text, CATEGORIES, **more)  # type: ignore[arg-type]
        return found.category, found.by

    assert of("a contract", mapped="chat") == ("chat", "mapping")
    assert of("```x```") == ("code", "structure")
    assert of("hello, is this contract fine") == ("legal", "keywords")
    assert of("who knows") == ("legal", "default")
    assert of("hello there") == ("chat", "keywords")


def test_neighbours_vote_and_a_split_vote_is_no_answer() -> None:
    vectors = np.eye(4, dtype=np.float32)[[0] * 8 + [1] * 8]
    examples = Examples(vectors, ["chat"] * 8 + ["code"] * 8)
    clear = np.array([1, 0, 0, 0], np.float32)
    split = np.array([0.7, 0.7, 0, 0], np.float32)
    assert choose("x", CATEGORIES, examples=examples, vector=clear).category == "chat"
    even = Examples(vectors[[0, 0, 0, 0, 0, 8, 8, 8, 8, 8]], ["chat"] * 5 + ["code"] * 5)
    assert choose("x", CATEGORIES, examples=even, vector=split).by == "default"


def test_a_label_says_nothing_of_thresholds_under_the_one_that_found_it() -> None:
    budget = Budget(grid=(0.8, 0.9))
    evidence = Evidence.none(budget)
    for _ in range(600):
        evidence = error_budget.label(evidence, budget, 0.95, False, at=0.9)
    assert [labels.hits for labels in evidence.labels] == [0, 600]
    assert error_budget.least_threshold(evidence, budget) == 0.9


def test_a_word_holds_until_labels_refute_it() -> None:
    budget = Budget(grid=(0.8, 0.9))
    assert error_budget.unrefuted(Evidence.none(budget), budget) == 0.8
    assert error_budget.unrefuted(labelled(600, 0, budget), budget) == 0.8
    few = labelled(10, 1, budget)
    assert error_budget.unrefuted(few, budget) == 0.8
    assert error_budget.unrefuted(labelled(200, 40, budget), budget) is None
    assert error_budget.unrefuted(labelled(200, 40, budget, 0.85), budget) == 0.9


def test_who_was_alarmed_has_to_show_the_budget_again() -> None:
    budget = Budget(grid=(0.9,))
    evidence = Evidence((Labels(drift=1e9),))
    evidence = error_budget.label(evidence, budget, 1.0, True)
    assert error_budget.unrefuted(evidence, budget) is None
    for _ in range(100):
        evidence = error_budget.label(evidence, budget, 1.0, False)
    assert error_budget.unrefuted(evidence, budget) is None
    for _ in range(500):
        evidence = error_budget.label(evidence, budget, 1.0, False)
    assert error_budget.unrefuted(evidence, budget) == 0.9


def test_a_true_rate_within_the_budget_is_seldom_refuted() -> None:
    budget, refuted = Budget(grid=(0.9,)), 0
    chance = random.Random(5)
    for _ in range(100):
        evidence = Evidence.none(budget)
        for _ in range(300):
            evidence = error_budget.label(evidence, budget, 0.95, chance.random() < budget.share)
            if error_budget.unrefuted(evidence, budget) is None:
                refuted += 1
                break
    assert refuted <= 10
