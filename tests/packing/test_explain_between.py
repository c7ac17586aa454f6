"""Explanations of pods with rules between pods, host ports, features and volumes.

Covers each rule's line in the funnel, the verdict, the nearest nodes and the changes offered, each
of which is done to the objects and judged anew; which pods the planner is said not to try. Not
covered: the filters themselves (tests/cluster/test_state) and rules of the node alone
(test_explain).
"""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairstow.cluster import state
from fairstow.cluster.model import Pod
from fairstow.cluster.snapshot import Snapshot
from fairstow.packing.explain import Change, Explanation, Relaxation, State, explain, explain_all
from fairstow.packing.model import Decision, Request, Tier
from tests.cluster.objects import GPU, Object, node, pod, snapshot

ZONE = "topology.kubernetes.io/zone"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
WEB: dict[str, Any] = {"labels": {"app": "web"}}
DB: dict[str, Any] = {"labels": {"app": "db"}}
PORT: dict[str, Any] = {
    "containers": [{"name": "main", "ports": [{"hostPort": 8080, "containerPort": 80}]}]
}


def at(name: str, zone: str, **more: Any) -> Object:
    return node(name, labels={ZONE: zone} if zone else {}, **more)


def term(app: str, key: str = ZONE, **more: Any) -> Object:
    return {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key, **more}


def near(*terms: Object) -> dict[str, Any]:
    return {"affinity": {"podAffinity": {REQUIRED: list(terms)}}}


def apart(*terms: Object) -> dict[str, Any]:
    return {"affinity": {"podAntiAffinity": {REQUIRED: list(terms)}}}


def spread(skew: int = 1, key: str = ZONE, app: str = "web", **more: Any) -> dict[str, Any]:
    rule: Object = {"maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule"}
    rule["labelSelector"] = {"matchLabels": {"app": app}}
    return {"topologySpreadConstraints": [rule | more]}


