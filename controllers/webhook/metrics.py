"""What the webhook counts, for Prometheus; served on its second port."""

from prometheus_client import CollectorRegistry, Counter, Histogram

REGISTRY = CollectorRegistry()

REVIEWS = Counter(
    "fairstow_webhook_reviews_total",
    "Reviews by path and outcome: allowed, warned, denied, refused (no review) or failed.",
    ("path", "outcome"),
    registry=REGISTRY,
)
REVIEW_SECONDS = Histogram(
    "fairstow_webhook_review_seconds",
    "Time from a review's arrival to its answer.",
    ("path",),
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 2, 5),
    registry=REGISTRY,
)
