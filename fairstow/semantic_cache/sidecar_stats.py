"""What a sidecar tells of itself, on `GET /stats` of its admin port: counts, never what was asked.

Written by fairstow/cache_sidecar/admin.py; read by the cache controller and the command line, which
pass over fields that they don't know.
"""

from __future__ import annotations

import msgspec


class _Part(msgspec.Struct, frozen=True, rename="camel"):
    pass


class CategoryStats(_Part, frozen=True):
    """A category's; `semantic` says whether its tier pays.

    Attributes:
        lookups: of the semantic tier, the older the less they count.
        hit_rate: of those; in Shadow, of those that would have hit.
        requests, hits: all since the sidecar started, and those answered from memory.
        threshold: as it last was under load; None before the first look-up.
        labels, wrong: hits at its own threshold that were looked into lately.
        wrong_at_most: the share of wrong ones, an upper bound.
        budget: whether its error budget lets it serve, and from which similarity.
    """

    mode: str
    entries: int
    fullest_tenant: int
    quota: int
    lookups: float
    hit_rate: float
    break_even: float | None
    semantic: str
    requests: int = 0
    hits: int = 0
    threshold: float | None = None
    labels: int = 0
    wrong: int = 0
    wrong_at_most: float = 1.0
    budget: str = ""


class Stats(_Part, frozen=True):
    """All of it."""

    entries: int
    vectors: int
    load: float
    categories: dict[str, CategoryStats]
