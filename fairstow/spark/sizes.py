"""How large a Spark application is: its driver, its executors, how many of them it begins with.

Called by the Spark controller, of a bare driver's settings or of a SparkApplication. Source: Spark
3.5 and 4.x on Kubernetes (spark.executor.*, spark.dynamicAllocation.*, KubernetesConf), kubeflow's
SparkApplication v1beta2. Defaults are Spark's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from fairstow.cluster.quantity import parse

Json = Mapping[str, Any]

MIB = 1 << 20
_LEAST_OVERHEAD = 384 * MIB
_MOST_BYTES = 1 << 60
"""What no node has, and Kubernetes can still write."""
_OVERHEAD = {True: 0.1, False: 0.4}
"""By whether it runs on the JVM alone: Python and R need memory beside it."""
_UNITS = {"": MIB, "b": 1, "k": 1 << 10, "m": MIB, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}


@dataclass(frozen=True, kw_only=True)
class Size:
    """Amounts in milli-CPU and bytes.

    Attributes:
        first: executors that it has to have to begin, at least one: they are let go with the
            driver, since a driver without executors only holds room.
        most: executors that it may have at most.
    """

    driver_milli: int
    executor_milli: int
    executor_memory: int
    first: int
    most: int
    driver_memory: int = 0

    @property
    def first_milli(self) -> int:
        """What is let go together."""
        return self.driver_milli + self.first * self.executor_milli


def properties(text: str) -> dict[str, str]:
    """Return the settings of a spark.properties file (java.util.Properties, one a line)."""
    found = {}
    for line in text.splitlines():
        if not line.strip() or line.lstrip()[0] in "#!":
            continue
        key, _, value = re.sub(r"(?<!\\)[=:]", "\0", line.strip(), count=1).partition("\0")
        found[_plain(key.strip())] = _plain(value.strip())
    return found


def of_arguments(arguments: Iterable[str]) -> dict[str, str]:
    """Return what `--conf` arguments set; they win over the file."""
    pairs = (value for option, value in pairwise(arguments) if option in ("--conf", "-c"))
    return {key: value for key, _, value in (each.partition("=") for each in pairs)}


def of_driver(driver_milli: int, settings: Mapping[str, str]) -> Size:
    """Return the size of an application whose driver's pod is there."""
    executor = settings.get("spark.kubernetes.executor.request.cores") or settings.get(
        "spark.executor.cores", "1"
    )
    first, most = _executors(settings)
    jvm = settings.get("spark.kubernetes.resource.type", "java") == "java"
    heap = _bytes(settings.get("spark.executor.memory", "1g"))
    return Size(
        driver_milli=driver_milli,
        executor_milli=_milli(executor),
        executor_memory=heap + _overhead(settings, "spark.executor.memoryOverhead", heap, jvm),
        first=first,
        most=most,
    )


def of_application(spec: Json) -> Size:
    """Return the size of a SparkApplication by its spec."""
    driver, executor = spec.get("driver") or {}, spec.get("executor") or {}
    settings = {key: str(value) for key, value in (spec.get("sparkConf") or {}).items()}
    dynamic = spec.get("dynamicAllocation") or {}
    if "instances" in executor:
        settings["spark.executor.instances"] = str(executor["instances"])
    for key in ("enabled", "initialExecutors", "minExecutors", "maxExecutors"):
        if dynamic.get(key) is not None:
            settings[f"spark.dynamicAllocation.{key}"] = str(dynamic[key]).lower()
    first, most = _executors(settings)
    jvm = spec.get("type") in (None, "Java", "Scala")
    memory = {
        part: _bytes(str(its.get("memory") or "1g")) for part, its in
        (("driver", driver), ("executor", executor))
    }  # fmt: skip
    more = {
        part: _bytes(str(its["memoryOverhead"])) if its.get("memoryOverhead") else
        max(int(memory[part] * _OVERHEAD[jvm]), _LEAST_OVERHEAD)
        for part, its in (("driver", driver), ("executor", executor))
    }  # fmt: skip
    return Size(
        driver_milli=_milli(driver.get("coreRequest") or driver.get("cores") or 1),
        driver_memory=memory["driver"] + more["driver"],
        executor_milli=_milli(executor.get("coreRequest") or executor.get("cores") or 1),
        executor_memory=memory["executor"] + more["executor"],
        first=first,
        most=most,
    )


def _executors(settings: Mapping[str, str]) -> tuple[int, int]:
    def number(key: str, default: int) -> int:
        try:
            return int(settings.get(key, default))
        except ValueError:
            return default

    if settings.get("spark.dynamicAllocation.enabled", "false").lower() != "true":
        instances = max(number("spark.executor.instances", 2), 1)
        return instances, instances
    least = max(number("spark.dynamicAllocation.minExecutors", 0), 1)
    return least, max(number("spark.dynamicAllocation.maxExecutors", 1 << 30), least)


def _overhead(settings: Mapping[str, str], key: str, heap: int, jvm: bool) -> int:
    if given := settings.get(key):
        return _bytes(given)
    try:
        factor = float(settings.get(f"{key}Factor", _OVERHEAD[jvm]))
    except ValueError:
        factor = _OVERHEAD[jvm]
    return max(int(heap * factor), _LEAST_OVERHEAD)


def _milli(cores: object) -> int:
    try:
        return parse("cpu", str(cores))
    except ValueError:
        return 1000


def _bytes(text: str) -> int:
    """Return an amount as Spark writes it: 4g, 512m; a bare number is in MiB."""
    match = re.fullmatch(r"([0-9]{1,12})([bkmgtp]?)(?:i?b)?", text.strip().lower())
    return min(int(match[1]) * _UNITS[match[2]], _MOST_BYTES) if match else 1 << 30


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
