"""Runtime partitioning: tasks of about one length, so that no long task holds up who is next.

After arXiv 2510.15485, section 4. Called by who configures Spark sessions (the plugin has the same
formulas), and by the simulator. Given L core-s of work that read `scanned` bytes, a target run
time per task (ATR, 0.5 s) and R cores, it is cut into n tasks:

    n = max(⌈L / ATR⌉, min(R, ⌊L / 0.1 s⌋))
    bytes of a read's partition scanned / n, of a shuffle's shuffled / n, at least n of each

The second part is ours: cut by ATR alone, a job of L < R·ATR leaves cores idle that it could have,
though stock Spark would give it all. R = 0 stands for cores that nobody knows, and leaves it out.

The fixed costs of a task bound it from below: no partition is under 64 KiB, no stage of more than
`MOST_TASKS`. Spark ignores these as options of one read: they are settings of a session.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil, floor
from typing import Final

from fairstow.spark.workload import Work, even

TARGET_S: Final = 0.5
LEAST_S: Final = 0.1
"""No task is made shorter than this to keep another core busy; starting one costs about 10 ms."""
MOST_TASKS: Final = 10_000
_LEAST_BYTES = 64 * 1024


def tasks_of(work: float, target_s: float = TARGET_S, cores: int = 0) -> int:
    """Return into how many tasks work of so many core-s is cut; cores: 0 where nobody knows."""
    for_cores = min(cores, floor(work / LEAST_S + 1e-9))
    return min(max(ceil(work / target_s - 1e-9), for_cores, 1), MOST_TASKS)


def session_settings(
    work: float, scanned: int, shuffled: int = 0, target_s: float = TARGET_S, cores: int = 0
) -> dict[str, str]:
    """Return Spark SQL's settings for a session whose next job is expected to be this.

    Args:
        work: core-s; settings are left alone where it is 0.
        scanned: bytes it reads from files.
        shuffled: bytes it writes to a shuffle, 0 where nobody knows.
        target_s: seconds that a task should take.
        cores: that it may run on, 0 where nobody knows.
    """
    if not (work > 0 and scanned > 0 and target_s > 0):
        return {}
    tasks = tasks_of(work, target_s, cores)
    found = {
        "spark.sql.files.maxPartitionBytes": str(max(ceil(scanned / tasks), _LEAST_BYTES)),
        "spark.sql.files.minPartitionNum": str(tasks),
        "spark.sql.files.openCostInBytes": "0",
    }
    if shuffled > 0:
        found |= {
            "spark.sql.adaptive.advisoryPartitionSizeInBytes": str(
                max(ceil(shuffled / tasks), _LEAST_BYTES)
            ),
            "spark.sql.adaptive.coalescePartitions.minPartitionNum": str(tasks),
            "spark.sql.adaptive.coalescePartitions.parallelismFirst": "false",
        }
    return found


def partitioned(work: Work, target_s: float = TARGET_S, cores: int = 0) -> Work:
    """Return the job with its stages cut into equal tasks of about the target."""
    stages = tuple(even(sum(stage), tasks_of(sum(stage), target_s, cores)) for stage in work.stages)
    return replace(work, stages=stages)
