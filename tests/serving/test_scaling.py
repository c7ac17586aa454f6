"""How many replicas a pool's workload should have, and how one of them goes.

Covers `fairstow.serving.scaling`, `merged` and `workloads`: each decision from a pool written by
hand, and whole lives of a workload of each kind, with a load that changes and a controller that
dies between any two steps. Not covered: the API server's part (e2e/serving/test_scaling.py) and
when more or fewer instances are wanted (test_policies).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairstow.api import InstanceDrain, Reason, ServingPool, ServingPoolStatus
from fairstow.cluster.model import Owner, Pod, Shape
from fairstow.cluster.times import written
from fairstow.serving import drains as draining
from fairstow.serving.drains import Seen
from fairstow.serving.merged import merged
from fairstow.serving.model import Phase as ViewPhase
from fairstow.serving.model import State as ViewState
from fairstow.serving.pool_status import pool_status
from fairstow.serving.scaling import Decision, Obstacle, Workload, decide
from fairstow.serving.wire import InstanceEntry, Ledger, Phase, RequestEntry, State
from fairstow.serving.workloads import (
    DELETION_COST,
    FIRST_TO_GO,
    MARK,
    EnginePod,
    Place,
    marked,
    next_to_go,
    place,
    unmarked,
)

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_800_000_000
TOKENS = 9_900


def pool(kind: str = "Deployment", **scaling: Any) -> ServingPool:
    given: dict[str, Any] = {"minReplicas": 1, "maxReplicas": 4, "inAfter": "60s"}
    return ServingPool.model_validate(
        {
            "kind": "ServingPool",
            "metadata": {"name": "llama", "namespace": "chat"},
            "spec": {
                "engines": {"selector": {"matchLabels": {"app": "llama"}}},
                "scaling": {"targetRef": {"kind": kind, "name": "llama"}} | given | scaling,
            },
        }
    )


def engine(name: str, kind: str = "Deployment", **more: Any) -> EnginePod:
    ordinal = int(name) if name.isdigit() else 0
    where = Place(workload=f"{kind}/llama", ordinal=ordinal, revision=more.pop("revision", "1"))
    return EnginePod(name=f"llama-{name}", uid=name, place=where, **more)


def request(uid: str, number: int, tokens: int = 500, **more: Any) -> RequestEntry:
    given: dict[str, Any] = {"phase": Phase.RUNNING, "arrived": 1.0} | more
    return RequestEntry(
        id=f"{uid}.{number}",
        tenant="t",
        instance=uid,
        prompt=tokens,
        generated=5,
        limit=100,
        priority=0,
        **given,
    )


def entry(uid: str, state: State = State.SERVING, tokens: int = TOKENS) -> InstanceEntry:
    return InstanceEntry(name=uid, url=f"http://{uid}", state=state, kv_tokens=tokens, block=16)


def busy(uid: str, count: int, tokens: int = 500) -> list[RequestEntry]:
    return [request(uid, number, tokens) for number in range(count)]


def ledger(uids: str, *requests: RequestEntry, **states: State) -> Ledger:
    entries = [entry(uid, states.get(f"_{uid}", State.SERVING)) for uid in uids]
    return Ledger(gateway="g", pool="llama", instances=entries, requests=requests)


def seen(uids: str, *requests: RequestEntry, **more: Any) -> Seen:
    of = more.pop("of", None) or pool(**more.pop("scaling", {}))
    told = more.pop("ledger", None) or ledger(uids, *requests)
    pods = more.pop("pods", None) or tuple(engine(uid) for uid in uids)
    given: dict[str, Any] = {"drains": (), "ledgers": {"g": told}, "now": NOW} | more
    return Seen(pool=of, pods=pods, **given)


def since(found: Seen, **status: Any) -> Seen:
    """The pool with what its last status said."""
    said = {"idleSince": written(NOW - 61)} | status
    obj = found.pool.to_object() | {"status": said}
    return replace(found, pool=ServingPool.model_validate(obj))


def drain(uid: str, replicas: int, reason: str = "") -> InstanceDrain:
    made = draining.begin(pool(), f"llama-{uid}", uid, "Scaling", replicas=replicas)
    if not reason:
        return made
    over = {
        "type": "Drained",
        "status": "True",
        "reason": reason,
        "message": "said",
        "lastTransitionTime": written(NOW),
    }
    status = {"conditions": [over], "startedAt": written(NOW)}
    return InstanceDrain.model_validate(made.to_object() | {"status": status})


def decided(found: Seen, replicas: int | None = None) -> Decision:
    answer = decide(found, Workload(len(found.pods) if replicas is None else replicas))
    assert answer is not None
    return answer


# Out.


def test_a_full_pool_and_requests_that_wait_for_anybody_ask_for_one_more() -> None:
    full = decided(seen("a", *busy("a", 19)))
    assert (full.reason, full.replicas, full.desired) == (Reason.SCALING_OUT, 2, 2)
    assert full.scaled_at == written(NOW)
    roomy = decided(seen("a", *busy("a", 15)))
    assert (roomy.reason, roomy.replicas) == (Reason.WITHIN_BOUNDS, None)
    assert roomy.freeness == 148
    parked = request("", 0, phase=Phase.PARKED)
    first = decided(seen("", parked, scaling={"minReplicas": 0}, pods=()), 0)
    assert (first.reason, first.replicas) == (Reason.SCALING_OUT, 1)
    unknown = Ledger("g", "llama", [], [], asking=1)
    first = decided(seen("", ledger=unknown, scaling={"minReplicas": 0}, pods=()), 0)
    assert (first.reason, first.replicas) == (Reason.SCALING_OUT, 1)


def test_nothing_more_is_asked_for_while_what_was_asked_for_starts() -> None:
    pods = (engine("a"), engine("b", ready=False))
    starts = decided(seen("a", *busy("a", 19), pods=pods))
    assert (starts.reason, starts.replicas) == (Reason.STARTING, None)
    not_made_yet = decided(seen("a", *busy("a", 19)), 2)
    assert (not_made_yet.reason, not_made_yet.replicas) == (Reason.STARTING, None)
    just_asked = since(seen("a", *busy("a", 19)), scaledAt=written(NOW - 5))
    assert decided(just_asked).replicas is None


def test_bounds_hold() -> None:
    most = decided(seen("a", *busy("a", 19), scaling={"maxReplicas": 1}))
    assert (most.reason, most.replicas) == (Reason.AT_MAXIMUM, None)
    few = decided(seen("a", scaling={"minReplicas": 3}))
    assert (few.reason, few.replicas) == (Reason.SCALING_OUT, 3)
    many = decided(seen("abc", *busy("a", 2), *busy("c", 2), scaling={"maxReplicas": 2}))
    assert many.begin is not None
    assert many.begin.spec.pod_uid == "b"


def test_a_drain_without_room_asks_for_a_replica_and_one_with_room_does_not() -> None:
    ours = draining.begin(pool(), "llama-a", "a", "User")
    draining_a = {"drains": (ours,), "scaling": {"minReplicas": 2, "maxReplicas": 3}}
    one = ledger("ab", *busy("a", 10), *busy("b", 10), _a=State.DRAINING)
    assert decided(seen("ab", ledger=one, **draining_a)).replicas == 3
    roomy = ledger("ab", *busy("a", 5), *busy("b", 5), _a=State.DRAINING)
    assert decided(seen("ab", ledger=roomy, **draining_a)).replicas is None
    alone = ledger("a", *busy("a", 5), _a=State.DRAINING)
    assert decided(seen("a", ledger=alone, drains=(ours,))).replicas == 2
    at_most = seen("a", ledger=alone, drains=(ours,), scaling={"maxReplicas": 1})
    assert decided(at_most).reason is Reason.AT_MAXIMUM


# In.


def test_one_less_only_after_a_while_and_the_least_loaded() -> None:
    idle = seen("ab", *busy("a", 2), request("b", 0))
    first = decided(idle)
    assert (first.reason, first.idle_since, first.begin) == (Reason.IDLE, written(NOW), None)
    later = decided(since(idle))
    assert later.begin is not None
    made = later.begin.spec
    assert (made.pod_uid, made.cause, made.from_replicas) == ("b", "Scaling", 2)
    assert [pod.uid for pod in later.mark] == ["b"]
    assert (later.replicas, later.reason) == (None, Reason.SCALING_IN)
    assert decided(since(idle, idleSince=written(NOW - 59))).begin is None


def test_the_last_one_goes_only_where_the_pool_may_be_empty() -> None:
    assert decided(since(seen("a"))).begin is None
    empty = decided(since(seen("a", scaling={"minReplicas": 0})))
    assert empty.begin is not None


def test_one_that_never_started_goes_first() -> None:
    pods = (engine("a"), engine("b", ready=False))
    found = decided(since(seen("a", request("a", 0), pods=pods)))
    assert found.begin is not None
    assert found.begin.spec.pod_uid == "b"


@pytest.mark.parametrize("kind", ["StatefulSet", "LeaderWorkerSet"])
def test_the_highest_ordinal_goes_however_loaded_it_is(kind: str) -> None:
    pods = tuple(engine(uid, kind) for uid in ("0", "1", "2"))
    found = seen("012", *busy("2", 3), of=pool(kind), pods=pods)
    answer = decided(since(found))
    assert answer.begin is not None
    assert (answer.begin.spec.pod_uid, answer.mark) == ("2", ())


def test_nothing_goes_during_a_rollout_or_where_its_pod_drains_already() -> None:
    two = (engine("a"), engine("b", revision="2"))
    assert decided(since(seen("ab", pods=two))).reason is Reason.TARGET_CHANGING
    extra = decided(since(seen("abc")), 2)
    assert (extra.reason, extra.begin) == (Reason.TARGET_CHANGING, None)
    ours = draining.begin(pool(), "llama-1", "1", "Cordon")
    pods = tuple(engine(uid, "StatefulSet") for uid in ("0", "1", "2"))
    last = draining.begin(pool(), "llama-2", "2", "Cordon")
    told = ledger("012", _2=State.DRAINING)
    blocked = seen("012", ledger=told, of=pool("StatefulSet"), pods=pods, drains=(last,))
    assert decided(since(blocked)).begin is None
    assert decided(since(replace(blocked, drains=(ours,)))).begin is not None


def under_way(reason: str = "", *requests: RequestEntry, **more: Any) -> Seen:
    """Two instances, b on its way out."""
    told = more.pop("ledger", None) or ledger("ab", *requests, _b=State.DRAINING)
    pods = more.pop("pods", None) or (engine("a"), engine("b", marked=True))
    return seen("ab", ledger=told, pods=pods, drains=(drain("b", 2, reason),), **more)


def test_the_scale_is_lowered_once_its_instance_is_drained() -> None:
    assert decided(under_way("", request("b", 0))).replicas is None
    assert decided(under_way("Drained")).replicas == 1
    unmarked_pod = (engine("a"), engine("b"))
    again = decided(under_way("Drained", pods=unmarked_pod))
    assert ([p.uid for p in again.mark], again.replicas) == (["b"], None)


def test_after_that_its_pod_has_to_go() -> None:
    waits = decided(under_way("Drained"), 1)
    assert (waits.replicas, waits.end, waits.unmark) == (None, (), ())
    going = (engine("a"), engine("b", marked=True, terminating=True))
    goes = decided(under_way("Drained", pods=going), 1)
    assert (goes.end, goes.unmark, goes.happened) == ((), (), None)
    # One that takes long keeps nobody from adding another.
    full = ledger("ab", *busy("a", 19), _b=State.DRAINING)
    assert decided(under_way("Drained", pods=going, ledger=full), 1).replicas == 2
    other = (engine("a", terminating=True), engine("b", marked=True))
    wrong = decided(under_way("Drained", pods=other), 1)
    assert wrong.happened is not None
    assert (wrong.happened.reason, wrong.happened.warning) == (Reason.WRONG_POD_REMOVED, True)
    assert [each.spec.pod_uid for each in wrong.end] == ["b"]
    assert [each.uid for each in wrong.unmark] == ["b"]
    late = replace(under_way("Drained"), now=NOW + 2 * 3600)
    assert decided(late, 1).end != ()


@pytest.mark.parametrize(
    ("found", "replicas"),
    [
        pytest.param(under_way("", *busy("a", 19), *busy("b", 1)), 2, id="load"),
        pytest.param(under_way("Drained", *busy("a", 19)), 2, id="load at the last moment"),
        pytest.param(under_way("Drained"), 3, id="scaled by another"),
        pytest.param(under_way("DeadlineOver", request("b", 0)), 2, id="pinned"),
        pytest.param(under_way("NoGateway"), 2, id="no gateway"),
        pytest.param(under_way("Drained", scaling={"minReplicas": 2}), 2, id="least raised"),
        pytest.param(
            under_way("Drained", pods=(engine("a", ready=False), engine("b", marked=True))),
            2,
            id="another would go",
        ),
        pytest.param(
            under_way("Drained", pods=(engine("a", revision="2"), engine("b", marked=True))),
            2,
            id="rollout",
        ),
        pytest.param(
            under_way("", scaling={"targetRef": {"kind": "Deployment", "name": "other"}}),
            2,
            id="another workload",
        ),
    ],
)
def test_what_undoes_it(found: Seen, replicas: int) -> None:
    answer = decided(found, replicas)
    assert answer.replicas is None or answer.replicas > replicas
    assert [each.spec.pod_uid for each in answer.end] == ["b"]
    assert [each.uid for each in answer.unmark] == ["b"]
    assert answer.happened is not None
    assert answer.happened.reason is Reason.SCALE_IN_CANCELLED


def test_leftovers_go_whatever_keeps_us_from_scaling() -> None:
    marks = (engine("a", marked=True), engine("b"))
    assert [p.uid for p in decided(seen("ab", pods=marks)).unmark] == ["a"]
    elsewhere = Obstacle(Reason.SCALED_ELSEWHERE, "HorizontalPodAutoscaler x")
    stopped = decide(under_way("Drained"), elsewhere)
    assert stopped is not None
    assert (len(stopped.end), len(stopped.unmark)) == (1, 1)
    assert (stopped.reason, stopped.scales) == (Reason.SCALED_ELSEWHERE, False)
    assert stopped.freeness is not None
    off = replace(under_way(), pool=pool().model_copy(update={"spec": _unscaled()}))
    ended = decide(off, None)
    assert ended is not None
    assert (len(ended.end), len(ended.unmark)) == (1, 1)
    assert decide(replace(off, drains=(), pods=()), None) is None


def _unscaled() -> Any:
    return pool().spec.model_copy(update={"scaling": None})


def test_nobody_is_scaled_by_half_of_what_there_is_to_know() -> None:
    found = since(seen("ab"))
    silent = replace(found, ledgers=dict(found.ledgers) | {"h": None})
    assert (decided(silent).reason, decided(silent).scales) == (Reason.GATEWAY_SILENT, False)
    assert decided(replace(found, ledgers={})).reason is Reason.NO_GATEWAY
    unknown = Ledger("g", "llama", [entry("a", tokens=0), entry("b", tokens=0)], [])
    assert decided(since(seen("ab", ledger=unknown))).reason is Reason.CAPACITY_UNKNOWN


# The pool as all its gateways see it.


def test_gateways_are_summed_and_moves_count_at_both_ends() -> None:
    one = ledger("ab", request("a", 0, 100), request("a", 1, 100, moving="b"))
    two = Ledger("h", "llama", [entry("a"), entry("c", State.LOST)], busy("c", 1))
    view = merged([one, two], 50.0)
    a, b = view.instances
    assert (a.batch, a.used, a.leaving) == (2, 2 * 112, 1)
    assert (b.batch, b.used, b.arriving) == (0, 112, 1)
    assert [r.id for r in view.waiting] == ["c.0"]
    assert sorted(r.arrived for r in a.requests()) == [49.0, 49.0]


def test_who_has_no_token_yet_is_let_in_by_age() -> None:
    young = request("a", 0, 6_000, phase=Phase.QUEUED, arrived=1.0)
    old = request("a", 1, 6_000, phase=Phase.QUEUED, arrived=9.0)
    (view,) = merged([ledger("a", young, old, request("a", 2))], 50.0).instances
    assert (view.batch, view.queued, view.demand, view.head) == (2, 1, 6016, 6016)
    phases = {r.id: r.phase for r in view.requests()}
    assert phases["a.1"] is ViewPhase.PREFILL
    assert phases["a.0"] is ViewPhase.QUEUED


def test_an_instance_drains_as_soon_as_one_gateway_knows() -> None:
    other = Ledger("h", "llama", [entry("a", State.DRAINING)], [])
    (view,) = merged([ledger("a"), other], 0.0).instances
    assert view.state is ViewState.DRAINING


# Pods of workloads.


SHAPE = Shape((), (), None, (), (), (), "", 0, True, "default-scheduler")


def of(owner: Owner | None, name: str = "llama-7d9-x", **labels: str) -> Pod:
    return Pod(
        namespace="chat", name=name, uid="u", labels=tuple(labels.items()), annotations=(),
        owner=owner, shape=SHAPE, node="n", nominated="", terminating=False,
        gated=False, ready=True, mirror=False, unschedulable="",
    )  # fmt: skip


GROUP = "leaderworkerset.sigs.k8s.io/"
LEADER = {f"{GROUP}name": "llama", f"{GROUP}group-index": "3", f"{GROUP}worker-index": "0"}


@pytest.mark.parametrize(
    ("pod", "found"),
    [
        (
            of(Owner("ReplicaSet", "llama-7d9", "u", "apps"), **{"pod-template-hash": "7d9"}),
            ("Deployment/llama", 0),
        ),
        (of(Owner("ReplicaSet", "bare", "u", "apps")), ("", 0)),
        (of(Owner("ReplicaSet", "x-7d9", "u", "a.b"), **{"pod-template-hash": "7d9"}), ("", 0)),
        (
            of(Owner("StatefulSet", "llama", "u", "apps"), name="llama-12"),
            ("StatefulSet/llama", 12),
        ),
        (
            of(Owner("StatefulSet", "llama", "u", "apps"), name="llama-3", **LEADER),
            ("LeaderWorkerSet/llama", 3),
        ),
        (
            of(None, **LEADER | {f"{GROUP}worker-index": "1"}),
            ("", 0),
        ),
        (of(None), ("", 0)),
    ],
)
def test_a_pod_says_which_workload_it_belongs_to(pod: Pod, found: tuple[str, int]) -> None:
    where = place(pod)
    assert (where.workload, where.ordinal) == found


@given(st.dictionaries(st.sampled_from([DELETION_COST, MARK, "other"]), st.sampled_from(["", "7"])))
def test_a_mark_leaves_nothing_behind(before: dict[str, str]) -> None:
    before.pop(MARK, None)
    if before.get(DELETION_COST) == "":
        del before[DELETION_COST]
    after = _patched(before, marked(before))
    assert after[DELETION_COST] == FIRST_TO_GO
    assert marked(after) is None
    assert _patched(after, unmarked(after)) == before
    own = after | {DELETION_COST: "9"}
    assert _patched(own, unmarked(own))[DELETION_COST] == "9"
    assert unmarked(before) is None


def _patched(before: dict[str, str], change: Any) -> dict[str, str]:
    after: dict[str, str | None] = before | change
    return {key: value for key, value in after.items() if value is not None}


# Whole lives.


@dataclass
class World:
    """A workload, its pool's gateway and an API server, as far as scaling sees them."""

    kind: str
    replicas: int = 2
    pods: dict[str, EnginePod] = field(default_factory=dict)
    drains: dict[str, InstanceDrain] = field(default_factory=dict)
    load: dict[str, int] = field(default_factory=dict)
    waiting: int = 0
    now: int = NOW
    made: int = 0
    pool: ServingPool = field(default_factory=pool)
    lost: int = 0

    def __post_init__(self) -> None:
        self.pool = pool(self.kind, minReplicas=0, inAfter="20s")
        self.settle()

    def settle(self) -> None:
        """The workload's controller, which always wins by Kubernetes' own order; then gateways."""
        gone = [uid for uid, pod in self.pods.items() if pod.terminating]
        for uid in gone:
            self.lost += self.load.pop(uid, 0)
            del self.pods[uid]
        while len(self.pods) < self.replicas:
            used = {pod.place.ordinal for pod in self.pods.values()}
            ordinal = next(n for n in range(99) if n not in used)
            self.made += 1
            uid = f"{self.made}"
            where = Place(workload=f"{self.kind}/llama", ordinal=ordinal, revision="1")
            self.pods[uid] = EnginePod(name=f"llama-{ordinal}.{uid}", uid=uid, place=where)
            self.load[uid] = 0
        while len([p for p in self.pods.values() if not p.terminating]) > self.replicas:
            there = [p for p in self.pods.values() if not p.terminating]
            victim = next_to_go(self.kind, there, lambda _: 0)
            assert victim is not None
            self.pods[victim.uid] = replace(victim, terminating=True)
        self.place()

    def place(self) -> None:
        """Gateways move what is on instances that drain, and what waits, to those with room."""
        draining = {each.spec.pod_uid for each in self.drains.values()}
        serving = [u for u, p in self.pods.items() if u not in draining and not p.terminating]
        for uid in draining & self.load.keys():
            self.waiting, self.load[uid] = self.waiting + self.load[uid], 0
        for uid in serving:
            room = max(0, 19 - self.load[uid])
            taken = min(room, self.waiting)
            self.waiting, self.load[uid] = self.waiting - taken, self.load[uid] + taken

    def seen(self) -> Seen:
        draining = {each.spec.pod_uid for each in self.drains.values()}
        states = {u: State.DRAINING if u in draining else State.SERVING for u in self.load}
        asked = [r for uid, count in self.load.items() for r in busy(uid, count)]
        asked += [request("", n, phase=Phase.PARKED) for n in range(self.waiting)]
        entries = [entry(uid, state) for uid, state in states.items()]
        return Seen(
            pool=self.pool,
            pods=tuple(self.pods.values()),
            drains=tuple(self.drains.values()),
            ledgers={"g": Ledger("g", "llama", entries, asked)},
            now=self.now,
        )

    def turn(self, steps: int) -> None:
        """A turn of the controller that dies after so many writes."""
        found = self.seen()
        scaling = decide(found, Workload(self.replicas))
        assert scaling is not None
        decision = draining.decide(found)
        begun = [scaling.begin] if scaling.begin else []
        reports = [drain.model_copy(update={"status": said}) for drain, said in decision.report]
        status = pool_status(found, scaling)
        writes: list[Callable[[], Any]] = [
            *(partial(self.forget, each) for each in decision.delete),
            *(partial(self.put, each) for each in reports),
            *(partial(self.mark, each, on=False) for each in scaling.unmark),
            *(partial(self.forget, each) for each in scaling.end),
            *(partial(self.mark, each, on=True) for each in scaling.mark),
            *(partial(self.put, each) for each in begun),
            partial(self.scale, scaling.replicas),
            partial(self.say, status),
        ]
        for write in writes[:steps]:
            write()

    def put(self, drain: InstanceDrain) -> None:
        self.drains[drain.metadata.name] = drain

    def forget(self, drain: InstanceDrain) -> None:
        self.drains.pop(drain.metadata.name, None)

    def say(self, status: ServingPoolStatus) -> None:
        self.pool = self.pool.model_copy(update={"status": status})

    def mark(self, pod: EnginePod, *, on: bool) -> None:
        if pod.uid in self.pods:
            self.pods[pod.uid] = replace(self.pods[pod.uid], marked=on)

    def scale(self, replicas: int | None) -> None:
        if replicas is None:
            return
        if replicas < self.replicas:
            draining = {each.spec.pod_uid for each in self.drains.values()}
            assert sum(self.load[uid] for uid in draining & self.load.keys()) == 0
        self.replicas = replicas


