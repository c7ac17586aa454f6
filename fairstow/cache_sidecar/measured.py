"""What the sidecar measures of itself and its upstream: times, economics, load.

Means are exponential, over about `MEMORY` samples. Load is what the upstream last said of itself in
the header that the owner names, else what its p95 says, else 0. Filled and read by `memory`, `app`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fairstow.cache_sidecar import metrics
from fairstow.cache_sidecar.configuration import LoadSpec
from fairstow.semantic_cache import economics
from fairstow.semantic_cache.economics import Economics, Times
from fairstow.semantic_cache.thresholds import Load, from_latency, observe

MEMORY = 100
LATENCIES = 100
FORGOTTEN = 60.0
"""Seconds after which what was seen of the upstream says nothing about its load."""


class Measured:
    """See the module."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._means: dict[str, float] = {}
        self._economies: dict[str, Economics] = {}
        self._asked: dict[str, int] = {}
        self._firsts: deque[tuple[float, float]] = deque(maxlen=LATENCIES)
        self._load = Load()
        self._told: tuple[float, float] | None = None
        self._source = ""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a part of a look-up."""
        began = self._clock()
        yield
        self.took(name, self._clock() - began)

    def took(self, name: str, seconds: float) -> None:
        """Count a part's time."""
        metrics.STAGE.labels(name).observe(seconds)
        before = self._means.get(name, seconds)
        self._means[name] = before + (seconds - before) / MEMORY

    def first_byte(self, seconds: float) -> None:
        """Count how long the upstream took to its first byte."""
        self._firsts.append((self._clock(), seconds))

    def told(self, load: str) -> None:
        """Take what the upstream says of its load; what is no number says nothing."""
        try:
            self._told = (self._clock(), float(load))
        except ValueError:
            return

    def times(self) -> Times:
        """Return the means."""
        mean = self._means.get
        return Times(
            mean("embed", 0.0), mean("search", 0.0), mean("fetch", 0.0), mean("upstream", 0.0)
        )

    def economy(self, category: str) -> Economics:
        """Return a category's."""
        return self._economies.get(category, Economics())

    def probes(self, category: str) -> bool:
        """Whether this look-up is one of the few while the tier is off."""
        number = self._asked[category] = self._asked.get(category, 0) + 1
        return economics.probes(self.economy(category), number)

    def looked_up(self, category: str, hit: bool) -> None:
        """Count a semantic look-up."""
        times = self.times()
        if times.upstream <= 0:
            return  # nothing is known yet of what a hit saves
        state = economics.looked_up(self.economy(category), hit, times)
        self._economies[category] = state
        metrics.HIT_RATE.labels(category).set(state.rate)
        metrics.BREAK_EVEN.labels(category).set(economics.break_even(times))

    def load(self, spec: LoadSpec | None) -> float:
        """Return λ_eff now."""
        if spec is None:
            self._source = ""
            return 0.0
        now = self._clock()
        sample = self._sample(spec, now)
        self._load = observe(self._load, sample, now)
        metrics.LOAD.set(self._load.smoothed)
        return self._load.effective

    @property
    def load_source(self) -> str:
        """Where load was last taken from: the upstream's word ("Told"), its "Latency", or ""."""
        return self._source

    def _sample(self, spec: LoadSpec, now: float) -> float:
        self._source, sample = self._sampled(spec, now)
        return sample

    def _sampled(self, spec: LoadSpec, now: float) -> tuple[str, float]:
        if spec.header is not None and self._told is not None:
            at, load = self._told
            if now - at <= FORGOTTEN:
                return "Told", load
        lately = sorted(seconds for at, seconds in self._firsts if now - at <= FORGOTTEN)
        if spec.idle_seconds is None or spec.overloaded_seconds is None or not lately:
            return "", 0.0
        p95 = lately[min(len(lately) - 1, len(lately) * 95 // 100)]
        return "Latency", from_latency(p95, spec.idle_seconds, spec.overloaded_seconds)
