"""How near is near enough, and how old is too old, under load.

    λ̄ ← λ̄ + (1 − e^(−Δt/T)) (λ − λ̄)                    load, smoothed over T seconds
    λ_eff = λ̄ while relaxing, else 0;  relaxing from λ̄ ≥ ON until λ̄ < OFF   (hysteresis)
    τ_eff   = max(floor, τ_budget, τ − λ_eff · relax)
    TTL_eff = min(TTL_max, TTL · (1 + λ_eff · (factor − 1)))

τ_budget is what the error budget allows (`error_budget`): load never relaxes under it. A client's
own threshold only tightens. Guard and verifier know no load. An entry expires at a time fixed when
it is stored, its TTL shortened by up to `JITTER` so that entries stored together don't expire
together; TTL_eff may then let it live longer, counted from the same moment.
Source: arXiv 2510.26835 §5, re-derived. Called by `decision`.
"""

from __future__ import annotations

import math

import msgspec

SMOOTHED_OVER = 30.0
"""Seconds."""
ON, OFF = 0.5, 0.3
JITTER = 0.1


class Load(msgspec.Struct, frozen=True):
    """The load of the model behind, as it is known at a time (seconds of a monotonic clock)."""

    smoothed: float = 0.0
    relaxing: bool = False
    at: float | None = None

    @property
    def effective(self) -> float:
        """λ_eff."""
        return self.smoothed if self.relaxing else 0.0


class Adaptation(msgspec.Struct, frozen=True):
    """How far load may relax a category."""

    relax: float = 0.0
    ttl_factor: float = 1.0


def observe(load: Load, sample: float, now: float) -> Load:
    """Return the load after a sample in [0, 1]; one that is no number is taken as idle."""
    sample = min(1.0, max(0.0, sample)) if math.isfinite(sample) else 0.0
    elapsed = 0.0 if load.at is None else max(0.0, now - load.at)
    share = 1.0 if load.at is None else -math.expm1(-elapsed / SMOOTHED_OVER)
    smoothed = load.smoothed + share * (sample - load.smoothed)
    relaxing = smoothed >= (OFF if load.relaxing else ON)
    return Load(smoothed, relaxing, max(now, load.at or now))


def from_latency(p95: float, idle: float, overloaded: float) -> float:
    """Return λ where only the upstream's latency is known: 0 at `idle` seconds, 1 at the other."""
    if not overloaded > idle or not math.isfinite(p95):
        return 0.0
    return min(1.0, max(0.0, (p95 - idle) / (overloaded - idle)))


def threshold(
    category: float,
    *,
    floor: float,
    budget: float,
    adaptation: Adaptation,
    load: float,
    client: float | None = None,
) -> float:
    """Return τ_eff; all are cosines."""
    relaxed = category - load * max(0.0, adaptation.relax)
    return max(floor, budget, relaxed, -1.0 if client is None else client)


def lifetime(ttl: float, *, longest: float, adaptation: Adaptation, load: float) -> float:
    """Return TTL_eff in seconds."""
    return min(longest, ttl * (1 + load * (max(1.0, adaptation.ttl_factor) - 1)))


def jittered(ttl: float, key: str) -> float:
    """Return the lifetime of an entry, from its key, a SHA-256 in hexadecimal."""
    return ttl * (1 - JITTER * int(key[:8], 16) / 0xFFFFFFFF)
