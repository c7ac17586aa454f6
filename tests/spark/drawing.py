"""Workloads for tests of Spark's fair queueing: drawn by hypothesis, or by a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import strategies as st

from fairstow.spark.workload import Work, even

WEIGHTS = {"a": 1.0, "b": 2.0, "c": 1.0, "d": 4.0}

_jobs = st.tuples(
    st.integers(0, 40),
    st.sampled_from("abcd"),
    st.integers(1, 6),
    st.integers(1, 20),
)


def _works(drawn: list[tuple[int, str, int, int]], *, weighted: bool) -> list[Work]:
    return [
        Work(
            str(number),
            float(submit),
            user,
            (even(tasks * length / 4, tasks),),
            WEIGHTS[user] if weighted else 1.0,
        )
        for number, (submit, user, tasks, length) in enumerate(drawn)
    ]


def works(most: int = 16) -> st.SearchStrategy[list[Work]]:
    """Jobs of up to four weighted users, in quarters of a second, so ties are frequent."""
    drawn = st.lists(_jobs, min_size=1, max_size=most)
    return drawn.map(lambda found: _works(found, weighted=True))


def batches() -> st.SearchStrategy[list[Work]]:
    """As `works`, but each user submits all its jobs at once."""
    return st.tuples(works(), st.permutations([0.0, 1.0, 5.0, 20.0])).map(
        lambda drawn: [
            Work(w.id, drawn[1]["abcd".index(w.user)], w.user, w.stages, w.weight) for w in drawn[0]
        ]
    )


CASES = pytest.mark.parametrize("cases", [100, pytest.param(10_000, marks=pytest.mark.full)])
"""How many examples hypothesis tries."""


@dataclass(frozen=True)
class Ensemble:
    """A kind of workload. Attributes: load: of the cores, about."""

    users: int
    cores: int
    weighted: bool = False
    load: float = 1.0
    jobs: int = 100

    def draw(self, seed: int) -> list[Work]:
        """Jobs of tasks of up to 1 s, their number by Pareto's law; the first users submit most."""
        rng = random.Random(seed)
        weights = [rng.choice([1.0, 2.0, 4.0]) if self.weighted else 1.0 for _ in range(self.users)]
        drawn, at = [], 0.0
        for number in range(self.jobs):
            user = int(rng.random() ** 2 * self.users)
            tasks, length = min(800, int(6 * rng.paretovariate(1))), rng.uniform(0.1, 1)
            at += rng.expovariate(self.cores * self.load / 8.25)
            stage = tuple(rng.uniform(0.5, 1) * length for _ in range(tasks))
            drawn.append(Work(str(number), at, f"user-{user}", (stage,), weights[user]))
        return drawn


ENSEMBLES = (
    Ensemble(3, 32),
    Ensemble(8, 32),
    Ensemble(8, 32, weighted=True),
    Ensemble(3, 32, weighted=True),
    Ensemble(3, 8),
    Ensemble(8, 8, weighted=True),
)
