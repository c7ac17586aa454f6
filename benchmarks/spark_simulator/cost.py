"""What a decision costs with many jobs queued: the order, who goes, and all that may be told."""

from __future__ import annotations

import random
import time
from statistics import median
from typing import Any

from fairstow.api import SparkQueueSpec
from fairstow.spark.admission import decide
from fairstow.spark.fair_queueing import FairQueue, Job
from fairstow.spark.line import Busy, Waiting


def decisions(queued: int, users: int, rounds: int = 50) -> dict[str, Any]:
    """Return milliseconds of CPU time of each, the median and the most of some rounds."""
    rng = random.Random(0)
    queue = FairQueue(1000)
    for number in range(queued):
        queue.arrive(number / 100, _job(rng, number, users))
    now, took = queued / 100, []
    for number in range(queued, queued + rounds):
        now += 0.1
        begun = time.process_time()
        queue.arrive(now, _job(rng, number, users))
        first, _ = queue.order()[0]
        queue.finish(now, first, queue.work(first) * rng.uniform(0.5, 2))
        took.append((time.process_time() - begun) * 1000)
    return {
        "queued": queued,
        "users": users,
        "median_ms": round(median(took), 2),
        "most_ms": round(max(took), 2),
    }


def turns(queued: int, users: int, rounds: int = 20) -> dict[str, Any]:
    """Return milliseconds of CPU time of one queue's turn while nothing can be let go.

    median_ms, most_ms: who goes and why the others don't. told_ms: that, and each one's position
    and expected start (the operator tells a hundred a turn).
    """
    rng = random.Random(0)
    waiting = [
        Waiting(
            id=str(number),
            user=f"user-{rng.randrange(users)}",
            first=rng.choice([2_000, 5_000, 9_000]),
            low=100.0,
            high=5_000.0,
            slack=rng.uniform(0, 10_000),
        )
        for number in range(queued)
    ]
    busy = [
        Busy(id=f"busy-{number}", user="user-0", milli=5_000, low=10.0, high=1_000.0)
        for number in range(200)
    ]
    took, told = [], []
    for _ in range(rounds):
        begun = time.process_time()
        decision = decide(SparkQueueSpec(cores=1_000), waiting, busy, lambda _: True)
        took.append((time.process_time() - begun) * 1000)
        for place in decision.line.places:
            decision.line.timed(place)
        told.append((time.process_time() - begun) * 1000)
    return {
        "queued": queued,
        "users": users,
        "told_ms": round(median(told), 2),
        "median_ms": round(median(took), 2),
        "most_ms": round(max(took), 2),
    }


def _job(rng: random.Random, number: int, users: int) -> Job:
    return Job(str(number), f"user-{rng.randrange(users)}", rng.lognormvariate(6, 2))
