"""A closed loop: users who think and ask, a cache, a model with so many slots and a queue.

    think ~ Exp(THINK), service ~ Exp(SERVICE), a hit takes HIT seconds; first come, first served

Each request is one side of a pair of questions, popular ones more often (Zipf); every pair stands
for `COPIES` that know nothing of each other, so that most questions are new. The cache answers
by the sidecar's own rules: exact, else the other side if it is fresh, near enough under load
(`thresholds`), and guard and verifier don't object, which was asked once for each pair. Load is
what the sidecar would see: the p95 of the last hundred times to the first byte within a minute.
Called by `__main__`.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from fairstow.semantic_cache.thresholds import (
    Adaptation,
    Load,
    from_latency,
    lifetime,
    observe,
    threshold,
)

THINK, SERVICE, HIT = 4.0, 1.0, 0.02
FIRST_BYTE = 0.1
SLOTS = 8
COPIES, ZIPF = 30, 0.8
IDLE, OVERLOADED = 0.3, 3.0
THRESHOLD, FLOOR, TTL, TTL_MAX = 0.9, 0.7, 120.0, 3_600.0
_LATENCIES, _FORGOTTEN = 100, 60.0


@dataclass(frozen=True)
class Pair:
    """Two questions: their similarity, whether one answer is right for both, what is thought."""

    similarity: float
    same: bool
    accepted: bool


@dataclass
class Seen:
    """What happened after the warm-up."""

    requests: int = 0
    exact: int = 0
    semantic: int = 0
    wrong: int = 0
    latencies: list[float] = field(default_factory=list)


class Loop:
    """One run. Args: users: how many; adaptation: of the cache's only category."""

    def __init__(
        self, pairs: Sequence[Pair], users: int, adaptation: Adaptation, seed: int
    ) -> None:
        self._pairs = pairs
        self._adaptation = adaptation
        self._random = random.Random(seed)
        self._order = list(range(COPIES * len(pairs)))
        self._random.shuffle(self._order)
        weights = (1 / (rank + 5) ** ZIPF for rank in range(len(self._order)))
        self._weights = list(accumulate(weights))
        self._stored: dict[tuple[int, int], float] = {}
        self._events: list[tuple[float, int, str, tuple[float, int, int]]] = []
        self._number = 0
        self._busy = 0
        self._queue: deque[tuple[float, int, int]] = deque()
        self._firsts: deque[tuple[float, float]] = deque(maxlen=_LATENCIES)
        self._load = Load()
        for _ in range(users):
            self._think(0.0)

    def run(self, seconds: float, warm: float) -> Seen:
        """Return what happened between `warm` and `seconds`."""
        seen = Seen()
        while self._events[0][0] < seconds:
            now, _, kind, about = heapq.heappop(self._events)
            if kind == "ask":
                self._ask(now, seen if now >= warm else Seen())
            else:
                began, pair, side = about
                self._busy -= 1
                self._stored[pair, side] = now
                if began >= warm:
                    seen.latencies.append(now - began)
                self._think(now)
                if self._queue:
                    self._serve(now, self._queue.popleft())
        return seen

    def _ask(self, now: float, seen: Seen) -> None:
        rank = self._random.choices(range(len(self._order)), cum_weights=self._weights)[0]
        pair, side = self._order[rank], self._random.randrange(2)
        seen.requests += 1
        hit = self._looked_up(now, pair, side)
        if hit == "":
            if self._busy < SLOTS:
                self._serve(now, (now, pair, side))
            else:
                self._queue.append((now, pair, side))
            return
        seen.exact += hit == "exact"
        seen.semantic += hit == "semantic"
        seen.wrong += hit == "semantic" and not self._pairs[pair % len(self._pairs)].same
        seen.latencies.append(HIT)
        self._think(now + HIT)

    def _looked_up(self, now: float, pair: int, side: int) -> str:
        load = self._loaded(now)
        lasts = lifetime(TTL, longest=TTL_MAX, adaptation=self._adaptation, load=load)
        if self._fresh(now, pair, side, lasts):
            return "exact"
        at = threshold(THRESHOLD, floor=FLOOR, budget=-1.0, adaptation=self._adaptation, load=load)
        known = self._pairs[pair % len(self._pairs)]
        near = known.similarity >= at and known.accepted
        return "semantic" if near and self._fresh(now, pair, 1 - side, lasts) else ""

    def _fresh(self, now: float, pair: int, side: int, lasts: float) -> bool:
        stored = self._stored.get((pair, side))
        return stored is not None and now - stored <= lasts

    def _loaded(self, now: float) -> float:
        lately = sorted(took for at, took in self._firsts if now - at <= _FORGOTTEN)
        p95 = lately[min(len(lately) - 1, len(lately) * 95 // 100)] if lately else 0.0
        self._load = observe(self._load, from_latency(p95, IDLE, OVERLOADED), now)
        return self._load.effective

    def _serve(self, now: float, about: tuple[float, int, int]) -> None:
        self._busy += 1
        self._firsts.append((now + FIRST_BYTE, now + FIRST_BYTE - about[0]))
        self._push(now + self._random.expovariate(1 / SERVICE), "done", about)

    def _think(self, now: float) -> None:
        self._push(now + self._random.expovariate(1 / THINK), "ask", (0.0, 0, 0))

    def _push(self, at: float, kind: str, about: tuple[float, int, int]) -> None:
        self._number += 1
        heapq.heappush(self._events, (at, self._number, kind, about))