def claiming(name: str) -> dict[str, Any]:
    return {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": name}}]}


def find(found: Snapshot, name: str) -> Pod:
    (match,) = [p for p in found.pods if p.name == name]
    return match


def said(*objects: Object, decision: Decision | None = None) -> Explanation:
    found = snapshot(*objects)
    return explain(found, find(found, "wants"), decision)


def funnel(told: Explanation) -> list[str]:
    return [str(line) for line in told.funnel]


def offers(told: Explanation) -> list[str]:
    return [r.text for r in told.relaxations]


def nearest(told: Explanation) -> list[str]:
    return [str(n) for n in told.nearest]


# One rule at a time


def test_topology_spread() -> None:
    told = said(
        at("a", "x"),
        at("b", "x"),
        at("c", "y", allocatable={"cpu": "1", "pods": "9"}),
        at("d", ""),
        pod("one", nodeName="a", **WEB),
        pod("two", nodeName="a", **WEB),
        pod("three", nodeName="c", **WEB),
        pod("wants", **WEB, **spread()),
    )
    assert told.state is State.BLOCKED
    assert told.verdict.endswith(
        "largest hole is 0 of the 1 it asks for; 3 others have room, but its topology spread "
        "rules them out."
    )
    assert funnel(told) == [
        "4 nodes",
        (
            f"1 in zones where topology spread ({ZONE}, maxSkew 1) allows one more: 2 would bring "
            f"{ZONE}=x to a skew of 2, 1 lacks the label {ZONE}"
        ),
        "0 with room: largest hole 0 of 1 cpu",
    ]
    assert nearest(told) == [
        "c: short 1 cpu: 1 asked, 0 free",
        f"a has room, but would bring {ZONE}=x to a skew of 2",
        f"b has room, but would bring {ZONE}=x to a skew of 2",
    ]
    assert offers(told) == [
        f"raise maxSkew of the topology spread by {ZONE} from 1 to 2 → 2 nodes have room (a, b)",
        f"drop the topology spread by {ZONE} → fits on d",
    ]


def test_the_least_skew_that_helps_is_offered() -> None:
    running = [pod(f"r{i}", nodeName=n, **WEB) for i, n in enumerate("aaabb")]
    nodes = [at("a", "x"), at("a2", "x"), at("b", "y")]
    full = at("full", "z", allocatable={"pods": "0"})
    told = said(*nodes, full, *running, pod("wants", **WEB, **spread()))
    assert offers(told) == [
        f"raise maxSkew of the topology spread by {ZONE} from 1 to 3 → fits on b"
    ]


def test_a_place_among_the_nearest_is_kept_for_a_node_that_a_rule_alone_refuses() -> None:
    """And what rules between pods refuse is nearer than what is shut."""
    full = [at(f"full-{i}", "x", allocatable={"cpu": "0", "pods": "9"}) for i in range(4)]
    shut = at("a-shut", "y", spec={"unschedulable": True})
    told = said(
        *full,
        shut,
        at("taken", "y"),
        pod("r", nodeName="taken", **WEB),
        pod("wants", requests={"cpu": "1"}, **apart(term("web", "kubernetes.io/hostname"))),
    )
    assert [n.node for n in told.nearest] == ["full-0", "full-1", "taken"]


def test_a_spread_by_node_needs_no_word_for_places() -> None:
    host = "kubernetes.io/hostname"
    running = [pod(f"r{n}", nodeName=n, **WEB) for n in "ab"]
    wants = pod("wants", **WEB, **spread(key=host, minDomains=3))
    label = f"0 where topology spread ({host}, maxSkew 1) allows one more"
    assert label in str(said(at("a", "x"), at("b", "x"), *running, wants).funnel[1])


def test_pod_affinity() -> None:
    told = said(
        at("a", "x"),
        at("b", "y"),
        at("c", "x", spec={"unschedulable": True}),
        pod("db", nodeName="a", requests={"cpu": "8"}, **DB),
        pod("wants", **near(term("db"))),
    )
    assert funnel(told)[1:] == [
        "2 not cordoned: 1 is cordoned",
        f"1 with a pod of app=db nearby, by {ZONE}",
        "0 with room: largest hole 0 of 1 cpu",
    ]
    assert "1 other has room, but its pod affinity rules it out" in told.verdict
    assert f"b has room, but has no pod that it must be near, by {ZONE}" in nearest(told)
    assert offers(told) == [
        "uncordon c → it has room",
        f"drop the required affinity to pods of app=db by {ZONE} → fits on b",
    ]


def test_pod_affinity_to_what_is_nowhere() -> None:
    told = said(at("a", "x"), pod("wants", **near(term("db"))))
    assert told.verdict == (
        f"Waits: none of 1 node may take it: none has a pod of app=db nearby, by {ZONE}."
    )
    assert told.next_step == "kubectl get pods -A -o wide -l app=db"


def test_pod_anti_affinity() -> None:
    running = [pod(f"r{n}", nodeName=n, **WEB) for n in "ab"]
    told = said(at("a", "x"), at("b", "y"), *running, pod("wants", **WEB, **apart(term("web"))))
    assert funnel(told)[1:] == [f"0 without a pod of app=web nearby, by {ZONE}"]
    assert offers(told) == [
        f"drop the required anti-affinity to pods of app=web by {ZONE} → 2 nodes have room (a, b)"
    ]


def test_of_several_terms_the_one_in_the_way_is_offered() -> None:
    terms = (term("db"), term("web", "kubernetes.io/hostname", namespaces=["team", "other"]))
    running = pod("r", nodeName="a", **WEB)
    told = said(at("a", "x"), running, pod("wants", **apart(*terms)))
    (offer,) = offers(told)
    assert offer == (
        "drop the required anti-affinity to pods of app=web in namespace team or other by "
        "kubernetes.io/hostname → fits on a"
    )


def test_host_ports() -> None:
    told = said(
        at("a", "x"),
        at("b", "x"),
        pod("r", nodeName="a", **PORT),
        pod("big", nodeName="b", requests={"cpu": "8"}),
        pod(
            "wants",
            containers=[PORT["containers"][0] | {"resources": {"requests": {"cpu": "1"}}}],
        ),
    )
    assert funnel(told)[1:] == [
        "1 with host port 8080 free",
        "0 with room: largest hole 0 of 1 cpu",
    ]
    assert offers(told) == ["do without host port 8080 → fits on a"]
    assert "a has room, but has port 8080/TCP taken" in nearest(told)


def test_features_that_nodes_declare() -> None:
    able = node("able", spec={"unschedulable": True})
    able["status"]["declaredFeatures"] = ["UserNamespacesHostNetworkSupport"]
    wants = pod("wants", hostNetwork=True, hostUsers=False)
    told = said(node("a"), node("b"), able, wants)
    assert funnel(told)[1:] == [
        "2 not cordoned: 1 is cordoned",
        "0 declaring UserNamespacesHostNetworkSupport",
    ]
    assert "a has room, but doesn't declare UserNamespacesHostNetworkSupport" in nearest(told)
    assert offers(told) == ["uncordon able → it has room"]


# Volumes


def storage(*claims: str) -> list[Object]:
    """Bound claims, each with a volume in zone x."""
    found: list[Object] = [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "disk"},
            "provisioner": "disk.example.com",
        },
        {"apiVersion": "storage.k8s.io/v1", "kind": "CSINodeList", "items": []},
        {"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriverList", "items": []},
        {"apiVersion": "v1", "kind": "PersistentVolumeList", "items": []},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaimList", "items": []},
    ]
    in_x = {"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["x"]}]}
    for name in claims:
        found += [
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {
                    "name": name,
                    "namespace": "team",
                    "annotations": {"pv.kubernetes.io/bind-completed": "yes"},
                },
                "spec": {"volumeName": f"pv-{name}"},
            },
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": f"pv-{name}"},
                "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [in_x]}}},
            },
        ]
    return found


