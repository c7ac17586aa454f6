"""The oracle itself: fluid sharing by hand-worked cases and by what must hold of any sharing.

Covered: equal and weighted shares, jobs within a user, caps and where what they leave goes,
conservation; the same as job by job (`plain_fluid`). Not covered: stages, which it takes as one on
purpose.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairstow.spark.fluid import filled, fluid_finishes
from fairstow.spark.workload import Work, even
from tests.spark import plain_fluid
from tests.spark.drawing import works


def job(
    name: str, user: str, core_s: float, tasks: int = 1, at: float = 0, weight: float = 1
) -> Work:
    return Work(name, at, user, (even(core_s, tasks),), weight)


def ends(*jobs: Work, cores: float, capped: bool = False) -> dict[str, float]:
    found = fluid_finishes(jobs, cores, capped=capped)
    return {name: round(finish.at, 6) for name, finish in found.items()}


def test_users_share_alike_and_so_do_a_users_jobs() -> None:
    # a's two jobs get a quarter of 4 cores each; b gets half until it is done at 4.
    assert ends(job("a1", "a", 4), job("a2", "a", 8), job("b", "b", 8), cores=4) == {
        "a1": 4.0,
        "b": 4.0,
        "a2": 5.0,
    }


def test_shares_are_by_weight() -> None:
    assert ends(job("a", "a", 9, weight=3), job("b", "b", 9), cores=4) == {"a": 3.0, "b": 4.5}


def test_what_a_capped_job_leaves_goes_to_its_user_first() -> None:
    jobs = (job("a1", "a", 2, 1), job("a2", "a", 6, 6), job("b", "b", 8, 8))
    assert ends(*jobs, cores=8, capped=True) == {"a1": 2.0, "a2": 2.0, "b": 2.0}


def test_what_a_capped_user_leaves_goes_to_others() -> None:
    jobs = (job("a", "a", 2, 1), job("b", "b", 14, 14))
    assert ends(*jobs, cores=8, capped=True) == {"a": 2.0, "b": 2.0}


def test_virtual_time_runs_by_the_weights_that_are_active() -> None:
    found = fluid_finishes([job("a", "a", 2), job("b", "b", 4)], 2, capped=False)
    assert found["a"].virtual == pytest.approx(2.0)
    assert found["b"].virtual == pytest.approx(4.0)


@given(works(), st.integers(1, 8), st.booleans())
def test_arrays_say_what_going_job_by_job_says(drawn: list[Work], cores: int, capped: bool) -> None:
    found = fluid_finishes(drawn, cores, capped=capped)
    plain = plain_fluid.fluid_finishes(drawn, cores, capped=capped)
    assert found.keys() == plain.keys()
    for name, finish in plain.items():
        assert found[name].at == pytest.approx(finish.at, rel=1e-9, abs=1e-9)
        if not capped:
            assert found[name].virtual == pytest.approx(finish.virtual, rel=1e-9, abs=1e-9)


@given(works(), st.integers(1, 8))
def test_no_core_second_is_lost_or_made(drawn: list[Work], cores: int) -> None:
    together = [Work(w.id, 0.0, w.user, w.stages, w.weight) for w in drawn]
    total = sum(w.core_s for w in drawn)
    free = fluid_finishes(together, cores, capped=False)
    capped = fluid_finishes(together, cores, capped=True)
    assert max(end.at for end in free.values()) == pytest.approx(total / cores)
    assert max(end.at for end in capped.values()) >= total / cores - 1e-6
    for work in together:
        assert capped[work.id].at >= work.longest_task - 1e-6


@given(
    st.floats(0.1, 100),
    st.lists(st.tuples(st.floats(0.1, 8), st.floats(0.1, 50)), min_size=1, max_size=8),
)
def test_filling_is_max_min(amount: float, parts: list[tuple[float, float]]) -> None:
    weights, caps = [w for w, _ in parts], [c for _, c in parts]
    shares = [float(share) for share in filled(amount, np.array(weights), np.array(caps))]
    assert shares == pytest.approx(plain_fluid.filled(amount, weights, caps))
    assert sum(shares) == pytest.approx(min(amount, sum(caps)))
    level = max(share / weight for share, weight in zip(shares, weights, strict=True))
    for share, weight, cap in zip(shares, weights, caps, strict=True):
        assert share <= cap
        assert share == pytest.approx(cap) or share / weight == pytest.approx(level)
