"""What is played: a slice of Google's 2011 trace, and two made of power, large and small users.

The slice ("hetero") comes from the folder that FAIRSTOW_DATA names: 125 jobs of 27 users within
500 s; a job's core-seconds are 1.5 · resource · run time (9,583 in all, 60 % of 32 cores). Seed 0
is the trace as it is; others shake it: submits by up to a second, tasks by a lognormal of 0.3.
"""

from __future__ import annotations

import csv
import random
from pathlib import Path

from fairstow.spark.workload import Work, even

CORES = 32
SMALL = 26.9
LARGE = 131.0
STOCK_TASKS = 32
"""Tasks of a job that nobody partitions: as many as cores."""
SLICE = Path("spark/google2011_slice_hetero.csv")


def hetero(data: Path, seed: int) -> list[Work]:
    """Return the slice of the trace."""
    found: dict[str, tuple[float, str, list[float]]] = {}
    with (data / SLICE).open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            submit, user = float(row["ts_submit_seconds"]), row["user_id"]
            _, _, tasks = found.setdefault(row["workflow_id"], (submit, user, []))
            tasks.append(1.5 * float(row["resource_run_time"]) / 1000)
    first = min(submit for submit, _, _ in found.values())
    rng = random.Random(seed)
    return [
        Work(
            job,
            submit - first + (rng.random() if seed else 0.0),
            user,
            (tuple(task * (rng.lognormvariate(0, 0.3) if seed else 1.0) for task in tasks),),
        )
        for job, (submit, user, tasks) in found.items()
    ]


def power(data: Path, seed: int) -> list[Work]:
    """Two users with 20 jobs at 0, 30, 60 and 90 s, two with 12 in all, 8 a minute by Poisson."""
    del data
    jobs = [
        _job(f"{user}-{at}-{number}", at, user)
        for at in (0, 30, 60, 90)
        for user in ("power-1", "power-2")
        for number in range(20)
    ]
    return jobs + _small(seed, count=12, a_minute=8)


def large(data: Path, seed: int) -> list[Work]:
    """Two users with four large jobs one after the other, two with 6 small, 15 a minute."""
    del data
    jobs = []
    for user in ("large-1", "large-2"):
        for number in range(4):
            after = f"{user}-{number - 1}" if number else ""
            stage = even(LARGE, STOCK_TASKS)
            jobs.append(Work(f"{user}-{number}", 0.0, user, (stage,), after=after))
    return jobs + _small(seed, count=6, a_minute=15)


def _small(seed: int, *, count: int, a_minute: float) -> list[Work]:
    rng, jobs = random.Random(seed), []
    for user in ("small-1", "small-2"):
        at = 0.0
        for number in range(count):
            at += rng.expovariate(a_minute / 60)
            jobs.append(_job(f"{user}-{number}", at, user))
    return jobs


def _job(name: str, at: float, user: str) -> Work:
    return Work(name, at, user, (even(SMALL, STOCK_TASKS),))


SCENARIOS = {"hetero": hetero, "power": power, "large": large}
