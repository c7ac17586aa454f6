"""The webhook before a real API server: approvals, warnings, schedulers, and when it is down.

The program runs beside the cluster with the rights that the chart gives it; the webhook
configurations are the chart's, but that they point to a URL. Not covered: the Service and the pods
in front of it (e2e/test_chart.py), its decisions case by case (tests/packing/test_admission.py).
"""

from __future__ import annotations

import json
import ssl
import subprocess
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from e2e.controlplane.client import KubectlError
from e2e.controlplane.components import LOOPBACK
from e2e.own_webhook import ANA, BEA, Webhook
from e2e.plans import plan_for
from e2e.rights import RBAC, granted, role_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.controlplane.client import Cluster

pytestmark = pytest.mark.e2e


@pytest.fixture
def make(webhook: Webhook) -> Iterator[Callable[..., str]]:
    """A function that creates an object under a name of its own and returns kind/name."""
    made = []

    def create(obj: dict[str, Any], *args: str) -> str:
        name = f"e2e-{uuid.uuid4().hex[:8]}"
        renamed = obj | {"metadata": {"name": name}}
        made.append(f"{obj['kind'].lower()}/{name}")
        webhook.cluster.kubectl("create", "-f", "-", *args, stdin=json.dumps(renamed))
        return made[-1]

    yield create
    webhook.cluster.kubectl("delete", "--ignore-not-found", *made)


@pytest.fixture
def nodes(gpu_nodes: Callable[..., list[str]]) -> list[str]:
    """Nodes to plan for."""
    return gpu_nodes(2, gpus=4)


def decide(cluster: Cluster, name: str, user: str, field: str = "approval", **more: str) -> str:
    decision = {"decision": "Approved"} if field == "approval" else {}
    patch = json.dumps({"spec": {field: decision | more}})
    return cluster.kubectl("patch", name, "--type=merge", "-p", patch, f"--as={user}")


def test_who_may_not_approve_is_told_what_is_missing(
    webhook: Webhook, make: Callable[..., str], nodes: list[str]
) -> None:
    name = make(plan_for(nodes[0]), f"--as={ANA}")
    with pytest.raises(KubectlError) as caught:
        decide(webhook.cluster, name, ANA)
    said = str(caught.value)
    assert f"'{ANA}' may not approve or reject PackingPlan {name.partition('/')[2]}" in said
    assert "verb 'approve' on packingplans.fairstow.dev" in said
    assert "--clusterrole=fairstow-approver" in said
    assert "approval" not in webhook.cluster.get(name)["spec"]


@pytest.mark.parametrize("claimed", [{}, {"by": ANA}])
def test_who_may_approve_is_recorded_whoever_they_say_they_are(
    webhook: Webhook, make: Callable[..., str], nodes: list[str], claimed: dict[str, str]
) -> None:
    name = make(plan_for(nodes[0]))
    decide(webhook.cluster, name, BEA, **claimed)
    approval = webhook.cluster.get(name)["spec"]["approval"]
    assert approval == {"decision": "Approved", "by": BEA}


def test_a_stop_is_recorded_and_needs_the_same_right(
    webhook: Webhook, make: Callable[..., str], nodes: list[str]
) -> None:
    name = make(plan_for(nodes[0]))
    with pytest.raises(KubectlError, match="may not stop PackingPlan"):
        decide(webhook.cluster, name, ANA, "abort")
    decide(webhook.cluster, name, BEA, "abort")
    assert webhook.cluster.get(name)["spec"]["abort"] == {"by": BEA}


def test_a_plan_cannot_be_created_approved_by_who_may_not(
    webhook: Webhook, make: Callable[..., str], nodes: list[str]
) -> None:
    approved = plan_for(nodes[0], approval={"decision": "Approved", "by": BEA})
    with pytest.raises(KubectlError, match="may not approve"):
        make(approved, f"--as={ANA}")


POLICIES = {
    "apiGroups": ["fairstow.dev"],
    "resources": ["packingpolicies"],
    "verbs": ["get", "create", "patch"],
}