def test_volumes_that_are_elsewhere() -> None:
    full = pod("big", nodeName="a", requests={"cpu": "8"})
    told = said(
        at("a", "x"), at("b", "y"), full, *storage("data"), pod("wants", **claiming("data"))
    )
    assert funnel(told)[1:] == [
        "1 that its volumes reach: 1 isn't among the nodes of volume pv-data",
        "0 with room: largest hole 0 of 1 cpu",
    ]
    assert offers(told) == []


def test_a_claim_that_is_not_there() -> None:
    told = said(at("a", "x"), *storage(), pod("wants", **claiming("data")))
    assert told.state is State.BLOCKED
    assert told.verdict == (
        "Waits: none of 1 node may take it: none can give it the claim data: it isn't there."
    )
    assert told.next_step == "kubectl describe pvc -n team data"


def test_claims_in_an_input_without_claims_are_unknown_not_missing() -> None:
    told = said(at("a", "x"), pod("wants", **claiming("data")))
    assert told.state is State.UNKNOWN
    assert "it can't be judged: the input holds no PersistentVolumeClaims" in told.verdict
    assert funnel(told)[-1].startswith("0 known to take it: 1 can't be judged")
    assert "fetch them too: kubectl get persistentvolumeclaims," in told.not_considered[0]


def test_a_cordon_is_no_offer_where_nobody_knows_of_the_claims() -> None:
    told = said(at("a", "x", spec={"unschedulable": True}), pod("wants", **claiming("data")))
    assert (told.state, offers(told)) == (State.BLOCKED, [])


def test_each_pod_answers_for_its_own_ephemeral_claim() -> None:
    own: dict[str, Any] = {"volumes": [{"name": "data", "ephemeral": {"volumeClaimTemplate": {}}}]}
    objects = [at("a", "x"), *storage("one-data"), pod("one", **own), pod("two", **own)]
    (claim,) = [o for o in objects if o["kind"] == "PersistentVolumeClaim"]
    owner = {"kind": "Pod", "name": "one", "uid": "uid-team-one", "controller": True}
    claim["metadata"]["ownerReferences"] = [owner]
    found = snapshot(*objects)
    one, two = explain_all(found, found.pending, None)
    assert (one.state, two.state) == (State.FITS, State.BLOCKED)


# What is offered is true


APPS = st.sampled_from(("web", "db"))
KEYS = st.sampled_from((ZONE, "kubernetes.io/hostname"))


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    """A pod's rules: any of affinity, anti-affinity, spread and ports."""
    spec: dict[str, Any] = {}
    affinity: dict[str, Any] = {}
    for kind in ("podAffinity", "podAntiAffinity"):
        if draw(st.integers(0, 2)) == 0:
            terms = [term(draw(APPS), draw(KEYS)) for _ in range(draw(st.integers(1, 2)))]
            affinity[kind] = {REQUIRED: terms}
    if affinity:
        spec["affinity"] = affinity
    if draw(st.booleans()):
        constraints = []
        for key in draw(st.sets(KEYS, min_size=1)):
            more: Object = {
                "nodeTaintsPolicy": draw(st.sampled_from(("Honor", "Ignore"))),
                "nodeAffinityPolicy": draw(st.sampled_from(("Honor", "Ignore"))),
            }
            if draw(st.integers(0, 3)) == 0:
                more["minDomains"] = 3
            rule = spread(draw(st.integers(1, 2)), key, draw(APPS), **more)
            constraints += rule["topologySpreadConstraints"]
        spec["topologySpreadConstraints"] = constraints
    ports = [{"hostPort": p, "containerPort": p} for p in draw(st.sets(st.sampled_from((80, 81))))]
    requests = {"cpu": str(draw(st.integers(1, 4)))}
    spec["containers"] = [{"name": "main", "ports": ports, "resources": {"requests": requests}}]
    if draw(st.integers(0, 4)) == 0:
        spec["nodeSelector"] = {"pool": "a"}
    return spec


