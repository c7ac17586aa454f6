"""Two power users and two small ones, the published micro workload for 2 cores and in less time.

Published (arXiv 2510.15485, 32 cores): two users with 20 jobs of 26.9 core-s at 0, 30, 60 and 90 s,
two with 12 such jobs each, 8 a minute by Poisson; a job alone takes 0.84 s. Here time is a quarter:
a job is four tasks of 0.1 s (0.2 s alone), the power users' come every 7.5 s, the small users' 32 a
minute each. Tasks sleep, so they hold a slot and nothing else.
"""

from __future__ import annotations

import random
from typing import Any

TASKS = 4
TASK_S = 0.1
APART_S = 7.5
BURST = 20
A_MINUTE = 32
# What comes last in the alphabet loses every tie among Spark's pools, so both ways are played.
POWER = ("power-1", "power-2")
SMALL = {"last": ("small-1", "small-2"), "first": ("a-small-1", "a-small-2")}

Job = dict[str, Any]


def jobs(seed: int, bursts: int, small: tuple[str, ...], *, pools: bool = False) -> list[Job]:
    """Return the jobs of a run; with `pools`, each in its user's pool."""
    found = [
        _job(f"{user}/{burst}-{number}", user, burst * APART_S, pools)
        for burst in range(bursts)
        for user in POWER
        for number in range(BURST)
    ]
    rng = random.Random(seed)
    for user in small:
        at = 0.0
        for number in range(3 * bursts):
            at += rng.expovariate(A_MINUTE / 60)
            found.append(_job(f"{user}/{number}", user, at, pools))
    return found


def warm(small: tuple[str, ...], *, pools: bool = False) -> list[Job]:
    """Return two jobs of each user, by which Spark starts what it needs and work is learned."""
    return [
        _job(f"{user}/warm-{number}", user, 1.5 * number, pools)
        for number in range(2)
        for user in (*POWER, *small)
    ]


def _job(name: str, user: str, at: float, pools: bool) -> Job:
    properties = {"fairstow.user": user, "fairstow.template": "micro"}
    if pools:
        properties["spark.scheduler.pool"] = user
    return {
        "name": name,
        "user": user,
        "at": at,
        "tasks": TASKS,
        "seconds": TASK_S,
        "properties": properties,
    }
