"""What the cache counts, for Prometheus; the admin port serves it.

Labels are categories of the owner's and words of our own: nothing that a client can invent.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

_STAGES = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 1.0, 10.0, 60.0)

LOOKUPS = Counter(
    "fairstow_cache_lookups_total",
    "Requests that might have been answered from the cache, by category, result (as the header "
    "x-cache; shadow: would have been a semantic hit) and the rule that decided last.",
    ["category", "result", "reason"],
    registry=REGISTRY,
)
FAILED_OPEN = Counter(
    "fairstow_cache_failed_open_total",
    "Look-ups that a fault or their deadline ended; the request was forwarded.",
    ["reason"],
    registry=REGISTRY,
)
STORED = Counter(
    "fairstow_cache_stored_total", "Answers that were kept.", ["category"], registry=REGISTRY
)
NOT_STORED = Counter(
    "fairstow_cache_not_stored_total",
    "Answers that might have been kept and weren't, and why.",
    ["reason"],
    registry=REGISTRY,
)
GONE = Counter(
    "fairstow_cache_removed_total",
    "Entries that were removed: expired, evicted, purged, complained, lost.",
    ["reason"],
    registry=REGISTRY,
)
UNKNOWN_CATEGORIES = Counter(
    "fairstow_cache_unknown_categories_total",
    "Categories, or values of the owner's header, that requests named and the configuration lacks; "
    "they change nothing.",
    ["named"],
    registry=REGISTRY,
)
SHARED = Counter(
    "fairstow_cache_shared_flights_total",
    "Requests that listened to another's answer while it came.",
    registry=REGISTRY,
)
SIMILARITY = Histogram(
    "fairstow_cache_similarity",
    "Of the nearest entry, or of the one served.",
    ["category"],
    buckets=(0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99, 1.0),
    registry=REGISTRY,
)
STAGE = Histogram(
    "fairstow_cache_stage_seconds",
    "Time of each part: embed, search, decide, fetch, upstream.",
    ["stage"],
    buckets=_STAGES,
    registry=REGISTRY,
)
LABELS = Counter(
    "fairstow_cache_labels_total",
    "Hits whose answer was compared with the upstream's: right, wrong, unjudged.",
    ["category", "label"],
    registry=REGISTRY,
)
WRONG_AT_MOST = Gauge(
    "fairstow_cache_wrong_hits_at_most",
    "Share of wrong hits at the category's threshold: an upper bound by the labels, at 95 %.",
    ["category"],
    registry=REGISTRY,
)
SAVED_TOKENS = Counter(
    "fairstow_cache_saved_tokens_total",
    "Tokens of answers that were served from the cache, where their usage is known.",
    ["category"],
    registry=REGISTRY,
)
ENTRIES = Gauge("fairstow_cache_entries", "Entries kept.", registry=REGISTRY)
QUOTA_USED = Gauge(
    "fairstow_cache_entries_of_fullest_tenant",
    "Entries of the tenant that has most in a category; beside the category's quota.",
    ["category"],
    registry=REGISTRY,
)
HIT_RATE = Gauge(
    "fairstow_cache_hit_rate",
    "Share of semantic look-ups that hit, or would have, lately.",
    ["category"],
    registry=REGISTRY,
)
BREAK_EVEN = Gauge(
    "fairstow_cache_break_even_hit_rate",
    "Hit rate from which the semantic tier pays.",
    ["category"],
    registry=REGISTRY,
)
THRESHOLD = Gauge(
    "fairstow_cache_threshold", "The threshold now, under load.", ["category"], registry=REGISTRY
)
LOAD = Gauge("fairstow_cache_load", "Load of the upstream, smoothed, 0 to 1.", registry=REGISTRY)


def lookups() -> Iterator[tuple[str, str, int]]:
    """Yield category, result and how many requests, for every reason."""
    for metric in LOOKUPS.collect():
        for sample in metric.samples:
            if sample.name.endswith("_total"):
                yield sample.labels["category"], sample.labels["result"], int(sample.value)


def threshold(category: str) -> float | None:
    """Return a category's, None before its first look-up."""
    for metric in THRESHOLD.collect():
        for sample in metric.samples:
            if sample.labels["category"] == category:
                return sample.value
    return None
