"""What applications have really used, in core-seconds: their pods' cores over the pods' lives.

Kept by the Spark controller. A pod that is gone counts until it was last seen; what was used before
this program began is told once (`resume`), so that nothing is charged twice or forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fairstow.spark.applications import Application
from fairstow.spark.pods import SparkPod

_NONE: Mapping[str, SparkPod] = {}


class Usage:
    """See the module."""

    def __init__(self) -> None:
        self._gone: dict[str, float] = {}
        self._there: dict[str, Mapping[str, SparkPod]] = {}
        self._served: dict[str, float] = {}

    def resume(self, application: str, served: float) -> None:
        """Say what an application had used when a predecessor last looked."""
        self._served.setdefault(application, served)

    def look(self, now: float, applications: Iterable[Application]) -> None:
        """Take in all applications as they are now; those that are gone are forgotten."""
        seen = {each.id: each for each in applications}
        for app in [app for app in self._there if app not in seen]:
            del self._there[app]
            self._gone.pop(app, None)
            self._served.pop(app, None)
        for app, each in seen.items():
            # One without a node has used nothing yet: ten thousand may wait.
            pods = {pod.uid: pod for pod in each.pods if pod.started is not None} or _NONE
            for uid, pod in self._there.get(app, _NONE).items():
                if uid not in pods:
                    self._gone[app] = self._gone.get(app, 0.0) + pod.used(now)
            self._there[app] = pods
            used = self._gone.get(app, 0.0) + sum(pod.used(now) for pod in pods.values())
            before = self._served.get(app, 0.0)
            if app not in self._gone and before > used:
                # Pods that ended before this program began.
                self._gone[app] = before - used
                used = before
            self._served[app] = max(used, before)

    def of(self, application: str) -> float:
        """Return what an application has used so far."""
        return self._served.get(application, 0.0)
