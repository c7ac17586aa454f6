"""What the extender counts, for Prometheus; `admin.py` serves it.

Reasons are the words of `fairstow.api.reasons`.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

_BUCKETS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)

REQUEST_SECONDS = Histogram(
    "fairstow_extender_request_seconds",
    "Time to answer a call of the scheduler, from its parsed request to the answer.",
    ["verb"],
    buckets=_BUCKETS,
    registry=REGISTRY,
)
REFUSED = Counter(
    "fairstow_extender_refused_requests_total",
    "Calls that weren't what kube-scheduler sends.",
    ["verb"],
    registry=REGISTRY,
)
FILTERED = Counter(
    "fairstow_extender_filtered_nodes_total",
    "Nodes that the filter took from a pod, by reason.",
    ["reason"],
    registry=REGISTRY,
)
STEERED = Counter(
    "fairstow_extender_steered_pods_total",
    "Answers that sent a pod to the node a plan keeps for it.",
    registry=REGISTRY,
)
VETOED = Counter(
    "fairstow_extender_vetoed_preemptions_total",
    "Preemptions refused because a plan under way serves the pod.",
    registry=REGISTRY,
)
ASSUMPTIONS = Gauge(
    "fairstow_extender_assumptions",
    "Pods answered for and not yet seen bound.",
    registry=REGISTRY,
)
RESERVATIONS = Gauge(
    "fairstow_extender_reservations",
    "Pods for which room is kept; 0 while the operator's Lease isn't live.",
    registry=REGISTRY,
)
EXPIRED = Counter(
    "fairstow_extender_expired_reservations_total",
    "Pods whose room was no longer kept because the operator didn't renew its Lease.",
    registry=REGISTRY,
)
PLANS = Gauge(
    "fairstow_extender_enforced_plans",
    "Plans whose room is kept.",
    registry=REGISTRY,
)
SPARK = Gauge(
    "fairstow_extender_spark_reservations",
    "Spark applications whose room is kept.",
    registry=REGISTRY,
)
WATCH_AGE = Gauge(
    "fairstow_extender_watch_age_seconds",
    "Time since the API server last said something, the longest of all watches.",
    registry=REGISTRY,
)
SNAPSHOT_AGE = Gauge(
    "fairstow_extender_snapshot_age_seconds",
    "Time since the pools' typical pods were last learned.",
    registry=REGISTRY,
)