@st.composite
def clusters(draw: st.DrawFn) -> list[Object]:
    """Up to five nodes in up to two zones, pods with rules on them, and two that wait."""
    count = draw(st.integers(1, 5))
    objects: list[Object] = []
    for i in range(count):
        labels = draw(st.sampled_from(({}, {ZONE: "x"}, {ZONE: "y"}, {ZONE: "y", "pool": "a"})))
        taint = {"key": "gpu", "value": "x", "effect": "NoSchedule"}
        objects.append(
            node(
                f"n{i}",
                labels=labels,
                taints=[taint] if draw(st.integers(0, 4)) == 0 else [],
                spec={"unschedulable": draw(st.integers(0, 5)) == 0},
                allocatable={"cpu": str(draw(st.integers(1, 6))), "pods": "9"},
            )
        )
    for i in range(draw(st.integers(0, 5))):
        on = f"n{draw(st.integers(0, count - 1))}"
        where: dict[str, Any] = {"nodeName": on}
        if draw(st.integers(0, 5)) == 0:
            where = {"status": {"nominatedNodeName": on}}
        objects.append(pod(f"r{i}", labels={"app": draw(APPS)}, **where, **draw(rules())))
    waiting = [pod(f"w{i}", labels={"app": draw(APPS)}, **draw(rules())) for i in range(2)]
    return [*objects, *waiting]


def fitting(found: Snapshot, wanted: Pod) -> set[str]:
    judge = state.State(found)
    return {n.name for n in found.nodes if judge.refusal(wanted, n) is None}


@settings(deadline=None, max_examples=300)
@given(clusters())
def test_an_explanation_is_true(objects: list[Object]) -> None:
    """The funnel ends at the nodes that fit, near nodes refuse as is said, each change helps."""
    found = snapshot(*objects)
    judge = state.State(found)
    for wanted in found.pending:
        told = explain(found, wanted, None)
        fits = fitting(found, wanted)
        counts = [line.nodes_left for line in told.funnel]
        assert counts[0] == len(found.nodes)
        assert counts == sorted(counts, reverse=True)
        assert counts[-1] == len(fits)
        assert told.state is (State.FITS if fits else State.BLOCKED)
        for near_one in told.nearest:
            refusals = judge.refusals(wanted, found.node_by_name[near_one.node])
            if near_one.refusal:
                assert near_one.refusal in refusals
            assert bool(near_one.deficits) == ("Insufficient" in "".join(r.rule for r in refusals))
        for offer in told.relaxations:
            assert offer.nodes
            now = snapshot(*applied(objects, wanted.name, offer))
            assert set(offer.nodes) <= fitting(now, find(now, wanted.name)), offer


def applied(objects: list[Object], name: str, offer: Relaxation) -> list[Object]:
    """The cluster after doing what a relaxation says."""
    objects = copy.deepcopy(objects)
    (wanted,) = [o for o in objects if o["kind"] == "Pod" and o["metadata"]["name"] == name]
    spec, key = wanted["spec"], offer.key
    (main,) = spec["containers"]
    constraints = spec.get("topologySpreadConstraints", [])
    match offer.change:
        case Change.REQUEST:
            main["resources"]["requests"][key] = f"{offer.value}m"
        case Change.TOLERATE:
            spec["tolerations"] = [{"key": key, "value": offer.value}]
        case Change.SELECTOR:
            del spec["nodeSelector"][key]
        case Change.PORT:
            main["ports"] = [p for p in main["ports"] if str(p["hostPort"]) != key]
        case Change.SKEW:
            (rule,) = [c for c in constraints if c["topologyKey"] == key]
            rule["maxSkew"] = int(offer.value)
        case Change.SPREAD:
            kept = [c for c in constraints if c["topologyKey"] != key]
            spec["topologySpreadConstraints"] = kept
        case Change.NEAR:
            del spec["affinity"]["podAffinity"][REQUIRED][int(offer.value)]
        case Change.APART:
            del spec["affinity"]["podAntiAffinity"][REQUIRED][int(offer.value)]
        case Change.UNCORDON:
            (there,) = [o for o in objects if o["metadata"]["name"] == key]
            there["spec"]["unschedulable"] = False
        case Change.AFFINITY:
            raise AssertionError("no pod here has node affinity")
    return objects


def test_no_cordon_is_offered_where_the_spread_counts_nodes_by_their_taints() -> None:
    """With the node back, its empty zone counts, and the pod may not go to any other."""
    cordoned = at("b", "y", spec={"unschedulable": True})
    wants = pod("wants", **WEB, **spread(nodeTaintsPolicy="Honor"))
    told = said(at("a", "x", allocatable={"pods": "0"}), cordoned, wants)
    assert nearest(told)[-1] == "b has room, but is cordoned"
    assert offers(told) == []


