"""Every metric of the operator, declared once; outcomes and reasons are words of `api.Reason`.

Served by the operator's metrics port.
"""

from collections import Counter as Counted
from collections.abc import Callable, Mapping, Set

from prometheus_client import Counter, Gauge, Histogram

from fairstow.api import GpuPoolStatus, SemanticCacheStatus, ServingPoolStatus
from fairstow.cluster.kinds import Kind
from fairstow.serving.wire import Ledger, Phase

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)

_LONG_SECONDS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 4 * 3600, 24 * 3600)

RUNS = Counter(
    "fairstow_packing_runs_total",
    "Runs of a policy by what came of them.",
    ("policy", "outcome"),
)
SOLVE_SECONDS = Histogram(
    "fairstow_packing_solve_seconds",
    "Time the planner took for one question, formulation and ordering included.",
    ("policy",),
    buckets=_SECONDS,
)
RUN_SECONDS = Histogram(
    "fairstow_packing_run_seconds",
    "Time from a run's snapshot until its outcome was written.",
    ("policy",),
    buckets=_SECONDS,
)
GAP_PODS = Gauge(
    "fairstow_packing_gap_pods",
    "Pods that might be placed beyond the last answer of the planner; 0 is proved optimal.",
    ("policy",),
)
PLANNED = Counter(
    "fairstow_packing_planned_total",
    "What the plans made under a policy contain.",
    ("policy", "change"),
)
EVICTIONS = Counter(
    "fairstow_packing_evictions_total",
    "Evictions asked for, of pods that move and of those evicted for good, by what became of them.",
    ("kind", "outcome"),
)
PLANS_ENDED = Counter(
    "fairstow_packing_plans_ended_total", "Plans that succeeded or were given up.", ("reason",)
)
PLAN_SECONDS = Histogram(
    "fairstow_packing_plan_seconds",
    "Time from a plan's creation until it succeeded or was given up, waiting included.",
    ("policy", "reason"),
    buckets=_LONG_SECONDS,
)
WAIT_SECONDS = Histogram(
    "fairstow_packing_wait_seconds",
    "Time for which pods were unschedulable until a plan under way gave them a node.",
    ("policy",),
    buckets=_LONG_SECONDS,
)
RESERVATIONS = Gauge(
    "fairstow_packing_reservations",
    "Pods for which plans under way keep room and that haven't arrived yet.",
)
RESERVATIONS_EXPIRED = Counter(
    "fairstow_packing_reservations_expired_total",
    "Pods whose room was given up before they arrived, by why their plan was.",
    ("reason",),
)
TURN_FAILURES = Counter(
    "fairstow_packing_turn_failures_total",
    "Turns of a controller that failed and were tried again.",
    ("controller",),
)
SNAPSHOT_AGE = Gauge(
    "fairstow_packing_snapshot_age_seconds",
    "Time since the watch of nodes or pods last heard from the API server, the older of the two.",
)
WATCH_AGE = Gauge(
    "fairstow_packing_watch_age_seconds",
    "Time since the API server last said anything of a kind; bookmarks come every minute.",
    ("kind",),
)
CHANGES = Counter(
    "fairstow_packing_changes_total",
    "Changes of the cluster's objects that were taken in, those of lists included, by kind.",
    ("kind",),
)
POOL_NODES = Gauge(
    "fairstow_packing_pool_nodes", "Nodes of a pool by whether they take pods.", ("pool", "state")
)
POOL_GPUS = Gauge(
    "fairstow_packing_pool_gpus", "Accelerators of a pool by state.", ("pool", "state")
)
POOL_LARGEST = Gauge(
    "fairstow_packing_pool_largest_free_block",
    "The most accelerators free on one node of a pool.",
    ("pool",),
)
POOL_FRAGMENTATION = Gauge(
    "fairstow_packing_pool_fragmentation_ratio",
    "Share of a pool's free accelerators that its typical pods can't use where they are.",
    ("pool",),
)
POOL_PENDING = Gauge(
    "fairstow_packing_pool_pending_pods", "Pending pods of a pool by reason.", ("pool", "reason")
)
CERTIFICATE_EXPIRES = Gauge(
    "fairstow_certificate_expires_timestamp_seconds",
    "When a certificate of the installation expires, by the Secret that holds it.",
    ("secret",),
)

SERVING_INSTANCES = Gauge(
    "fairstow_serving_pool_instances",
    "Engine pods of a ServingPool by state; one that drains may be counted as ready, too.",
    ("pool", "state"),
)
SERVING_REQUESTS = Gauge(
    "fairstow_serving_pool_requests",
    "Requests of a ServingPool by where they are, as its gateways say.",
    ("pool", "phase"),
)
SERVING_GATEWAYS = Gauge(
    "fairstow_serving_pool_gateways",
    "Gateway replicas of a ServingPool by whether they answer.",
    ("pool", "state"),
)
DRAINS_ENDED = Counter(
    "fairstow_serving_drains_ended_total",
    "Drains after which the instance may go, by why.",
    ("pool", "reason"),
)
SERVING_FREENESS = Gauge(
    "fairstow_serving_pool_freeness_steps",
    "Decode steps for which a ServingPool's free memory lasts; below 0: more is asked for.",
    ("pool",),
)
SERVING_DESIRED = Gauge(
    "fairstow_serving_pool_desired_replicas",
    "Replicas that the workload of a ServingPool is to have.",
    ("pool",),
)
SCALED = Counter(
    "fairstow_serving_scaled_total",
    "What scaling did to the workload of a ServingPool, by reason.",
    ("pool", "reason"),
)
PROPOSED = Counter(
    "fairstow_serving_proposed_moves_total",
    "Moves of running requests that were proposed to gateways, by whether they were taken.",
    ("pool", "outcome"),
)