def test_what_is_done_unasked_needs_the_right_to_approve(
    webhook: Webhook, make: Callable[..., str], nodes: list[str]
) -> None:
    """A policy that comes into mode Auto, and a plan in a policy's name."""
    cluster = webhook.cluster
    with pytest.raises(KubectlError, match="in the name of PackingPolicy main: that needs"):
        make(plan_for(nodes[0], policy="main"), f"--as={ANA}")
    make(plan_for(nodes[0], policy="main"))
    policy = {"apiVersion": "fairstow.dev/v1alpha1", "kind": "PackingPolicy"}
    spec = {"poolRef": {"name": "nowhere"}, "limits": {"maxMovesPerHour": 1}}

    def change(name: str, user: str, **to: Any) -> None:
        patch = json.dumps({"spec": to})
        cluster.kubectl("patch", name, "--type=merge", "-p", patch, f"--as={user}")

    users = [{"apiGroup": RBAC, "kind": "User", "name": user} for user in (ANA, BEA)]
    rights = [role_for(f"e2e-policies-{i}", POLICIES, user) for i, user in enumerate(users)]
    with granted(cluster, *rights[0], *rights[1]):
        with pytest.raises(KubectlError, match="act unasked"):
            make(policy | {"spec": spec | {"mode": "Auto"}}, f"--as={ANA}")
        name = make(policy | {"spec": spec}, f"--as={ANA}")
        with pytest.raises(KubectlError, match="needs the verb 'approve' on packingplans"):
            change(name, ANA, mode="Auto")
        change(name, BEA, mode="Auto")
        change(name, ANA, limits={"maxMovesPerHour": 2})


def test_a_plan_of_another_cluster_is_warned_of_and_cannot_be_approved(
    webhook: Webhook, make: Callable[..., str], nodes: list[str]
) -> None:
    del nodes
    name = make(plan_for("elsewhere-0"))
    with pytest.raises(KubectlError, match="the plan is of another cluster"):
        decide(webhook.cluster, name, BEA)


def warnings_of(webhook: Webhook, obj: dict[str, Any], *args: str) -> str:
    reply = subprocess.run(
        [*webhook.cluster.kubectl_command, "create", "--dry-run=server", "-f", "-", *args],
        input=json.dumps(obj),
        env=webhook.cluster.environ(),
        capture_output=True,
        text=True,
        check=True,
    )
    return reply.stderr


def test_a_policy_is_advised(webhook: Webhook) -> None:
    policy = {
        "apiVersion": "fairstow.dev/v1alpha1",
        "kind": "PackingPolicy",
        "metadata": {"name": "e2e-advice"},
        "spec": {"poolRef": {"name": "nowhere"}, "triggers": {"schedule": "0 0 30 2 *"}},
    }
    said = warnings_of(webhook, policy)
    assert "Warning: spec.poolRef.name: there is no GpuPool nowhere" in said
    assert "'0 0 30 2 *' never fires" in said


def pod(namespace: str, **spec: Any) -> dict[str, Any]:
    limits = {"nvidia.com/gpu": spec.pop("gpus", "1")}
    container = {"name": "main", "image": "none", "resources": {"limits": limits}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a", "namespace": namespace},
        "spec": {"containers": [container], **spec},
    }


@pytest.fixture
def opted_in(webhook: Webhook, namespace: str) -> str:
    label = "fairstow.dev/scheduler=enabled"
    webhook.cluster.kubectl("label", "namespace", namespace, label)
    return namespace


def scheduler_of(webhook: Webhook, obj: dict[str, Any]) -> str:
    created = webhook.cluster.kubectl(
        "create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(obj)
    )
    name: str = json.loads(created)["spec"]["schedulerName"]
    return name


def test_a_namespace_that_opts_in_gets_our_scheduler(webhook: Webhook, opted_in: str) -> None:
    webhook.cluster.wait(
        lambda: scheduler_of(webhook, pod(opted_in)) == "fairstow", "the label to be seen"
    )
    assert scheduler_of(webhook, pod(opted_in, schedulerName="volcano")) == "volcano"


def test_a_namespace_that_did_not_keeps_its_own(webhook: Webhook, namespace: str) -> None:
    assert scheduler_of(webhook, pod(namespace)) == "default-scheduler"