# What plans can do


def left_waiting(*objects: Object, **request: Any) -> str:
    found = snapshot(*objects)
    tiers = (Tier(0, 0, 0, 1, 0),)
    asked = Request(found, **request)
    nothing = Decision(asked, (), (), (), (), tiers, 0, True, (), budgets_known=True)
    return str(explain(found, find(found, "wants"), nothing).plan_fixes)


GATED = pod("gated", labels={"scheduling.x-k8s.io/pod-group": "g"}, schedulingGates=[{"name": "x"}])


@pytest.mark.parametrize(
    ("spec", "others", "because"),
    [
        (claiming("data"), (), "what decides about its claims isn't modelled, or isn't in the"),
        ({"resourceClaims": [{"name": "x"}]}, (), "it uses resource claims (DRA), which the"),
        ({"labels": {"scheduling.x-k8s.io/pod-group": "g"}}, (GATED,), "too few pods of gang"),
        (
            {"containers": [{"name": "m", "ports": [{"hostPort": 80, "hostIP": "10.0.0.1"}]}]},
            (),
            "it uses host ports on one address alone, which",
        ),
    ],
    ids=["volume", "dra", "gang", "address"],
)
def test_pods_that_the_planner_does_not_try(
    spec: dict[str, Any], others: tuple[Object, ...], because: str
) -> None:
    text = left_waiting(at("a", "x"), *others, pod("wants", **spec))
    assert text.startswith(f"The plan doesn't try it: {because}")


def test_pods_that_the_planner_tries_are_told_what_is_proved() -> None:
    full = pod("r", nodeName="a", requests={"cpu": "8"})
    assert "Proved: with moves only" in left_waiting(at("a", "x"), full, pod("wants", **spread()))


def test_no_plan_is_promised_where_pods_in_the_way_never_move() -> None:
    stays: dict[str, Any] = {"annotations": {"fairstow.dev/do-not-disrupt": "true"}}
    text = left_waiting(at("a", "x"), pod("r", nodeName="a", **stays, **PORT), pod("wants", **PORT))
    assert text == "No plan can help: the pods in its way are of kinds that plans don't move."


@pytest.mark.parametrize("limit", [{"min_age": 600}, {"cooling": {"team/ReplicaSet/web"}}])
def test_no_plan_is_promised_where_pods_in_the_way_are_left_alone_for_now(
    limit: dict[str, Any],
) -> None:
    objects = (at("a", "x"), pod("r", nodeName="a", **PORT), pod("wants", **PORT))
    assert "No plan can help" not in left_waiting(*objects)
    assert left_waiting(*objects, **limit) == (
        "No plan can help: the pods in its way are of kinds that plans don't move, "
        "or left alone for now."
    )


def test_a_skew_may_change_with_a_plan() -> None:
    """Other arrivals raise the floor, so nothing is ruled out that a search might find."""
    running = [pod("one", nodeName="a", **WEB), pod("two", nodeName="a", **WEB)]
    full = at("c", "y", allocatable={"cpu": "1", "pods": "0"})
    objects = (at("a", "x"), full, *running, pod("wants", **WEB, **spread()))
    assert "No plan can help" not in left_waiting(*objects)
    assert said(*objects).next_step == "fairstow plan"


def test_no_plan_is_looked_for_where_the_planner_would_not_try_the_pod() -> None:
    full = pod("big", nodeName="a", requests={"cpu": "8"})
    ports = [{"containerPort": 80, "hostPort": 80, "hostIP": "10.0.0.1"}]
    main = {"name": "m", "ports": ports, "resources": {"requests": {"cpu": "1"}}}
    told = said(at("a", "x"), full, pod("wants", containers=[main]))
    assert told.state is State.BLOCKED
    assert told.next_step != "fairstow plan"
    told = said(at("a", "x"), full, *storage("data"), pod("wants", **claiming("data")))
    assert told.next_step == "fairstow plan"


def test_accelerators_still_lead_the_verdict() -> None:
    wants = pod("wants", requests={"cpu": "1", GPU: "8"}, **WEB, **apart(term("web")))
    assert "the largest has 4" in said(at("a", "x"), wants).verdict


def test_room_for_one_member_is_not_room_for_its_gang() -> None:
    told = said(at("a", "x"), pod("wants", labels={"scheduling.x-k8s.io/pod-group": "g"}))
    assert "with its gang team/g, and room for all of it isn't judged here" in told.verdict
    assert any("all of gang team/g" in s for s in told.not_considered)