KINDS = st.sampled_from(["Deployment", "StatefulSet", "LeaderWorkerSet"])
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("turn"), st.integers(0, 9)),
        st.tuples(st.just("ask"), st.integers(1, 60)),
        st.tuples(st.just("end"), st.integers(1, 60)),
        st.tuples(st.just("wait"), st.integers(1, 30)),
        st.tuples(st.just("settle"), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(kind=KINDS, events=EVENTS)
def test_a_controller_that_dies_anywhere_loses_nobody_and_leaves_nothing(
    kind: str, events: list[tuple[str, int]]
) -> None:
    world = World(kind)
    for what, number in events:
        match what:
            case "turn":
                world.turn(number)
            case "ask":
                world.waiting += number
                world.place()
            case "end":
                for uid in list(world.load):
                    world.load[uid] = max(0, world.load[uid] - number)
                world.waiting = max(0, world.waiting - number)
            case "wait":
                world.now += number
                world.place()
            case _:
                world.settle()
        assert 0 <= world.replicas <= 4
    assert world.lost == 0
    # In the end the load decides, and nothing is left of what was under way.
    world.load, world.waiting = dict.fromkeys(world.load, 0), 0
    for _ in range(80):
        world.turn(99)
        world.now += 15
        world.settle()
    assert (world.replicas, world.pods, world.drains) == (0, {}, {})
    world.waiting = 30
    for _ in range(20):
        world.turn(99)
        world.now += 15
        world.settle()
    assert (world.replicas, world.waiting, world.lost) == (2, 0, 0)
    assert not any(pod.marked for pod in world.pods.values())