def test_a_pod_that_never_fits_is_warned_of_and_taken(
    webhook: Webhook, opted_in: str, make: Callable[..., str], nodes: list[str]
) -> None:
    label = {"matchLabels": {"kubernetes.io/hostname": nodes[0]}}
    pool = make(
        {
            "apiVersion": "fairstow.dev/v1alpha1",
            "kind": "GpuPool",
            "spec": {"nodeSelector": label},
        }
    ).partition("/")[2]
    fits, never = pod(opted_in, gpus="4"), pod(opted_in, gpus="8")
    said = webhook.cluster.wait(lambda: warnings_of(webhook, never), "the pool to be seen")
    assert f"no node of pool {pool} that it may run on has more than 4" in said
    assert warnings_of(webhook, fits) == ""


@contextmanager
def stopped(webhook: Webhook) -> Iterator[None]:
    webhook.processes.stop_one("webhook")
    try:
        yield
    finally:
        webhook.start()


def test_while_it_is_down_decisions_wait_and_nothing_else_does(
    webhook: Webhook, make: Callable[..., str], nodes: list[str], opted_in: str
) -> None:
    name = make(plan_for(nodes[0]))
    with stopped(webhook):
        with pytest.raises(KubectlError, match="failed calling webhook"):
            decide(webhook.cluster, name, BEA)
        webhook.cluster.kubectl("label", name, "still=possible")
        another = make(plan_for(nodes[0]))
        webhook.cluster.kubectl("delete", another)
        assert scheduler_of(webhook, pod(opted_in)) == "default-scheduler"
    decide(webhook.cluster, name, BEA)


def test_a_new_certificate_is_taken_up_without_a_pause(
    webhook: Webhook, make: Callable[..., str], nodes: list[str]
) -> None:
    def presented() -> str:
        return ssl.get_server_certificate((LOOPBACK, webhook.port))

    before = presented()
    webhook.issue()
    webhook.cluster.wait(lambda: presented() != before, "the new certificate")
    decide(webhook.cluster, make(plan_for(nodes[0])), BEA)


def test_metrics_are_for_who_may_read_them(webhook: Webhook, namespace: str) -> None:
    def read_as(name: str) -> tuple[int, bytes]:
        token = webhook.cluster.kubectl("-n", namespace, "create", "token", name).strip()
        return webhook.ask("/metrics", port=webhook.admin, token=token)

    webhook.cluster.kubectl("-n", namespace, "create", "serviceaccount", "reader")
    account = {"kind": "ServiceAccount", "name": "reader", "namespace": namespace}
    reading = {"nonResourceURLs": ["/metrics"], "verbs": ["get"]}
    assert webhook.ask("/metrics", port=webhook.admin)[0] == 401
    assert webhook.ask("/metrics", port=webhook.admin, token="made-up")[0] == 401
    with granted(webhook.cluster, *role_for("e2e-metrics", reading, account)):
        assert read_as("default")[0] == 403
        status, text = read_as("reader")
    assert status == 200
    assert b"fairstow_webhook_reviews_total" in text


REVIEW = {
    "apiVersion": "admission.k8s.io/v1",
    "kind": "AdmissionReview",
    "request": {
        "uid": "u",
        "operation": "CREATE",
        "resource": {"group": "", "version": "v1", "resource": "secrets"},
    },
}


def malformed(resource: str) -> bytes:
    """A review of an object that the API server would never have."""
    ours = {"group": "fairstow.dev", "version": "v1alpha1", "resource": resource}
    about = {"resource": ours, "object": {"spec": {"approval": 1, "limits": 1}}}
    return json.dumps(REVIEW | {"request": REVIEW["request"] | about}).encode()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/stamp", b"not JSON", 400, "isn't an AdmissionReview"),
        ("/stamp", json.dumps(REVIEW).encode(), 400, "/stamp takes no reviews of secrets"),
        ("/decisions", malformed("packingplans"), 400, "object whose spec is malformed"),
        ("/advice", malformed("packingpolicies"), 400, "object whose spec is malformed"),
        ("/pods", b"x" * (9 << 20), 413, "at most"),
        ("/anything", b"{}", 404, "Not Found"),
        ("/stamp", None, 405, "Method Not Allowed"),
        ("/openapi.json", None, 404, "Not Found"),
        ("/metrics", None, 404, "Not Found"),
    ],
)
def test_whatever_is_no_review_of_its_kinds_is_refused(
    webhook: Webhook, path: str, body: bytes | None, status: int, said: str
) -> None:
    answer, text = webhook.ask(path, body)
    assert answer in (status, 0 if status == 413 else status)
    assert said in text.decode() or answer == 0
