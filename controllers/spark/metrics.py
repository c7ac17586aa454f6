"""What the Spark controller counts, for Prometheus; reasons are words of `api.Reason`."""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import Counter, Gauge, Histogram

from fairstow.api import Reason, SparkQueueStatus
from fairstow.spark.applications import Application
from fairstow.spark.standings import Expected

_LONG = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 7 * 24 * 3600)
_FACTORS = (0.1, 0.25, 0.5, 0.8, 1, 1.25, 2, 4, 10)

APPLICATIONS = Gauge(
    "fairstow_spark_queue_applications",
    "Applications of a SparkQueue by state: waiting, running or missed by the webhook.",
    ("queue", "state"),
)
CORES = Gauge(
    "fairstow_spark_queue_cores",
    "Cores of a SparkQueue by state: total, used, and of those reserved or borrowed.",
    ("queue", "state"),
)
EXECUTORS_HELD = Gauge(
    "fairstow_spark_queue_held_executors",
    "Executors that wait until their SparkQueue has cores for them.",
    ("queue",),
)
LONGEST_WAIT = Gauge(
    "fairstow_spark_queue_longest_wait_seconds",
    "How long the application that waits longest has waited.",
    ("queue",),
)
SHARE = Gauge(
    "fairstow_spark_user_share_ratio",
    "A user's part of the cores in use; of the 50 users with the most.",
    ("queue", "user"),
)
ENTITLED = Gauge(
    "fairstow_spark_user_entitled_ratio",
    "The part that a user's weight gives them while those who are there want cores.",
    ("queue", "user"),
)
RELEASED = Counter(
    "fairstow_spark_released_total", "Applications that were let go, by why.", ("queue", "reason")
)
RECLAIMED = Counter(
    "fairstow_spark_reclaimed_total",
    "Executors on borrowed cores that were asked to end, by what became of it.",
    ("queue", "outcome"),
)
WAIT_SECONDS = Histogram(
    "fairstow_spark_wait_seconds",
    "Time from an application's creation until it was let go.",
    ("queue",),
    buckets=_LONG,
)
SLOWDOWN = Histogram(
    "fairstow_spark_slowdown_ratio",
    "Time from creation to end over the time since it was let go, of applications that ended.",
    ("queue",),
    buckets=(1, 1.1, 1.25, 1.5, 2, 4, 10, 50),
)
ESTIMATE_ERROR = Histogram(
    "fairstow_spark_estimate_ratio",
    "Work that applications really were over what they were expected to be.",
    ("queue",),
    buckets=_FACTORS,
)
VIOLATIONS = Counter(
    "fairstow_spark_due_total",
    "Applications that ended, by whether the queue's virtual time had passed their due by then.",
    ("queue", "user", "outcome"),
)
DECISION_SECONDS = Histogram(
    "fairstow_spark_decision_seconds",
    "Time to decide for one queue.",
    buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2),
)

_BY_QUEUE = (APPLICATIONS, CORES, EXECUTORS_HELD, LONGEST_WAIT, SHARE, ENTITLED)


@contextmanager
def decides() -> Iterator[None]:
    """Count the time as a decision's."""
    began = perf_counter()
    try:
        yield
    finally:
        DECISION_SECONDS.observe(perf_counter() - began)


def released(queue: str, reason: Reason, waited: float) -> None:
    """Count an application that was let go."""
    RELEASED.labels(queue, reason.value).inc()
    WAIT_SECONDS.labels(queue).observe(max(waited, 0.0))


def ended(
    queue: str, app: Application, served: float, expected: Expected, virtual: float, now: float
) -> None:
    """Count an application that ended."""
    if app.admitted is not None and now > app.admitted:
        SLOWDOWN.labels(queue).observe((now - app.created) / (now - app.admitted))
    if expected.work > 0 and served > 0:
        ESTIMATE_ERROR.labels(queue).observe(served / expected.work)
    if expected.due is not None:
        outcome = "late" if virtual > expected.due else "in time"
        VIOLATIONS.labels(queue, app.user, outcome).inc()


def show_queue(queue: str, cores: int, status: SparkQueueStatus, longest: float) -> None:
    """Set a queue's gauges."""
    APPLICATIONS.labels(queue, "waiting").set(status.waiting or 0)
    APPLICATIONS.labels(queue, "running").set(status.running or 0)
    APPLICATIONS.labels(queue, "missed").set(status.missed or 0)
    EXECUTORS_HELD.labels(queue).set(status.executors_held or 0)
    CORES.labels(queue, "total").set(cores)
    CORES.labels(queue, "used").set(status.cores_used or 0)
    CORES.labels(queue, "reserved").set(status.cores_reserved or 0)
    CORES.labels(queue, "borrowed").set(status.cores_borrowed or 0)
    LONGEST_WAIT.labels(queue).set(longest)
    there = {user.name for user in status.users}
    for gauge in (SHARE, ENTITLED):
        for labels in _labels(gauge):
            if labels[0] == queue and labels[1] not in there:
                gauge.remove(*labels)
    for user in status.users:
        SHARE.labels(queue, user.name).set(user.share_permille / 1000)
        ENTITLED.labels(queue, user.name).set(user.entitled_permille / 1000)


def forget_queues(there: Set[str]) -> None:
    """Drop the gauges of queues that are gone."""
    for gauge in _BY_QUEUE:
        for labels in _labels(gauge):
            if labels[0] not in there:
                gauge.remove(*labels)


def _labels(gauge: Gauge) -> list[tuple[str, ...]]:
    metric = next(iter(gauge.collect()))
    return [tuple(sample.labels.values()) for sample in metric.samples]
