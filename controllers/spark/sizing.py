"""How large waiting applications are, and which pods that makes.

Used by the Spark controller. A SparkApplication says it itself; of a bare driver the executors
stand in a ConfigMap that spark-submit makes after the pod, read once and only for those that are
nearly next.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import msgspec
from msgspec.structs import replace

from controllers.spark.acting import Hands
from fairstow.api import Reason
from fairstow.cluster import wire
from fairstow.cluster.live import LiveCluster
from fairstow.cluster.model import Shape
from fairstow.cluster.quantity import CPU
from fairstow.cluster.requests import PODS
from fairstow.cluster.shapes import read_shape
from fairstow.kube.problems import ApiError
from fairstow.spark.applications import Application
from fairstow.spark.room import Demand
from fairstow.spark.sizes import Size, of_application, of_arguments, of_driver

MOST_READ = 30
"""Of the applications that are next, how many are read at once."""
PATIENCE = 60
"""Seconds after which a driver whose settings never came is taken to have none."""
_AGAIN_SECONDS = 3.0
_REFUSED_SECONDS = 10.0
"""Until a namespace that refused is asked again: its applications mustn't take others' turns."""
_EVERYWHERE = "spark.kubernetes.node.selector."
_EXECUTORS = "spark.kubernetes.executor.node.selector."


class Sizes:
    """See the module."""

    def __init__(self, hands: Hands, cluster: LiveCluster) -> None:
        self._hands, self._cluster = hands, cluster
        self._settings: dict[str, dict[str, str]] = {}
        self._cached: dict[str, tuple[object, Size]] = {}
        self._asked: dict[str, float] = {}
        self._refused: dict[str, float] = {}
        self.problems: dict[str, Reason] = {}

    def size(self, app: Application) -> Size:
        """Return an application's size; as Spark's defaults would have it where it isn't known."""
        # There may be ten thousand; a record that changed is another one.
        made_of = app.app or (app.driver and app.driver.uid, app.id in self._settings)
        found = self._cached.get(app.id)
        if found is None or found[0] != made_of:
            found = self._cached[app.id] = made_of, self._read(app)
        return found[1]

    def _read(self, app: Application) -> Size:
        if app.app is not None:
            return of_application(app.app.spec)
        driver = app.driver
        if driver is None:
            return of_driver(0, {})
        settings = self._settings.get(app.id, {}) | of_arguments(driver.arguments)
        return of_driver(driver.cores, settings)

    def known(self, app: Application) -> bool:
        """Whether the size is what the application itself says."""
        return app.app is not None or app.id in self._settings

    async def read(self, next_ones: Iterable[Application], now: float) -> bool:
        """Read the settings of drivers that are next and unknown; return whether some were."""
        known = len(self._settings)
        unknown = (each for each in next_ones if not self.known(each) and self._may_ask(each, now))
        for app in islice(unknown, MOST_READ):
            driver = app.driver
            self._asked[app.id] = now
            if driver is None:
                continue
            try:
                name = driver.properties
                found = await self._hands.settings(app.namespace, name) if name else {}
            except ApiError as error:
                if error.status != 403:
                    raise
                self.problems[app.id] = Reason.NOT_PERMITTED
                self._refused[app.namespace] = now
                continue
            if found is None and now - app.created < PATIENCE:
                self.problems[app.id] = Reason.PROPERTIES_UNKNOWN
                continue
            self.problems.pop(app.id, None)
            self._settings[app.id] = found or {}
        return len(self._settings) > known

    def _may_ask(self, app: Application, now: float) -> bool:
        never = float("-inf")
        if now - self._refused.get(app.namespace, never) < _REFUSED_SECONDS:
            self.problems[app.id] = Reason.NOT_PERMITTED
            return False
        return now - self._asked.get(app.id, never) >= _AGAIN_SECONDS

    def forget(self, there: Iterable[Application]) -> None:
        """Forget applications that are gone."""
        ids = {app.id for app in there}
        for gone in self._cached.keys() - ids:
            del self._cached[gone]
            self._settings.pop(gone, None)
            self._asked.pop(gone, None)
            self.problems.pop(gone, None)

    def demand(self, app: Application, *, missing: bool = False) -> Demand:
        """Return the pods that are let go together. Args: missing: those without a node alone."""
        size, driver = self.size(app), app.driver
        bound = sum(not pod.driver and bool(pod.node) and not pod.over for pod in app.pods)
        at_home = driver is not None and bool(driver.node)
        first = max(size.first - bound, 0) if missing else size.first
        shape = self._driver(app, size)
        drivers = 0 if missing and at_home else 1
        return ((shape, drivers), (self._executor(app, size, shape), first))

    def _driver(self, app: Application, size: Size) -> Shape:
        pod = self._cluster.pod(app.driver.uid) if app.driver else None
        if pod is not None:
            return pod.shape
        spec = app.app.spec if app.app is not None else {}
        return _shape(spec, "driver", size.driver_milli, size.driver_memory)

    def _executor(self, app: Application, size: Size, driver: Shape) -> Shape:
        if app.app is not None:
            return _shape(app.app.spec, "executor", size.executor_milli, size.executor_memory)
        settings = self._settings.get(app.id, {})
        selector = {
            key.removeprefix(prefix): value
            for prefix in (_EVERYWHERE, _EXECUTORS)
            for key, value in settings.items()
            if key.startswith(prefix)
        }
        requests = {CPU: size.executor_milli, "memory": size.executor_memory, PODS: 1}
        return replace(
            driver,
            requests=tuple(sorted(requests.items())),
            node_selector=tuple(sorted(selector.items())),
        )


def _shape(spec: object, part: str, milli: int, memory: int) -> Shape:
    """Return the shape of a SparkApplication's driver or executor."""
    whole = spec if isinstance(spec, dict) else {}
    its = whole.get(part) or {}
    raw = {
        "metadata": {"name": part, "namespace": "default"},
        "spec": {
            "nodeSelector": {
                **(whole.get("nodeSelector") or {}),
                **(its.get("nodeSelector") or {}),
            },
            "tolerations": its.get("tolerations") or [],
            "affinity": {"nodeAffinity": (its.get("affinity") or {}).get("nodeAffinity")},
            "containers": [
                {
                    "name": part,
                    "resources": {"requests": {"cpu": f"{milli}m", "memory": str(memory)}},
                }
            ],
        },
    }
    return read_shape(msgspec.convert(raw, wire.Pod), lambda part: part)
