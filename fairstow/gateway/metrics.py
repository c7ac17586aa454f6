"""What the gateway counts, for Prometheus; the admin port serves it.

Labels are tenants, engines and words of our own: nothing that a client can invent.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_PAUSES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)

REQUESTS = Counter(
    "fairstow_gateway_requests_total",
    "Requests that ended, by tenant, endpoint and HTTP status (499: the client left).",
    ["tenant", "endpoint", "status"],
    registry=REGISTRY,
)
PINNED = Counter(
    "fairstow_gateway_pinned_requests_total",
    "Requests that couldn't have been moved.",
    ["tenant"],
    registry=REGISTRY,
)
REFUSED = Counter(
    "fairstow_gateway_limited_requests_total",
    "Requests refused for a limit of their tenant, or of the queue.",
    ["tenant", "limit"],
    registry=REGISTRY,
)
FIRST_TOKEN = Histogram(
    "fairstow_gateway_first_token_seconds",
    "Time from a request's arrival to its first text.",
    buckets=_SECONDS,
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "fairstow_gateway_request_seconds",
    "Time from a request's arrival to its end.",
    buckets=_SECONDS,
    registry=REGISTRY,
)
TOKENS = Counter(
    "fairstow_gateway_tokens_total",
    "Tokens of requests that ended, of their prompts and generated.",
    ["tenant", "kind"],
    registry=REGISTRY,
)
MOVED = Counter(
    "fairstow_gateway_moves_total",
    "Running requests that were to move, by how it ended: Moved, or why they stayed.",
    ["outcome"],
    registry=REGISTRY,
)
MOVE_PAUSE = Histogram(
    "fairstow_gateway_move_pause_seconds",
    "Time without a token for the client when its request moved.",
    buckets=_PAUSES,
    registry=REGISTRY,
)
RESUMED = Counter(
    "fairstow_gateway_resumed_requests_total",
    "Requests that lost their engine and were started anew from their tokens.",
    registry=REGISTRY,
)
PAUSED = Counter(
    "fairstow_gateway_paused_requests_total",
    "Running requests that gave their place up to a more urgent one, and went on later.",
    registry=REGISTRY,
)
WAITING = Gauge(
    "fairstow_gateway_waiting_requests",
    "Requests in the gateway's queue.",
    registry=REGISTRY,
)
RUNNING = Gauge(
    "fairstow_gateway_running_requests",
    "Requests on each engine.",
    ["engine"],
    registry=REGISTRY,
)
PEERS = Gauge(
    "fairstow_gateway_peers",
    "Other gateways of the pool that say what they have on each engine.",
    registry=REGISTRY,
)
ENGINES = Gauge(
    "fairstow_gateway_engines",
    "Engines in each state.",
    ["state"],
    registry=REGISTRY,
)
CUT = Counter(
    "fairstow_gateway_cut_streams_total",
    "Streams that ended with an error after they had begun.",
    registry=REGISTRY,
)
FAILED_PAIRS = Gauge(
    "fairstow_gateway_failed_engine_pairs",
    "Pairs of engines that should hand memory over and failed the probe; requests are recomputed.",
    registry=REGISTRY,
)
