"""Which tiers a request may use: semantic and exact, exact only, or none; and why not.

Everything here only tightens. A client says so by `Cache-Control` (RFC 9111): no-store and no-cache
bypass the look-up, no-store the storing as well, max-age bounds an entry's age, only-if-cached
forbids the upstream. By what it asks: several choices, forbidden fields → nothing; tools, pictures,
schemas, high temperature, long histories, unknown fields → exact only. An identical request by one
client within ten seconds at a temperature above 0 asks for another answer: it is a regeneration,
and bypasses. Called by `decision`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import msgspec

from fairstow.semantic_cache.canonical import Canonical

REGENERATED_WITHIN = 10.0
"""Seconds."""


_FORMS = (
    "tools", "functions", "web_search_options", "documents", "response_format", "text",
    "structured_outputs", "logprobs", "top_logprobs", "include", "prediction", "audio",
)  # fmt: skip
"""With these an answer is more, or other, than text about the question."""


class Tier(IntEnum):
    """How far a look-up may go; a larger one includes the smaller."""

    BYPASS = 0
    EXACT = 1
    SEMANTIC = 2


class Limits(msgspec.Struct, frozen=True):
    """What a policy allows to the semantic tier."""

    most_turns: int = 4
    most_temperature: float = 0.3
    default_temperature: float = 0.0
    longest_question: int = 2_000


class Control(msgspec.Struct, frozen=True):
    """`Cache-Control` as far as it concerns us; `max_age` in seconds."""

    look_up: bool = True
    store: bool = True
    max_age: float | None = None
    only_if_cached: bool = False


class Eligibility(msgspec.Struct, frozen=True):
    """The farthest tier, and each reason that it isn't a farther one."""

    tier: Tier
    store: bool
    reasons: tuple[str, ...] = ()
    max_age: float | None = None
    only_if_cached: bool = False


def control(header: str | None) -> Control:
    """Return what a `Cache-Control` header says; what isn't understood says nothing."""
    look_up, store, only, ages = True, True, False, []
    for directive in (header or "").lower().split(","):
        name, _, value = directive.strip().partition("=")
        if name == "no-store":
            look_up = store = False
        elif name == "no-cache":
            look_up = False
        elif name == "only-if-cached":
            only = True
        elif name == "max-age":
            digits = value.strip().strip('"')
            ages.append(float(digits) if digits.isascii() and digits.isdigit() else 0.0)
    return Control(look_up, store, min(ages, default=None), only)


def eligibility(
    request: Canonical,
    body: Mapping[str, Any],
    asked: Control,
    limits: Limits,
    *,
    seconds_since_same: float | None,
) -> Eligibility:
    """Return how far a look-up may go.

    Args:
        request: the body's canonical form.
        body: the body.
        asked: what the client's header says.
        limits: of the category.
        seconds_since_same: since the same client sent the same request; None if it never did.
    """
    temperature = body.get("temperature")
    if temperature is None:
        temperature = limits.default_temperature
    none = list(_bypassed(request, body))
    reasons = none[:]
    if not asked.look_up:
        reasons.append("Cache-Control")
    if _regenerated(temperature, seconds_since_same):
        reasons.append("asked again for another answer")
    if reasons:
        return Eligibility(Tier.BYPASS, asked.store and not none, tuple(reasons))
    exact = tuple(_exact_only(request, body, limits, temperature))
    tier = Tier.EXACT if exact else Tier.SEMANTIC
    return Eligibility(tier, asked.store, exact, asked.max_age, asked.only_if_cached)


def _regenerated(temperature: Any, seconds: float | None) -> bool:
    return seconds is not None and 0 <= seconds < REGENERATED_WITHIN and temperature != 0


def _bypassed(request: Canonical, body: Mapping[str, Any]) -> list[str]:
    reasons = [f"{name[:64]} is never cached" for name in request.forbidden]
    if any(body.get(name) not in (None, 1) for name in ("n", "best_of")):
        reasons.append("several choices")
    return reasons


def _exact_only(
    request: Canonical, body: Mapping[str, Any], limits: Limits, temperature: Any
) -> list[str]:
    reasons = [f"nobody has said what {name[:64]} does" for name in request.unknown]
    if request.question is None:
        reasons.append("no single question in text")
    elif len(request.question) > limits.longest_question:
        reasons.append("a long question")
    reasons += [f"{name} is set" for name in _FORMS if body.get(name)]
    if request.turns > limits.most_turns:
        reasons.append("a long history")
    if not isinstance(temperature, int | float) or temperature > limits.most_temperature:
        reasons.append("high temperature")
    return reasons
