"""Figures of a run: latencies of requests, prefills and decode steps.

Called by the command line and benchmarks. As in Llumnix (OSDI'24) §6: a request's latency is from
arrival to last token, its prefill's to the first, its decode's the time per token after the first.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fairstow.serving.simulator.instance import Served
from fairstow.serving.simulator.run import Result


def outcome(result: Result) -> dict[str, Any]:
    """Return a run's figures, overall and by priority; seconds, JSON as it is printed."""
    priorities = sorted({served.view.priority for served in result.served})
    return {
        **figures(result.served),
        "preemptions": result.preemptions,
        "migrations": sum(served.migrations for served in result.served),
        "requeued": result.requeued,
        "pauses": result.pauses,
        "instanceSeconds": round(result.instance_seconds, 3),
        "byPriority": {
            str(priority): figures([s for s in result.served if s.view.priority == priority])
            for priority in priorities
        },
    }


def figures(served: Sequence[Served]) -> dict[str, Any]:
    """Return the figures of some requests."""
    whole = [s.finished - s.arrival.at for s in served]
    prefill = [s.first - s.arrival.at for s in served]
    decode = [
        (s.finished - s.first) / (s.arrival.output - 1) for s in served if s.arrival.output > 1
    ]
    moved = [s.downtime / s.migrations for s in served if s.migrations]
    return {
        "requests": len(served),
        "request": _spread(whole),
        "prefill": _spread(prefill),
        "decode": _spread(decode),
        "preemptionLoss_s": _rounded(np.mean([s.waited for s in served])) if served else None,
        "downtime": _spread(moved),
    }


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    if not values:
        return {"mean_s": None, "p50_s": None, "p99_s": None}
    middle, high = np.percentile(values, (50, 99))
    return {"mean_s": _rounded(np.mean(values)), "p50_s": _rounded(middle), "p99_s": _rounded(high)}


def _rounded(value: float | np.floating[Any]) -> float:
    return round(float(value), 6)