CACHE_PODS = Gauge(
    "fairstow_cache_pods",
    "Pods that a SemanticCache selects: those with and without the sidecar, and silent ones.",
    ("cache", "state"),
)
CACHE_TIER = Gauge(
    "fairstow_cache_semantic_tier",
    "1 where the semantic tier of a category is on, 0 where it has switched itself off.",
    ("cache", "category"),
)
CACHE_RECREATED = Counter(
    "fairstow_cache_recreated_total",
    "Evictions of pods without the sidecar, by what became of them.",
    ("cache", "outcome"),
)

_CACHE_GAUGES = (CACHE_PODS, CACHE_TIER)
_SERVING_GAUGES = (
    SERVING_INSTANCES,
    SERVING_REQUESTS,
    SERVING_GATEWAYS,
    SERVING_FREENESS,
    SERVING_DESIRED,
)
_POOL_GAUGES = (POOL_NODES, POOL_GPUS, POOL_LARGEST, POOL_FRAGMENTATION, POOL_PENDING)


def watch_ages(snapshot: Callable[[], float], kinds: Mapping[str, Callable[[], float]]) -> None:
    """Have the ages of the snapshot and of each kind's watch asked whenever metrics are read."""
    SNAPSHOT_AGE.set_function(snapshot)
    for kind, age in kinds.items():
        WATCH_AGE.labels(kind).set_function(age)


def count_change(kind: Kind, _name: str) -> None:
    """Count a change that the cluster in memory has taken in."""
    CHANGES.labels(kind.name).inc()


def show_pool(name: str, status: GpuPoolStatus) -> None:
    """Set a pool's gauges."""
    closed = status.nodes_closed or 0
    POOL_NODES.labels(name, "open").set((status.nodes or 0) - closed)
    POOL_NODES.labels(name, "closed").set(closed)
    POOL_GPUS.labels(name, "total").set(status.gpus_total or 0)
    POOL_GPUS.labels(name, "allocated").set(status.gpus_allocated or 0)
    POOL_GPUS.labels(name, "free").set(status.gpus_free or 0)
    POOL_LARGEST.labels(name).set(status.largest_free_block or 0)
    POOL_FRAGMENTATION.labels(name).set((status.fragmentation_permille or 0) / 1000)
    now = {each.reason: each.pods for each in status.pending_by_reason}
    gone = {labels[1] for labels in _labels(POOL_PENDING) if labels[0] == name} - now.keys()
    for reason in gone:
        POOL_PENDING.remove(name, reason)
    for reason, pods in now.items():
        POOL_PENDING.labels(name, reason).set(pods)


def forget_pools(there: frozenset[str]) -> None:
    """Drop the gauges of pools that are gone."""
    for gauge in _POOL_GAUGES:
        for labels in _labels(gauge):
            if labels[0] not in there:
                gauge.remove(*labels)


def show_serving_pool(
    name: str, ledgers: Mapping[str, Ledger | None], status: ServingPoolStatus
) -> None:
    """Set a ServingPool's gauges; its name is NAMESPACE/NAME."""
    SERVING_INSTANCES.labels(name, "all").set(status.instances or 0)
    SERVING_INSTANCES.labels(name, "ready").set(status.ready or 0)
    SERVING_INSTANCES.labels(name, "draining").set(status.draining or 0)
    phases = Counted(
        request.phase for ledger in ledgers.values() if ledger for request in ledger.requests
    )
    for phase in Phase:
        SERVING_REQUESTS.labels(name, phase.value).set(phases[phase])
    DRAINS_ENDED.labels(name, "DeadlineOver")  # from 0 on, so that the first one is seen to come
    silent = sum(ledger is None for ledger in ledgers.values())
    SERVING_GATEWAYS.labels(name, "answering").set(len(ledgers) - silent)
    SERVING_GATEWAYS.labels(name, "silent").set(silent)
    for gauge, value in (
        (SERVING_FREENESS, status.freeness_steps),
        (SERVING_DESIRED, status.desired_replicas),
    ):
        if value is None:  # a value that isn't known is none
            _drop(gauge, name)
        else:
            gauge.labels(name).set(value)


def show_cache(name: str, status: SemanticCacheStatus) -> None:
    """Set a SemanticCache's gauges; its name is NAMESPACE/NAME."""
    injected = status.injected or 0
    CACHE_PODS.labels(name, "injected").set(injected)
    CACHE_PODS.labels(name, "missed").set(status.missed or 0)
    CACHE_PODS.labels(name, "silent").set(injected - (status.answering or 0))
    for each in status.categories:
        if each.semantic == "Unknown":
            _drop(CACHE_TIER, name, each.name)
        else:
            CACHE_TIER.labels(name, each.name).set(each.semantic == "On")


def forget_caches(there: Set[str]) -> None:
    """Drop the gauges of SemanticCaches that are gone."""
    for gauge in _CACHE_GAUGES:
        for labels in _labels(gauge):
            if labels[0] not in there:
                gauge.remove(*labels)


def forget_serving_pools(there: Set[str]) -> None:
    """Drop the gauges of ServingPools that are gone."""
    for gauge in _SERVING_GAUGES:
        for labels in _labels(gauge):
            if labels[0] not in there:
                gauge.remove(*labels)


def forget_policies(there: frozenset[str]) -> None:
    """Drop the gauges of policies that are gone."""
    for (name,) in _labels(GAP_PODS):
        if name not in there:
            GAP_PODS.remove(name)


def _drop(gauge: Gauge, *labels: str) -> None:
    if labels in _labels(gauge):
        gauge.remove(*labels)


def _labels(gauge: Gauge) -> list[tuple[str, ...]]:
    metric = next(iter(gauge.collect()))
    return [tuple(sample.labels.values()) for sample in metric.samples]
