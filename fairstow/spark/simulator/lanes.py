"""A run in virtual time: when each job came, began, ended and was due by UWFQ's clock.

Called by who draws lanes (`fairstow.report.spark`). In virtual time a user's lane fills at the pace
of its weight, so a job that ends left of its due date had at least its share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairstow.spark.fair_queueing import FairQueue, Job
from fairstow.spark.simulator.run import Result
from fairstow.spark.workload import Work


@dataclass(frozen=True)
class Lane:
    """One job, in core-s for each unit of weight. Attributes: due: its virtual finish."""

    job: str
    user: str
    came: float
    began: float
    ended: float
    due: float


def lanes(works: Sequence[Work], cores: int, result: Result) -> list[Lane]:
    """Return all jobs in virtual time, whatever policy they ran under."""
    queue = FairQueue(cores)
    came: dict[str, float] = {}
    began: dict[str, float] = {}
    ended: dict[str, float] = {}
    moments = [(result.submits[work.id], 0, work) for work in works]
    moments += [(result.starts[work.id], 1, work) for work in works]
    moments += [(result.ends[work.id], 2, work) for work in works]
    for at, what, work in sorted(moments, key=lambda moment: moment[:2]):
        queue.advance(at)
        if what == 0:
            queue.arrive(at, Job(work.id, work.user, work.core_s), work.weight)
        (came, began, ended)[what][work.id] = queue.virtual
    return [
        Lane(w.id, w.user, came[w.id], began[w.id], ended[w.id], queue.virtual_finish(w.id))
        for w in works
    ]
