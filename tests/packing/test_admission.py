"""The webhook's decisions: reviews read and written, approvals, advice, pods that never fit.

Not covered: the server round them (tests/controllers/test_webhook.py), what the API server makes
of the replies and who may approve there (e2e/test_webhook.py).
"""

import copy
import json
from base64 import b64decode
from contextlib import suppress
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairstow.api import GpuPool, PackingPolicy
from fairstow.cluster import review
from fairstow.cluster.errors import InputError
from fairstow.cluster.review import Json, Reply, Request
from fairstow.packing.admission import advice, approvals, pods
from fairstow.packing.admission.world import World
from tests.api.objects import EXAMPLES, changed
from tests.cluster.objects import GPU, node, pod, snapshot

ANA = "ana@example.com"


def request(
    obj: Json | None, old: Json | None = None, *, resource: str = "packingplans", user: str = ANA
) -> Request:
    group, version = ("", "v1") if resource == "pods" else ("fairstow.dev", "v1alpha1")
    body = {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u-1",
            "resource": {"group": group, "version": version, "resource": resource},
            "operation": "UPDATE" if old else "CREATE",
            "namespace": "team",
            "userInfo": {"username": user, "groups": ["dev"], "extra": {"scopes": ["a"]}},
            "object": obj,
            "oldObject": old,
            "dryRun": False,
        },
    }
    return review.read(json.dumps(body).encode())


def plan(**decisions: Any) -> Json:
    spec = {k: v for k, v in EXAMPLES["PackingPlan"]["spec"].items() if k not in ("approval",)}
    return EXAMPLES["PackingPlan"] | {"spec": spec | decisions}


def patched(obj: Json, patch: tuple[Json, ...]) -> Json:
    result = copy.deepcopy(obj)
    for operation in patch:
        assert operation["op"] == "add"
        *parents, last = operation["path"].split("/")[1:]
        below = result
        for part in parents:
            below = below[part]
        below[last] = operation["value"]
    return result


