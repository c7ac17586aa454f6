"""What a sidecar tells of itself, on `GET /stats` of its admin port: counts, never what was asked.

Written by fairstow/cache_sidecar/admin.py; read by the cache controller and the command line, which
pass over fields that they don't know.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
"""Both are judged on reading: a pod that only poses as a sidecar may say anything."""


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
    entries: Count
    fullest_tenant: Count
    quota: Count
    lookups: Annotated[float, msgspec.Meta(ge=0, le=1e12)]
    hit_rate: Share
    break_even: Share | None
    semantic: str
    requests: Count = 0
    hits: Count = 0
    threshold: Annotated[float, msgspec.Meta(ge=-1, le=1)] | None = None
    labels: Count = 0
    wrong: Count = 0
    wrong_at_most: Share = 1.0
    budget: str = ""


class Stats(_Part, frozen=True):
    """All of it.

    Attributes:
        load: by which thresholds are relaxed now: 0 while it is low.
        load_source: whose word that is: the upstream's ("Told"), its "Latency", or nobody's ("").
    """

    entries: Count
    vectors: Count
    load: Share
    categories: dict[str, CategoryStats]
    load_source: str = ""
