"""Caps of an application's executors, as its queue's limit allows; set once, when it is made.

Called by `queueing`. In cores: driver + executors · cores of one ≤ maxCoresPerApplication.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import floor

from fairstow.api import SparkQueue
from fairstow.cluster.quantity import parse
from fairstow.cluster.review import Json
from fairstow.spark.names import EXECUTOR_CORES

MAX_EXECUTORS = "spark.dynamicAllocation.maxExecutors"


def executors_allowed(queue: SparkQueue, driver_milli: int, executor_milli: int) -> int:
    """Return how many executors the queue's limits leave an application, one at least."""
    limits = (queue.spec.max_cores_per_application, queue.spec.max_cores_per_user)
    most = min(each for each in (*limits, queue.spec.cores) if each is not None)
    left = most * 1000 - driver_milli
    return max(1, floor(left / max(executor_milli, 1)))


def driver_caps(pod: Json, queue: SparkQueue) -> Mapping[str, str]:
    """Return the settings that a bare driver is given.

    Its executors' cores stand in a ConfigMap that is made after the pod: they are taken from the
    annotation fairstow.dev/executor-cores, for one core each where that is missing. A queue that
    limits nobody sets nothing: the user's own number, which may be less, isn't known yet either.
    """
    if (queue.spec.max_cores_per_application, queue.spec.max_cores_per_user) == (None, None):
        return {}
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    executor = milli(annotations.get(EXECUTOR_CORES), 1000)
    driver = sum(
        milli(((each.get("resources") or {}).get("requests") or {}).get("cpu"), 0)
        for each in pod["spec"].get("containers") or ()
    )
    return {MAX_EXECUTORS: str(executors_allowed(queue, driver, executor))}


def application_caps(application: Json, queue: SparkQueue) -> tuple[Json, ...]:
    """Return the patch that caps a SparkApplication's dynamic allocation."""
    spec = application.get("spec") or {}
    dynamic = spec.get("dynamicAllocation") or {}
    if not dynamic.get("enabled"):
        return ()
    most = executors_allowed(queue, cores(spec, "driver"), cores(spec, "executor"))
    if (dynamic.get("maxExecutors") or most + 1) <= most:
        return ()
    return ({"op": "add", "path": "/spec/dynamicAllocation/maxExecutors", "value": most},)


def cores(spec: Json, part: str) -> int:
    """Return what a SparkApplication's driver or executor asks for, in milli-CPU."""
    its = spec.get(part) or {}
    return milli(its.get("coreRequest") or its.get("cores"), 1000)


def milli(amount: object, default: int) -> int:
    """Return a number of cores in milli-CPU; the default where it isn't one."""
    try:
        return parse("cpu", str(amount)) if amount is not None else default
    except ValueError:
        return default
