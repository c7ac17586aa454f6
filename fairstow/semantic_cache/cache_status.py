"""What a SemanticCache's status says, and which missed pod is made anew: seen in, decision out.

Called by the cache controller each turn. Sidecars measure for themselves; together they have

    hit rate = Σ lookups·rate / Σ lookups,    h* = Σ lookups·h* / Σ lookups,

and a category's semantic tier counts as off where the sidecars that switched it off have had most
of the look-ups.

A pod without the sidecar can't be mended, only made anew. One at a time is evicted, if its
controller makes it anew, every other pod of the cache is up, and `PAUSE` has passed since the last
one. A pod that is still there was refused, and is asked for again. An eviction was in vain if the
pod has gone and no fewer are missed: nobody gives new ones the sidecar. The next waits, the k-th in
a row min(`LONGEST`, `AGAIN` · 2ᵏ) seconds. All of that is in the status, which is written before
anybody is evicted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from fairstow.api import (
    Category,
    CategoryStatus,
    Condition,
    MissedPod,
    Reason,
    Recreation,
    SemanticCache,
    SemanticCacheStatus,
)
from fairstow.api.semantic_cache import MOST_MISSED
from fairstow.api.status import conditions_of, with_condition
from fairstow.cluster.errors import printable
from fairstow.cluster.times import seconds, written
from fairstow.semantic_cache.pod_upstream import PORT
from fairstow.semantic_cache.sidecar_stats import CategoryStats, Stats

READY, INJECTED, SERVING, ACCOUNTS = "Ready", "Injected", "Serving", "Accounts"
OLDEST_KUBERNETES = (1, 29)
PAUSE = 15
"""Seconds between two evictions."""
AGAIN, LONGEST = 600, 21_600
_MOST_IN_VAIN = 32
_MOST = 2**31 - 1
QUIET = 300
"""Seconds after which a sidecar without requests is remarkable."""
MADE_ANEW = frozenset({"ReplicaSet", "StatefulSet", "DaemonSet", "ReplicationController"})

_SOURCES: Mapping[str, Literal["Gateway", "Latency"]] = {"Told": "Gateway", "Latency": "Latency"}

_Said = tuple[str, Literal["True", "False", "Unknown"], Reason, str]
"""Type, status, reason and message of a condition."""


class CachePod(msgspec.Struct, frozen=True):
    """A pod that the cache selects, finished ones aside.

    Attributes:
        created: seconds since 1970.
        refused: why the webhook didn't give it a sidecar, "" if it didn't say.
        owner: kind of its controller, "" if it has none.
    """

    name: str
    uid: str
    created: int
    injected: bool
    refused: str = ""
    owner: str = ""
    ready: bool = False
    terminating: bool = False


class Seen(msgspec.Struct, frozen=True):
    """What was looked at.

    Attributes:
        enabled: the namespace's label lets the webhook be asked.
        kubernetes: the API server's version.
        problem: why the sidecars' configuration isn't kept, "" if it is.
        reports: what each injected pod's sidecar told, None where it didn't answer.
        past: Services that lead past the sidecars.
        now: seconds since 1970.
        unknown: why the sidecars aren't told the cluster's keys, "" if they are.
    """

    cache: SemanticCache
    enabled: bool
    kubernetes: tuple[int, int]
    problem: str
    pods: tuple[CachePod, ...]
    reports: Mapping[str, Stats | None]
    past: tuple[str, ...]
    now: int
    unknown: str = ""


class Decision(msgspec.Struct, frozen=True):
    """What to write, and whom to evict."""

    status: SemanticCacheStatus
    recreate: CachePod | None = None


def decide(seen: Seen) -> Decision:
    """Return the status, and the pod that is to be made anew."""
    before = seen.cache.status or SemanticCacheStatus()
    missed = [pod for pod in seen.pods if not pod.injected]
    told = [stats for stats in seen.reports.values() if stats is not None]
    requests = sum(each.requests for stats in told for each in stats.categories.values())
    hits = sum(each.hits for stats in told for each in stats.categories.values())
    ready = _ready(seen)
    recreate, waits = _recreated(seen, missed) if ready[1] == "True" else (None, "")
    conditions = conditions_of(seen.cache)
    if seen.cache.spec.accounts is None:
        conditions = tuple(each for each in conditions if each.type != ACCOUNTS)
    for kind, holds, reason, message in (
        ready, _injected(seen, missed, waits), _serving(seen, requests), *_accounts(seen),
    ):  # fmt: skip
        new = Condition(
            type=kind,
            status=holds,
            observed_generation=seen.cache.metadata.generation,
            last_transition_time=written(seen.now),
            reason=reason.value,
            message=message[:1024],
        )
        conditions = with_condition(conditions, new)
    share = min(1.0, hits / requests) if requests else None
    status = SemanticCacheStatus(
        pods=len(seen.pods),
        injected=len(seen.pods) - len(missed),
        missed=len(missed),
        missed_pods=tuple(
            MissedPod(name=pod.name, reason=why_missed(pod, seen)) for pod in missed[:MOST_MISSED]
        ),
        answering=len(told),
        entries=_entries(seen.cache, [stats.entries for stats in told]),
        requests=requests,
        hit_permille=None if share is None else round(1_000 * share),
        hit_rate=None if share is None else f"{100 * share:.1f}%",
        load_permille=round(1_000 * max(each.load for each in told)) if told else None,
        load_source=_load_source(told),
        categories=tuple(_category(each, seen.cache, told) for each in seen.cache.spec.categories),
        recreation=_recreation(seen, missed, recreate)
        if recreate
        else before.recreation
        if missed
        else None,
        conditions=conditions,
        observed_generation=seen.cache.metadata.generation,
    )
    return Decision(status, recreate)


def _load_source(told: Iterable[Stats]) -> Literal["Gateway", "Latency", "Mixed"] | None:
    found = {each.load_source for each in told} & _SOURCES.keys()
    return _SOURCES[found.pop()] if len(found) == 1 else "Mixed" if found else None


def _ready(seen: Seen) -> _Said:
    namespace = seen.cache.metadata.namespace
    if seen.kubernetes < OLDEST_KUBERNETES:
        version = "{}.{}".format(*seen.kubernetes)
        said = f"native sidecars need Kubernetes 1.29, and this is {version}"
        return READY, "False", Reason.KUBERNETES_TOO_OLD, said
    if seen.problem:
        return READY, "False", Reason.CACHE_NOT_KEPT, seen.problem
    if not seen.enabled:
        said = (
            f"label the namespace: kubectl label namespace {namespace} fairstow.dev/cache=enabled"
        )
        return READY, "False", Reason.NAMESPACE_NOT_ENABLED, said
    return READY, "True", Reason.CACHE_READY, "new pods get the sidecar"


def _injected(seen: Seen, missed: Sequence[CachePod], waits: str) -> _Said:
    if not seen.pods:
        return INJECTED, "Unknown", Reason.NO_PODS, "the selector takes no pod"
    if not missed:
        said = f"{len(seen.pods)} of {len(seen.pods)} pods have the sidecar"
        return INJECTED, "True", Reason.ALL_INJECTED, said
    names = ", ".join(f"{pod.name} ({why_missed(pod, seen)})" for pod in missed[:3])
    more = f" and {len(missed) - 3} more" if len(missed) > 3 else ""
    said = f"{len(missed)} of {len(seen.pods)} pods run without it: {names}{more}"
    return INJECTED, "False", Reason.PODS_MISSED, said + (f"; {waits}" if waits else "")


def _serving(seen: Seen, requests: int) -> _Said:
    there = {pod.name for pod in seen.pods if pod.injected}
    if not there:
        return SERVING, "Unknown", Reason.NO_PODS, "no pod has the sidecar yet"
    up = (pod.name for pod in seen.pods if pod.injected and pod.ready)
    silent = sorted(name for name in up if seen.reports.get(name) is None)
    if silent:
        said = f"{len(silent)} of {len(there)} sidecars don't answer: {', '.join(silent[:3])}"
        return SERVING, "False", Reason.SIDECARS_SILENT, said
    if seen.past:
        said = (
            f"Service {', '.join(seen.past[:3])} leads to port {seen.cache.spec.engine_port}, past "
            f"the sidecars: set its targetPort to {PORT}"
        )
        return SERVING, "False", Reason.BYPASSED, said
    if not requests:
        oldest = min(pod.created for pod in seen.pods if pod.injected)
        holds: Literal["False", "Unknown"] = "False" if seen.now - oldest > QUIET else "Unknown"
        return SERVING, holds, Reason.NO_TRAFFIC, "the sidecars have seen no request"
    return SERVING, "True", Reason.CACHE_SERVING, f"{len(there)} sidecars answer"


def _accounts(seen: Seen) -> tuple[_Said, ...]:
    """Return the condition, none where nobody asks for ServiceAccounts."""
    asked = seen.cache.spec.accounts
    if asked is None:
        return ()
    if seen.unknown:
        return ((ACCOUNTS, "False", Reason.ACCOUNTS_UNKNOWN, seen.unknown),)
    said = f"who shows a token for {asked.audience} is known by its ServiceAccount"
    return ((ACCOUNTS, "True", Reason.ACCOUNTS_KNOWN, said),)


def why_missed(pod: CachePod, seen: Seen) -> str:
    """Say why a pod has no sidecar."""
    if pod.refused:
        return printable(pod.refused)  # whoever made the pod may have written it
    ready = next((c for c in conditions_of(seen.cache) if c.type == READY), None)
    if ready is None or ready.status != "True":
        return "the cache isn't ready"
    since = seconds(ready.last_transition_time)
    if since is None or pod.created <= since:
        return "older than the cache"
    return "no webhook answered when it was created"


def _recreated(seen: Seen, missed: Sequence[CachePod]) -> tuple[CachePod | None, str]:
    """Return the pod to evict, or why none is."""
    fit = [pod for pod in missed if not pod.refused and not pod.terminating]
    fit = [pod for pod in fit if pod.owner in MADE_ANEW]
    if not seen.cache.spec.recreate_missed or not fit:
        return None, ""
    victim = min(fit, key=lambda pod: (pod.ready, pod.created, pod.name))
    others = (pod for pod in seen.pods if pod.uid != victim.uid)
    if not all(pod.ready and not pod.terminating for pod in others):
        return None, "the next one is evicted once all others are ready"
    last = _last(seen)
    at = seconds(last.at) if last else None
    if last is not None and at is not None:
        vain = _in_vain(last, seen, missed)
        pause = min(LONGEST, AGAIN * 2 ** min(last.in_vain, _MOST_IN_VAIN)) if vain else PAUSE
        if 0 <= seen.now - at < pause:
            said = f"the last eviction mended nothing, the next one is at {written(at + pause)}"
            return None, said if vain else ""
    return victim, ""


def _recreation(seen: Seen, missed: Sequence[CachePod], victim: CachePod) -> Recreation:
    last, in_vain = _last(seen), 0
    if last is not None and _in_vain(last, seen, missed):
        in_vain = min(last.in_vain + 1, _MOST_IN_VAIN)
    elif last is not None and last.pod_uid == victim.uid:
        in_vain = last.in_vain
    return Recreation(at=written(seen.now), pod_uid=victim.uid, missed=len(missed), in_vain=in_vain)


def _in_vain(last: Recreation, seen: Seen, missed: Sequence[CachePod]) -> bool:
    """Whether a pod was evicted, and no fewer are missed."""
    gone = all(pod.uid != last.pod_uid for pod in seen.pods)
    return gone and len(missed) >= last.missed


def _last(seen: Seen) -> Recreation | None:
    return seen.cache.status.recreation if seen.cache.status else None


def _category(category: Category, cache: SemanticCache, told: Iterable[Stats]) -> CategoryStatus:
    found = [each for stats in told if (each := stats.categories.get(category.name)) is not None]
    spec = cache.spec
    mode = spec.mode if spec.mode == "Off" or category.mode is None else category.mode
    lookups = sum(each.lookups for each in found)
    paying = [each for each in found if each.break_even is not None]
    weight = sum(each.lookups for each in paying)
    rate = sum(each.lookups * each.hit_rate for each in found) / lookups if lookups else None
    at = sum(each.lookups * (each.break_even or 0) for each in paying) / weight if weight else None
    thresholds = [each.threshold for each in found if each.threshold is not None]
    semantic, message = _semantic(category, mode, found, rate, at)
    return CategoryStatus.model_validate(
        {
            "name": category.name,
            "mode": mode,
            "semantic": semantic,
            "message": message,
            "entries": _entries(cache, [each.entries for each in found]),
            "quota_entries": category.quota_entries,
            "fullest_tenant": _count(max((each.fullest_tenant for each in found), default=0)),
            "lookups": round(lookups),
            "labels": _count(sum(each.labels for each in found)),
            "wrong": _count(sum(each.wrong for each in found)),
            "budget": max(found, key=lambda each: each.labels).budget[:256] if found else "",
            "hit_permille": None if rate is None else round(1_000 * rate),
            "break_even_permille": None if at is None else round(1_000 * min(at, 1)),
            "threshold_permille": round(1_000 * max(0.0, min(thresholds))) if thresholds else None,
        }
    )


def _entries(cache: SemanticCache, found: Sequence[int]) -> int:
    """Return how many there are: of a shared store each sidecar knows all of its workload's."""
    return _count(max(found, default=0) if cache.spec.store.redis else sum(found))


def _count(number: float) -> int:
    """Return a count that a status has room for."""
    return min(round(number), _MOST)


def _semantic(
    category: Category,
    mode: str,
    found: Sequence[CategoryStats],
    rate: float | None,
    at: float | None,
) -> tuple[str, str]:
    if mode == "Off" or category.caching == "Off":
        return "Off", "Off: the owner's word"
    if category.caching == "Exact":
        return "Off", "Off: caching is Exact"
    if rate is None:
        return "Unknown", "Nothing is measured yet."
    lookups = sum(each.lookups for each in found)
    off = sum(each.lookups for each in found if each.semantic.startswith("Off"))
    word = "Off" if 2 * off > lookups else "On"
    hits = f"hit rate {100 * rate:.1f} %"
    if at is None:
        return word, f"{word}: {hits}, no hit rate would pay"
    return word, f"{word}: {hits} {'over' if rate >= at else 'under'} break-even {100 * at:.1f} %"
