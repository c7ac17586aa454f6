"""What a SemanticCache's status says, and which missed pod is made anew, case by case.

Not covered: that a cluster's objects are read rightly (tests/controllers/test_semantic_caches.py),
that evictions respect budgets, which the API server sees to.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fairstow.api import Recreation, SemanticCache
from fairstow.cluster.times import written
from fairstow.semantic_cache.cache_status import (
    AGAIN,
    LONGEST,
    PAUSE,
    QUIET,
    CachePod,
    Decision,
    Seen,
    decide,
)
from fairstow.semantic_cache.sidecar_stats import CategoryStats, Stats

NOW = 1_767_225_600
LONG_AGO = NOW - 10_000
READY = {
    "type": "Ready",
    "status": "True",
    "lastTransitionTime": written(NOW - 5_000),
    "reason": "CacheReady",
    "message": "",
}


def cache(*, status: dict[str, Any] | None = None, **spec: Any) -> SemanticCache:
    whole = {"selector": {"matchLabels": {"app": "web"}}, "upstream": "http://llm/v1"} | spec
    return SemanticCache.model_validate(
        {
            "metadata": {"name": "answers", "namespace": "shop", "generation": 2},
            "spec": {key: value for key, value in whole.items() if value is not None},
            "status": {"conditions": [READY]} | (status or {}),
        }
    )


def pod(name: str, *, injected: bool = True, **more: Any) -> CachePod:
    known: dict[str, Any] = {"created": LONG_AGO, "owner": "ReplicaSet", "ready": True} | more
    return CachePod(name=name, uid=f"uid-{name}", injected=injected, **known)


def stats(load: float = 0.0, source: str = "", **category: Any) -> Stats:
    known: dict[str, Any] = {
        "mode": "Shadow", "entries": 5, "fullest_tenant": 5, "quota": 10, "lookups": 100.0,
        "hit_rate": 0.5, "break_even": 0.034, "semantic": "On: …", "requests": 200, "hits": 20,
    }  # fmt: skip
    return Stats(5, 5, load, {"default": CategoryStats(**(known | category))}, source)


def decided(*pods: CachePod, of: SemanticCache | None = None, **seen: Any) -> Decision:
    known: dict[str, Any] = {
        "enabled": True, "kubernetes": (1, 29), "problem": "", "past": (),
        "reports": {each.name: stats() for each in pods if each.injected}, "now": NOW,
    }  # fmt: skip
    return decide(Seen(cache=of or cache(), pods=pods, **(known | seen)))


def condition(decision: Decision, kind: str) -> tuple[str, str]:
    (found,) = (each for each in decision.status.conditions if each.type == kind)
    return found.status, found.reason


def test_accounts_are_told_of_where_somebody_asks_for_them() -> None:
    whole: dict[str, Any] = {"placement": "Server", "enginePort": 8000, "upstream": None}
    plain = cache(**whole)
    asked = cache(**whole, accounts={"audience": "llama.chat"})
    unknown = decided(pod("a"), of=asked, unknown="no")
    assert condition(unknown, "Accounts") == ("False", "AccountsUnknown")
    assert condition(unknown, "Ready") == ("True", "CacheReady")
    assert condition(decided(pod("a"), of=asked), "Accounts") == ("True", "AccountsKnown")
    later = plain.model_copy(update={"status": unknown.status})
    assert "Accounts" not in {each.type for each in decided(of=later).status.conditions}


def test_all_is_well() -> None:
    decision = decided(pod("a"), pod("b"))
    assert condition(decision, "Ready") == ("True", "CacheReady")
    assert condition(decision, "Injected") == ("True", "AllInjected")
    assert condition(decision, "Serving") == ("True", "CacheServing")
    said = decision.status
    assert (said.pods, said.injected, said.missed, said.answering) == (2, 2, 0, 2)
    assert (said.entries, said.requests, said.hit_permille, said.hit_rate) == (
        10, 400, 100, "10.0%",
    )  # fmt: skip
    assert said.conditions[0].last_transition_time == READY["lastTransitionTime"]
    assert decided(pod("a"), pod("b"), of=cache(status=said.model_dump())).status == said


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        ({"kubernetes": (1, 28)}, "KubernetesTooOld"),
        ({"problem": "may not"}, "CacheNotKept"),
        ({"enabled": False}, "NamespaceNotEnabled"),
    ],
)
def test_what_keeps_new_pods_from_their_sidecar(seen: dict[str, Any], reason: str) -> None:
    anew = cache(recreateMissed=True)
    decision = decided(pod("a", injected=False), of=anew, **seen)
    assert condition(decision, "Ready") == ("False", reason)
    assert decision.recreate is None


def test_a_category_says_how_far_it_is_from_paying() -> None:
    low: dict[str, Any] = {"hit_rate": 0.012, "semantic": "Off: …"}
    (said,) = decided(pod("a"), reports={"a": stats(**low)}).status.categories
    assert said.message == "Off: hit rate 1.2 % under break-even 3.4 %"
    assert (said.semantic, said.hit_permille, said.break_even_permille) == ("Off", 12, 34)


def test_sidecars_count_by_their_look_ups() -> None:
    reports = {
        "a": stats(lookups=900.0, hit_rate=0.1),
        "b": stats(lookups=100.0, hit_rate=0.6, semantic="Off: …"),
    }
    (said,) = decided(pod("a"), pod("b"), reports=reports).status.categories
    assert (said.lookups, said.hit_permille, said.semantic) == (1_000, 150, "On")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"mode": "Off"}, "Off: the owner's word"),
        ({"categories": [{"name": "default", "caching": "Exact"}]}, "Off: caching is Exact"),
    ],
)
def test_what_the_owner_turned_off(spec: dict[str, Any], message: str) -> None:
    (said,) = decided(pod("a"), of=cache(**spec)).status.categories
    assert (said.semantic, said.message) == ("Off", message)


def test_nothing_measured_is_nothing_known() -> None:
    empty = stats(lookups=0.0, hit_rate=0.0, break_even=None, requests=0, hits=0)
    young = pod("a", created=NOW - 10)
    decision = decided(young, reports={"a": empty})
    (said,) = decision.status.categories
    assert (said.semantic, said.hit_permille) == ("Unknown", None)
    assert condition(decision, "Serving") == ("Unknown", "NoTraffic")
    old = decided(pod("a", created=NOW - QUIET - 1), reports={"a": empty})
    assert condition(old, "Serving") == ("False", "NoTraffic")


def test_a_silent_sidecar_shows_once_its_pod_is_up() -> None:
    assert condition(decided(pod("a"), reports={"a": None}), "Serving")[1] == "SidecarsSilent"
    starting = decided(pod("a", ready=False), reports={"a": None})
    assert condition(starting, "Serving")[1] == "NoTraffic"


def test_a_service_that_leads_past_the_sidecars() -> None:
    server = cache(placement="Server", enginePort=8000, upstream=None)
    decision = decided(pod("a"), of=server, past=("llama",))
    assert condition(decision, "Serving") == ("False", "Bypassed")
    assert "8448" in decision.status.conditions[-1].message


def test_each_sidecar_of_a_shared_store_knows_all_entries() -> None:
    shared = cache(store={"redis": {"url": "redis://redis:6379/0"}})
    assert decided(pod("a"), pod("b"), of=shared).status.entries == 5


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({}, "older than the cache"),
        ({"created": NOW - 10}, "no webhook answered when it was created"),
        ({"refused": "hostNetwork"}, "hostNetwork"),
    ],
)
def test_a_missed_pod_is_named_with_why(more: dict[str, Any], reason: str) -> None:
    decision = decided(pod("a"), pod("b", injected=False, **more))
    assert condition(decision, "Injected") == ("False", "PodsMissed")
    assert [(p.name, p.reason) for p in decision.status.missed_pods] == [("b", reason)]
    assert decision.recreate is None, "nobody asked for it"


ANEW = cache(recreateMissed=True)


def test_a_missed_pod_is_made_anew_where_the_owner_wants_it() -> None:
    decision = decided(pod("a"), pod("b", injected=False), of=ANEW)
    assert decision.recreate is not None
    assert decision.recreate.name == "b"
    assert decision.status.recreation == Recreation(at=written(NOW), pod_uid="uid-b", missed=1)


@pytest.mark.parametrize(
    "more",
    [{"owner": ""}, {"owner": "Job"}, {"refused": "hostNetwork"}, {"terminating": True}],
    ids=str,
)
def test_a_pod_that_wouldnt_come_back_with_one_stays(more: dict[str, Any]) -> None:
    assert decided(pod("b", injected=False, **more), of=ANEW).recreate is None


@pytest.mark.parametrize("more", [{"ready": False}, {"terminating": True}], ids=str)
def test_one_at_a_time(more: dict[str, Any]) -> None:
    waits = decided(pod("a", **more), pod("b", injected=False), of=ANEW)
    assert waits.recreate is None
    two = decided(pod("a", injected=False), pod("b", injected=False), of=ANEW)
    assert two.recreate is not None


def after(seconds: int, missed: int = 2, in_vain: int = 0, evicted: str = "uid-gone") -> Decision:
    """What becomes of a missed pod so long after an eviction, when so many were missed."""
    at = written(NOW - seconds)
    last = {"at": at, "podUid": evicted, "missed": missed, "inVain": in_vain}
    of = cache(recreateMissed=True, status={"recreation": last})
    return decided(pod("a"), pod("b", injected=False), of=of)


def test_it_pauses_between_two() -> None:
    assert after(PAUSE - 1).recreate is None
    assert after(PAUSE).recreate is not None
    assert after(-3_600).recreate is not None, "a clock that was wrong stops nobody"


@pytest.mark.parametrize(
    ("in_vain", "pause"), [(0, AGAIN), (1, 2 * AGAIN), (9, LONGEST), (2**31 - 1, LONGEST)]
)
def test_it_goes_on_more_and_more_rarely_where_it_mends_nothing(in_vain: int, pause: int) -> None:
    waits = after(pause - 1, missed=1, in_vain=in_vain)
    assert waits.recreate is None
    (said,) = (each.message for each in waits.status.conditions if each.type == "Injected")
    assert f"mended nothing, the next one is at {written(NOW + 1)}" in said
    assert waits.status.recreation is not None
    assert waits.status.recreation.in_vain == in_vain
    if in_vain < 9:
        tried = after(pause, missed=1, in_vain=in_vain)
        assert tried.recreate is not None
        assert tried.status.recreation is not None
        assert tried.status.recreation.in_vain == in_vain + 1
        mended = after(pause, missed=2, in_vain=in_vain).status.recreation
        assert mended is not None
        assert mended.in_vain == 0


def test_a_pod_that_was_refused_is_asked_for_again() -> None:
    assert after(PAUSE - 1, missed=1, in_vain=3, evicted="uid-b").recreate is None
    again = after(PAUSE, missed=1, in_vain=3, evicted="uid-b")
    assert again.recreate is not None
    assert again.status.recreation is not None
    assert again.status.recreation.in_vain == 3


def test_nothing_is_kept_of_evictions_once_nobody_is_missed() -> None:
    of = cache(status={"recreation": {"at": written(NOW), "podUid": "u", "missed": 1}})
    assert decided(pod("a"), of=of).status.recreation is None
    kept = decided(pod("a", injected=False), of=of).status.recreation
    assert kept is not None


@pytest.mark.parametrize(
    "lie", [{"entries": -1}, {"hit_rate": 7.0}, {"requests": 10**18}, {"threshold": 2.0}], ids=str
)
def test_who_only_poses_as_a_sidecar_is_not_believed(lie: dict[str, Any]) -> None:
    told = msgspec.json.encode(stats(**lie))
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(told, type=Stats)


def test_the_most_that_sidecars_can_say_fits_into_a_status() -> None:
    most = 2**40
    each = stats(entries=most, fullest_tenant=most, requests=most, hits=most, labels=most)
    reports = {str(number): msgspec.structs.replace(each, entries=most) for number in range(50)}
    said = decided(*map(pod, reports), reports=reports).status
    assert said.entries == said.categories[0].labels == 2**31 - 1


def test_a_sidecar_of_another_version_is_understood() -> None:
    told = msgspec.json.decode(msgspec.json.encode(stats()))
    told["news"] = 1
    assert msgspec.convert(told, Stats) == stats()


def test_a_reason_that_somebody_wrote_into_a_pod_is_no_fault() -> None:
    (missed,) = decided(pod("a", injected=False, refused="x" * 5_000)).status.missed_pods
    assert len(missed.reason) < 300


@pytest.mark.parametrize(
    ("told", "load", "source"),
    [
        ((stats(), stats()), 0, None),
        ((stats(0.4, "Told"), stats(0.7, "Told"), None), 700, "Gateway"),
        ((stats(0.4, "Latency"), stats()), 400, "Latency"),
        ((stats(0.4, "Latency"), stats(0.0, "Told")), 400, "Mixed"),
        ((stats(0.4, "made up"),), 400, None),
        ((None,), None, None),
    ],
)
def test_load_is_the_one_that_is_seen_most_of(
    told: tuple[Stats | None, ...], load: int | None, source: str | None
) -> None:
    pods = [pod(f"{number}") for number in range(len(told))]
    reports = {each.name: stats for each, stats in zip(pods, told, strict=True)}
    status = decided(*pods, reports=reports).status
    assert (status.load_permille, status.load_source) == (load, source)
