"""Whether a category's semantic tier pays, and when it switches itself off.

A look-up costs T_embed + T_search, whether it hits or not; a hit saves T_llm − T_fetch. With hit
rate h the mean request is faster where

    h (T_llm − T_fetch) > T_embed + T_search,   so   h* = (T_embed + T_search) / (T_llm − T_fetch).

(arXiv 2510.26835 §4; there T_search is 2 ms in memory against 30 ms in an external store, which
takes h* from 15–20 % to 3–5 %.) h is measured over a window that forgets: counts are multiplied by
1 − 1/`MEMORY` at every look-up. Off where h < h*·(1 − `BAND`), on again where h > h*·(1 + `BAND`),
after `LEAST` look-ups either way. While off, every `PROBE`th request is looked up in shadow, so
that h goes on being measured. Called by the sidecar, which tells `decision`.
"""

from __future__ import annotations

import msgspec

MEMORY = 1_000.0
LEAST = 200
BAND = 0.2
PROBE = 20
"""One in so many requests is looked up while off."""


class Times(msgspec.Struct, frozen=True):
    """Mean seconds of each part, as measured."""

    embed: float
    search: float
    fetch: float
    upstream: float


class Economics(msgspec.Struct, frozen=True):
    """A category's look-ups, with forgetting; `since` counts them since the last switch."""

    lookups: float = 0.0
    hits: float = 0.0
    since: int = 0
    off: bool = False

    @property
    def rate(self) -> float:
        """H."""
        return self.hits / self.lookups if self.lookups else 0.0


def break_even(times: Times) -> float:
    """Return h*; above 1 where no hit rate pays, infinite where a hit saves nothing."""
    saved = times.upstream - times.fetch
    return (times.embed + times.search) / saved if saved > 0 else float("inf")


def looked_up(state: Economics, hit: bool, times: Times) -> Economics:
    """Return the state after a look-up, real or probing."""
    kept = 1 - 1 / MEMORY
    counted = Economics(
        state.lookups * kept + 1, state.hits * kept + hit, state.since + 1, state.off
    )
    if counted.since < LEAST:
        return counted
    at = break_even(times)
    pays, fails = counted.rate > at * (1 + BAND), counted.rate < at * (1 - BAND)
    switch = pays if counted.off else fails
    return msgspec.structs.replace(counted, off=not counted.off, since=0) if switch else counted


def probes(state: Economics, request: int) -> bool:
    """Whether the request of this number is looked up in shadow while the tier is off."""
    return state.off and request % PROBE == 0


def reason(state: Economics, times: Times) -> str:
    """Return what a condition says."""
    at = break_even(times)
    shown = "no hit rate would pay" if at > 1 else f"break-even {100 * at:.1f} %"
    where = "under" if state.off else "over"
    return f"{'Off' if state.off else 'On'}: hit rate {100 * state.rate:.1f} % {where} {shown}"
