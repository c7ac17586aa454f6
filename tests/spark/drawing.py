"""Workloads for tests of Spark's fair queueing: drawn by hypothesis, or by a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Ensemble:
    """A kind of workload. Attributes: load: of the cores; bursts: jobs come several at once."""

    users: int
    cores: int
    weighted: bool = False
    bursts: bool = False
    load: float = 0.95
    jobs: int = 60

    def draw(self, seed: int) -> list[Work]:
        """Jobs of 1 to 40 tasks of up to 1 s; the first users submit most."""
        rng = random.Random(seed)
        weights = [rng.choice([1.0, 2.0, 4.0]) if self.weighted else 1.0 for _ in range(self.users)]
        drawn, at = [], 0.0
        for number in range(self.jobs):
            user = int(rng.random() ** 2 * self.users)
            tasks, length = rng.randint(1, 40), rng.uniform(0.1, 1)
            if not self.bursts or rng.random() < 0.2:
                gap = 8.5 / self.cores / self.load * (5 if self.bursts else 1)
                at += rng.expovariate(1 / gap)
            stage = tuple(rng.uniform(0.5, 1) * length for _ in range(tasks))
            drawn.append(Work(str(number), at, f"user-{user}", (stage,), weights[user]))
        return drawn