def test_a_review_is_read_with_all_that_an_access_review_needs() -> None:
    read = request(plan())
    assert read.plural == "packingplans.fairstow.dev"
    assert read.user_info.groups == ("dev",)
    assert read.user_info.extra == {"scopes": ("a",)}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "isn't an AdmissionReview"),
        (b"[1]", "isn't an AdmissionReview"),
        (b'{"apiVersion": "v1", "kind": "Pod"}', "missing required field `request`"),
        (
            (
                b'{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":'
                b'{"uid":"u","operation":"CREATE","resource":{"group":"","version":"v1",'
                b'"resource":"pods"}}}'
            ),
            "is admission.k8s.io/v1beta1 AdmissionReview, not admission.k8s.io/v1",
        ),
        (b'{"a":' + b"[" * 100_000, "isn't an AdmissionReview"),
    ],
)
def test_anything_else_is_refused_with_what_it_is(body: bytes, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        review.read(body)
    assert problem in str(caught.value)


def test_a_reply_carries_verdict_warnings_and_patch() -> None:
    reply = Reply(denied="no", warnings=("w" * 500, "a\nb"), patch=({"op": "add"},))
    answer = json.loads(review.write(request(plan()), reply))
    assert answer["apiVersion"] == "admission.k8s.io/v1"
    response = answer["response"]
    assert (response["uid"], response["allowed"]) == ("u-1", False)
    assert response["status"]["message"] == "no"
    assert json.loads(b64decode(response["patch"])) == [{"op": "add"}]
    assert max(len(text) for text in response["warnings"]) <= review.LONGEST_WARNING
    assert all(text.isprintable() for text in response["warnings"])


def test_what_passes_without_more_says_nothing_more() -> None:
    answer = json.loads(review.write(request(plan()), Reply()))
    assert answer["response"] == {"uid": "u-1", "allowed": True}


class TestApprovals:
    APPROVED: ClassVar = {"decision": "Approved"}

    @pytest.mark.parametrize("claimed", [{}, {"by": "somebody-else"}])
    def test_a_decision_is_stamped_with_the_user_whatever_it_claims(
        self, claimed: dict[str, str]
    ) -> None:
        new = plan(approval=self.APPROVED | claimed)
        for asked in (request(new, plan()), request(new)):
            stamped = patched(new, approvals.stamp(asked).patch)
            assert stamped["spec"]["approval"] == {"decision": "Approved", "by": ANA}

    def test_an_abort_is_stamped_too(self) -> None:
        old = plan(approval=self.APPROVED | {"by": "bea"})
        new = changed(old, {"spec.abort": {}})
        stamped = patched(new, approvals.stamp(request(new, old)).patch)
        assert stamped["spec"]["abort"] == {"by": ANA}
        assert stamped["spec"]["approval"]["by"] == "bea"

    def test_a_decision_that_stands_is_left_alone_and_asks_for_no_right(self) -> None:
        old = plan(approval=self.APPROVED | {"by": "bea"})
        new = changed(old, {"metadata.labels": {"a": "b"}})
        asked = request(new, old)
        assert approvals.stamp(asked) == Reply()
        assert approvals.question(asked) is None

    def test_the_right_is_asked_for_the_user_and_that_plan(self) -> None:
        asked = approvals.question(request(plan(approval=self.APPROVED), plan()))
        assert asked is not None
        assert asked.plan == EXAMPLES["PackingPlan"]["metadata"]["name"]
        assert (asked.user.username, asked.user.groups) == (ANA, ("dev",))

    @pytest.mark.parametrize(
        ("user", "grant"),
        [
            (ANA, f"--user={ANA}"),
            ("system:serviceaccount:ci:deployer", "--serviceaccount=ci:deployer"),
        ],
    )
    def test_a_refusal_says_what_is_missing_and_how_to_get_it(self, user: str, grant: str) -> None:
        asked = request(plan(approval=self.APPROVED | {"by": user}), plan(), user=user)
        reply = judged(asked, allowed=False, said="no RBAC rule matched")
        assert "verb 'approve' on packingplans.fairstow.dev" in reply.denied
        assert f"--clusterrole=fairstow-approver {grant}" in reply.denied
        assert reply.denied.endswith("(no RBAC rule matched)")

    def test_with_the_right_it_passes_under_ones_own_name_only(self) -> None:
        own = request(plan(approval=self.APPROVED | {"by": ANA}), plan())
        other = request(plan(approval=self.APPROVED | {"by": "bea"}), plan())
        assert judged(own, allowed=True) == Reply()
        assert "leave the field out" in judged(other, allowed=True).denied

    def test_a_plan_in_a_policys_name_needs_the_right_and_no_decision(self) -> None:
        """Else whoever may make plans has room kept, and pods moved, as if the policy had."""
        of_policy = plan(policy="main")
        assert (
            "in the name of PackingPolicy main" in judged(request(of_policy), allowed=False).denied
        )
        assert judged(request(of_policy), allowed=True) == Reply()
        assert approvals.question(request(plan(policy=None))) is None
        later = changed(of_policy, {"metadata.labels": {"a": "b"}})
        assert approvals.question(request(later, of_policy)) is None

    @pytest.mark.parametrize("before", [None, {}, {"mode": "Recommend"}])
    def test_a_policy_that_comes_into_mode_auto_needs_the_right(self, before: Json | None) -> None:
        old = None if before is None else policy(**before)
        asked = request(policy(mode="Auto"), old, resource="packingpolicies")
        question = approvals.question(asked)
        assert question is not None
        assert question.plan == "", "it is about any plan"
        assert "PackingPolicy main act unasked" in judged(asked, allowed=False).denied
        assert judged(asked, allowed=True) == Reply()

    def test_what_a_policy_does_otherwise_needs_none(self) -> None:
        auto, told = policy(mode="Auto"), policy(mode="Auto", suspend=True)
        for new, old in ((told, auto), (policy(mode="Observe"), auto), (policy(), None)):
            asked = request(new, old, resource="packingpolicies")
            assert approvals.question(asked) is None


def judged(asked: Request, *, allowed: bool, said: str = "") -> Reply:
    question = approvals.question(asked)
    assert question is not None
    return approvals.judge(asked, question, allowed=allowed, said=said)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("a* 0", max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(
        st.sampled_from(["start", "schedule", "name", "decision", "by", "limits", "x"]), inner,
        max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(st.sampled_from(["packingplans", "packingpolicies", "pods"]), st.booleans(), st.data())
def test_an_object_of_any_shape_is_answered_or_called_malformed(
    resource: str, known: bool, data: st.DataObject
) -> None:
    """Not even what the API server would never send ends in a fault of ours."""
    fields = ("metadata", "spec", "status")
    spec = st.dictionaries(
        st.sampled_from(["policy", "approval", "abort", "moves", "placements", "mode", "triggers",
                         "maintenanceWindows", "limits", "poolRef", "nodeName", "containers"]),
        JSON, max_size=4)  # fmt: skip
    shapes = st.none() | st.fixed_dictionaries({}, optional=dict.fromkeys(fields, JSON | spec))
    asked = request(data.draw(shapes), data.draw(shapes), resource=resource)
    there = world(node(), pools=(pool(),)) if known else World()
    decisions = (
        approvals.stamp,
        lambda r: approvals.judge(r, q, allowed=True) if (q := approvals.question(r)) else Reply(),
        lambda r: advice.advise_plan(r, there),
        lambda r: advice.advise_policy(r, there),
        lambda r: pods.admit_pod(r, there),
        review.name_of,
    )
    for decide in decisions:
        with suppress(review.MalformedError):
            decide(asked)


def world(
    *nodes: Json, pools: tuple[GpuPool, ...] = (), policies: tuple[PackingPolicy, ...] = ()
) -> World:
    return World(
        nodes=dict(snapshot(*nodes).node_by_name) if nodes else {},
        pools={pool.metadata.name: pool for pool in pools},
        policies={policy.metadata.name: policy for policy in policies},
    )


def pool(name: str = "a100", **match_labels: str) -> GpuPool:
    spec = {"nodeSelector": {"matchLabels": match_labels}}
    return GpuPool.model_validate({"kind": "GpuPool", "metadata": {"name": name}, "spec": spec})


def read_policy(raw: Json) -> PackingPolicy:
    return PackingPolicy.model_validate(raw)


def policy(name: str = "main", created: str = "2026-02-01T00:00:00Z", **spec: Any) -> Json:
    metadata = {"name": name, "creationTimestamp": created}
    spec = {"poolRef": {"name": "a100"}} | spec
    return {"kind": "PackingPolicy", "metadata": metadata, "spec": spec}


def policy_warnings(raw: Json, known: World) -> tuple[str, ...]:
    reply = advice.advise_policy(request(raw, resource="packingpolicies"), known)
    assert not reply.denied
    assert not reply.patch
    return reply.warnings


class TestPolicies:
    GOOD = world(node("node-0"), pools=(pool(),))

    def test_a_good_policy_gets_no_warning(self) -> None:
        raw = policy(
            mode="Auto",
            limits={"maxMovesPerHour": 5},
            triggers={"schedule": "0 2 * * *"},
            maintenanceWindows=[{"start": "0 0 29 2 *", "duration": "1h"}],
        )
        assert policy_warnings(raw, self.GOOD) == ()

    def test_a_pool_that_is_not_there(self) -> None:
        (said,) = policy_warnings(policy(poolRef={"name": "h100"}), self.GOOD)
        assert "there is no GpuPool h100" in said

    def test_nothing_is_said_while_pools_are_not_known(self) -> None:
        raw = policy(poolRef={"name": "h100"})
        assert policy_warnings(raw, World(nodes={})) == ()
        assert policy_warnings(raw, World(pools={})) == ()

    def test_policies_whose_pools_share_nodes_and_which_of_them_acts(self) -> None:
        earlier = read_policy(policy("older", "2026-01-01T00:00:00Z", poolRef={"name": "all"}))
        known = world(
            node("node-0", labels={"type": "a"}),
            node("node-1", labels={"type": "b"}),
            pools=(pool(type="a"), pool("all"), pool("b", type="b")),
            policies=(earlier, read_policy(policy("b", poolRef={"name": "b"}))),
        )
        (said,) = policy_warnings(policy(), known)
        assert "PackingPolicy older packs 1 of the same nodes" in said
        assert "only older" in said

    def test_a_policy_that_does_not_act_bars_nobody(self) -> None:
        """As the operator has it: b shares a node with main, but doesn't act beside older."""
        known = world(
            *(node(f"node-{n}", labels={"a": str(n < 2), "b": str(n > 0)}) for n in range(3)),
            pools=(pool(a="True"), pool("b", b="True"), pool("c", a="False")),
            policies=(
                read_policy(policy("older", "2026-01-01T00:00:00Z", poolRef={"name": "c"})),
                read_policy(policy("b", "2026-01-02T00:00:00Z", poolRef={"name": "b"})),
            ),
        )
        assert policy_warnings(policy(), known) == ()

    def test_a_policy_does_not_overlap_itself(self) -> None:
        known = world(node(), pools=(pool(),), policies=(read_policy(policy()),))
        assert policy_warnings(policy(), known) == ()

    @pytest.mark.parametrize("never", ["0 0 30 2 *", "0 0 31 2,4 *"])
    def test_times_that_never_come(self, never: str) -> None:
        window = {"start": never, "duration": "1h"}
        said = policy_warnings(
            policy(triggers={"schedule": never}, maintenanceWindows=[window]), self.GOOD
        )
        assert said[0].startswith(f"spec.triggers.schedule: '{never}' never fires")
        assert said[1].startswith(f"spec.maintenanceWindows[0]: '{never}' never fires")

    def test_a_time_zone_that_is_not_there(self) -> None:
        window = {"start": "0 1 * * *", "duration": "1h", "timeZone": "Mars/Olympus"}
        (said,) = policy_warnings(policy(maintenanceWindows=[window]), self.GOOD)
        assert said.startswith("spec.maintenanceWindows[0]: there is no time zone Mars/Olympus")

    def test_auto_that_may_do_nothing(self) -> None:
        limits = {"maxMovesPerHour": 0, "maxMovesPerPlan": 0}
        assert len(policy_warnings(policy(mode="Auto", limits=limits), self.GOOD)) == 2
        assert policy_warnings(policy(mode="Recommend", limits=limits), self.GOOD) == ()


class TestPlans:
    NODES = sorted(
        {
            entry[key]
            for field, key in (("placements", "node"), ("moves", "from"), ("moves", "to"),
                               ("evictions", "from"))
            for entry in EXAMPLES["PackingPlan"]["spec"].get(field, ())
        }
    )  # fmt: skip

    def reply(self, known: World, *, approve: bool = False, **status: Any) -> Reply:
        old = plan() | ({"status": status} if status else {})
        if not approve:
            return advice.advise_plan(request(old), known)
        new = changed(old, {"spec.approval": {"decision": "Approved", "by": ANA}})
        return advice.advise_plan(request(new, old), known)

    def known(self, *names: str) -> World:
        name = EXAMPLES["PackingPlan"]["spec"].get("policy", "main")
        return world(*map(node, names), policies=(read_policy(policy(name)),))

    def test_a_plan_of_this_cluster_passes(self) -> None:
        assert self.reply(self.known(*self.NODES), approve=True) == Reply()

    def test_a_plan_of_another_cluster_is_warned_of_and_never_approved(self) -> None:
        elsewhere = self.known("elsewhere")
        created = self.reply(elsewhere)
        assert not created.denied
        assert "of another cluster" in created.warnings[0]
        assert "of another cluster" in self.reply(elsewhere, approve=True).denied

    def test_unknown_nodes_are_not_absent_nodes(self) -> None:
        assert self.reply(World(), approve=True) == Reply()

    def test_a_node_that_is_gone(self) -> None:
        assert len(self.NODES) > 1
        (said,) = self.reply(self.known(*self.NODES[1:]), approve=True).warnings
        assert self.NODES[0] in said

    def test_approving_what_is_over(self) -> None:
        over = [{"type": "Stale", "status": "True", "reason": "PodGone"}]
        reply = self.reply(self.known(*self.NODES), approve=True, conditions=over)
        assert not reply.denied
        assert "over (Stale: PodGone)" in reply.warnings[0]

    def test_the_policy_is_gone_or_suspended(self) -> None:
        nodes = self.known(*self.NODES).nodes
        of_policy = plan(policy="main")
        gone = advice.advise_plan(request(of_policy), World(nodes, {}, {}))
        assert "there is no PackingPolicy main" in gone.warnings[0]
        held = read_policy(policy(suspend=True))
        asleep = advice.advise_plan(request(of_policy), World(nodes, {}, {"main": held}))
        assert "is suspended" in asleep.warnings[0]


class TestPods:
    def reply(self, raw: Json, known: World) -> Reply:
        reply = pods.admit_pod(request(raw, resource="pods"), known)
        assert not reply.denied
        return reply

    def said(self, known: World, **spec: Any) -> tuple[str, ...]:
        return self.reply(pod(**spec), known).warnings

    @pytest.mark.parametrize(
        "given", [{}, {"schedulerName": ""}, {"schedulerName": "default-scheduler"}]
    )
    def test_an_opted_in_pod_gets_our_scheduler(self, given: Json) -> None:
        raw = pod(**given)
        patch = self.reply(raw, World()).patch
        assert patched(raw, patch)["spec"]["schedulerName"] == "fairstow"

    @pytest.mark.parametrize("given", [{"schedulerName": "volcano"}, {"nodeName": "node-0"}])
    def test_a_pod_that_chose_for_itself_keeps_its_choice(self, given: Json) -> None:
        assert self.reply(pod(**given), World()).patch == ()

    def test_a_pod_that_fits_some_node_when_empty_gets_no_warning(self) -> None:
        full = node("node-0", allocatable={"cpu": "8", "memory": "32Gi", "pods": "110", GPU: "8"})
        known = world(full, node("node-1"), pools=(pool(),))
        assert self.said(known, requests={GPU: "8"}) == ()

    def test_more_than_any_node_of_the_pool_has(self) -> None:
        (said,) = self.said(world(node(), pools=(pool(),)), requests={GPU: "16"})
        assert "asks for nvidia.com/gpu: 16" in said
        assert "no node of pool a100 that it may run on has more than 4" in said

    def test_larger_nodes_of_other_pools_do_not_count(self) -> None:
        large = node("big", allocatable={"cpu": "8", "pods": "110", GPU: "16"}, labels={"t": "b"})
        known = world(node("small", labels={"t": "a"}), large, pools=(pool(t="a"),))
        assert "has more than 4" in self.said(known, requests={GPU: "16"})[0]

    def test_only_nodes_that_admit_it_count(self) -> None:
        known = world(
            node("a", labels={"t": "a"}),
            node("b", taints=[{"key": "team", "value": "x", "effect": "NoSchedule"}]),
            pools=(pool(),),
        )
        (said,) = self.said(known, requests={GPU: "1"}, nodeSelector={"t": "c"})
        assert "no node of pool a100 admits it" in said
        assert "1 lacks the label t=c" in said
        assert "1 has the taint team=x:NoSchedule" in said

    def test_what_passes_by_itself_is_not_held_against_it(self) -> None:
        cordoned = node(
            "a",
            spec={"unschedulable": True},
            taints=[{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}],
            conditions=[{"type": "Ready", "status": "False"}],
        )
        assert self.said(world(cordoned, pools=(pool(),)), requests={GPU: "4"}) == ()

    def test_each_in_itself_but_nowhere_together(self) -> None:
        lean = node("lean", allocatable={"cpu": "1", "pods": "110", GPU: "8"})
        rich = node("rich", allocatable={"cpu": "64", "pods": "110", GPU: "1"})
        (said,) = self.said(world(lean, rich, pools=(pool(),)), requests={"cpu": "8", GPU: "8"})
        assert "large enough in all" in said

    def test_a_pool_without_nodes(self) -> None:
        (said,) = self.said(world(node(), pools=(pool(t="none"),)), requests={GPU: "1"})
        assert "has no nodes" in said

    @pytest.mark.parametrize("known", [World(), World(nodes={}), World(pools={"a100": pool()})])
    def test_nothing_is_said_while_nodes_or_pools_are_not_known(self, known: World) -> None:
        assert self.said(known, requests={GPU: "16"}) == ()

    def test_a_pod_without_accelerators_is_nobodys(self) -> None:
        assert self.said(world(node(), pools=(pool(),)), requests={"cpu": "900"}) == ()

    def test_a_malformed_pod_is_left_to_the_api_server(self) -> None:
        known = world(node(), pools=(pool(),))
        assert self.said(known, requests={GPU: "a lot"}) == ()
        assert self.said(known, requests={GPU: "9"}, tolerations="x") == ()

    def test_a_pod_whose_name_is_to_be_generated(self) -> None:
        raw = pod(requests={GPU: "16"})
        raw["metadata"] = {"generateName": "web-"}
        assert self.reply(raw, world(node(), pools=(pool(),))).warnings
