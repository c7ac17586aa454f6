"""What a decision costs with many jobs queued: one arrives, one ends, and who is next."""

from __future__ import annotations

import random
import time
from statistics import median
from typing import Any

from fairstow.spark.fair_queueing import FairQueue, Job


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


def _job(rng: random.Random, number: int, users: int) -> Job:
    return Job(str(number), f"user-{rng.randrange(users)}", rng.lognormvariate(6, 2))
