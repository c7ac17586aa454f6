"""The extender on a real kube-scheduler: what it keeps, whom it steers, and what fails without it.

Covered: pods of schedulerName fairstow run; kept room is kept also from pods that want no GPU, and
free again with the plan over or the operator gone; a bare pod and the pods of a ReplicaSet go to
their nodes (`full`: on 150 nodes too); preemption is vetoed only in mode Auto under a live Lease;
the Lease says what is kept; who may see metrics; no certificate, no answer; certificates change
under load; the extender gone with ignorable true and false. Plans are written here as an operator
would leave them.
Not covered: the operator (execution), the rules case by case (tests/packing,
tests/scheduler_plugins).
"""

from __future__ import annotations

import json
import re
import ssl
import urllib.error
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from e2e.own_scheduler import EXTENDER, NAMESPACE, SCHEDULER, Beside, beside, strict
from tests.scheduler_plugins.plans import Arrival, Plan, lease, policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.controlplane.client import Cluster

    MakeNodes = Callable[..., list[str]]

pytestmark = pytest.mark.e2e

WHOLE = {"cpu": "8", "nvidia.com/gpu": "4"}
SMALL_NODE = {"cpu": "8", "gpus": 4}
KEPT = "room is kept for plan"


@pytest.fixture(scope="module")
def own(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    """Extender and scheduler, running."""
    with beside(cluster, tmp_path_factory.mktemp("own")) as programs:
        programs.start_extender()
        programs.start_scheduler()
        yield programs


@pytest.fixture
def operator(cluster: Cluster, own: Beside) -> Iterator[None]:
    """A Lease as a living operator holds it, for an hour."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    cluster.apply([lease(renewed=now, seconds=3600)])
    cluster.wait(lambda: '"operatorAlive":true' in own.reservations(), "the operator's life")
    yield
    cluster.kubectl("-n", NAMESPACE, "delete", "lease", "fairstow-operator", "--ignore-not-found")


@pytest.fixture
def carry_out(cluster: Cluster, own: Beside) -> Iterator[Callable[[Plan], None]]:
    """A function that puts a plan under way; it returns once the extender keeps its room."""
    names: list[str] = []

    def start(plan: Plan) -> None:
        names.append(plan.name)
        obj = plan.to_object(status=False)
        del obj["metadata"]["uid"]
        cluster.apply([obj])
        report(cluster, plan, executing=True)
        cluster.wait(lambda: plan.name in own.reservations(), f"reservations of {plan.name}")

    yield start
    if names:
        cluster.kubectl("delete", "packingplan", *names)


def report(cluster: Cluster, plan: Plan, *, executing: bool) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    status = json.dumps({"status": plan.status(executing=executing, since=now)})
    cluster.kubectl(
        *("patch", "packingplan", plan.name, "--subresource=status", "--type=merge", "-p", status)
    )


def pod(
    namespace: str,
    name: str,
    requests: dict[str, str],
    *,
    nodes: list[str] | None = None,
    priority: str = "",
) -> Any:
    limits = {key: value for key, value in requests.items() if "/" in key}
    container = {
        "name": "main",
        "image": "example.com/none",
        "resources": {"requests": requests, "limits": limits},
    }
    spec: dict[str, Any] = {"schedulerName": "fairstow", "containers": [container]}
    if priority:
        spec["priorityClassName"] = priority
    if nodes:
        wanted = {"key": "kubernetes.io/hostname", "operator": "In", "values": nodes}
        terms = {"nodeSelectorTerms": [{"matchExpressions": [wanted]}]}
        spec["affinity"] = {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}
        }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": {"app": "e2e"}},
        "spec": spec,
    }


def replica_set(namespace: str, name: str, replicas: int, template: Any) -> Any:
    labels = {"app": name}
    content = {"metadata": {"labels": labels}, "spec": template["spec"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": content,
        },
    }


def node_of(cluster: Cluster, namespace: str, name: str) -> str:
    found: str = cluster.get("-n", namespace, "pod", name)["spec"].get("nodeName", "")
    return found


def placed(cluster: Cluster, namespace: str, name: str) -> str:
    """Wait until the pod has a node, and return that."""
    return cluster.wait(lambda: node_of(cluster, namespace, name), f"a node for {name}")


def refused(cluster: Cluster, namespace: str, name: str) -> str:
    """Wait until the scheduler says why the pod waits, and return that."""

    def message() -> str | None:
        status = cluster.get("-n", namespace, "pod", name)["status"]
        said = [c.get("message") for c in status.get("conditions", ()) if c["status"] == "False"]
        return next(filter(None, said), None)

    return cluster.wait(message, f"a refusal of {name}")


def touch(cluster: Cluster, namespace: str, name: str) -> None:
    """What the operator does on release: a change makes the scheduler look at the pod again."""
    moment = datetime.now(UTC).isoformat()
    cluster.kubectl(
        *("-n", namespace, "annotate", "pod", name, f"e2e/touched={moment}", "--overwrite")
    )


# Scheduling


@pytest.mark.usefixtures("own")
def test_pods_of_schedulername_fairstow_are_scheduled(
    cluster: Cluster, namespace: str, gpu_nodes: MakeNodes
) -> None:
    nodes = gpu_nodes(3)
    wanted = {"cpu": "1", "nvidia.com/gpu": "4"}
    cluster.apply(pod(namespace, f"a-{i}", wanted, nodes=nodes) for i in range(6))
    found = [placed(cluster, namespace, f"a-{i}") for i in range(6)]
    assert sorted(found) == sorted(nodes * 2)


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize("competitor", [{"cpu": "1"}, {"nvidia.com/gpu": "1"}])
def test_a_competitor_cannot_take_reserved_room_until_it_is_released(
    cluster: Cluster,
    namespace: str,
    gpu_nodes: MakeNodes,
    carry_out: Callable[[Plan], None],
    competitor: dict[str, str],
) -> None:
    nodes = gpu_nodes(1, **SMALL_NODE)
    plan = Plan(
        f"plan-{namespace}",
        ((Arrival(namespace, "big", "uid-big", nodes[0], WHOLE, "ReplicaSet/big"),),),
    )
    carry_out(plan)
    cluster.apply([pod(namespace, "thief", competitor, nodes=nodes)])
    assert KEPT in refused(cluster, namespace, "thief")
    report(cluster, plan, executing=False)

    def retried() -> str:
        touch(cluster, namespace, "thief")
        return node_of(cluster, namespace, "thief")

    assert cluster.wait(retried, "the thief's turn") == nodes[0]


@pytest.mark.usefixtures("operator")
def test_with_the_operator_gone_room_is_free_again(
    cluster: Cluster,
    namespace: str,
    gpu_nodes: MakeNodes,
    carry_out: Callable[[Plan], None],
) -> None:
    nodes = gpu_nodes(1, **SMALL_NODE)
    big = Arrival(namespace, "big", "uid-big", nodes[0], WHOLE, "ReplicaSet/big")
    carry_out(Plan(f"plan-{namespace}", ((big,),)))
    cluster.apply([pod(namespace, "thief", {"cpu": "1"}, nodes=nodes)])
    assert KEPT in refused(cluster, namespace, "thief")
    cluster.kubectl("-n", NAMESPACE, "delete", "lease", "fairstow-operator")

    def retried() -> str:
        touch(cluster, namespace, "thief")
        return node_of(cluster, namespace, "thief")

    assert cluster.wait(retried, "the thief's turn") == nodes[0]


@pytest.mark.usefixtures("operator")
def test_beneficiaries_go_to_their_nodes(
    cluster: Cluster,
    namespace: str,
    gpu_nodes: MakeNodes,
    carry_out: Callable[[Plan], None],
) -> None:
    nodes = gpu_nodes(5, **SMALL_NODE)
    half = {"cpu": "4", "nvidia.com/gpu": "2"}
    web = [
        Arrival(namespace, f"web-{i}", f"uid-{i}", node, half, "ReplicaSet/web", came_from="x")
        for i, node in enumerate([nodes[1], nodes[1], nodes[3]])
    ]
    bare = Arrival(namespace, "bare", "uid-bare", nodes[4], {"cpu": "1"})
    carry_out(Plan(f"plan-{namespace}", ((*web, bare),)))
    cluster.apply([replica_set(namespace, "web", 3, pod(namespace, "", half, nodes=nodes))])
    cluster.apply([pod(namespace, "bare", {"cpu": "1"}, nodes=nodes)])

    def all_placed() -> list[str] | None:
        pods = cluster.items("-n", namespace, "pods", "-l", "app=web")
        where = [each["spec"].get("nodeName") for each in pods]
        return where if len(where) == 3 and all(where) else None

    assert sorted(cluster.wait(all_placed, "three pods")) == [nodes[1], nodes[1], nodes[3]]
    assert placed(cluster, namespace, "bare") == nodes[4]


@pytest.mark.full
@pytest.mark.usefixtures("operator")
def test_on_many_nodes_of_which_the_scheduler_samples_some_they_do_too(
    cluster: Cluster,
    namespace: str,
    gpu_nodes: MakeNodes,
    carry_out: Callable[[Plan], None],
) -> None:
    nodes = gpu_nodes(150, **SMALL_NODE)
    targets = nodes[::25]
    bare = [
        Arrival(namespace, f"bare-{i}", f"uid-{i}", node, {"cpu": "1"})
        for i, node in enumerate(targets)
    ]
    carry_out(Plan(f"plan-{namespace}", (tuple(bare),)))
    cluster.apply(pod(namespace, each.name, {"cpu": "1"}) for each in bare)

    def all_placed() -> list[str] | None:
        where = [node_of(cluster, namespace, each.name) for each in bare]
        for each, node in zip(bare, where, strict=True):
            if not node:
                touch(cluster, namespace, each.name)
        return where if all(where) else None

    assert cluster.wait(all_placed, "their nodes", timeout=120) == targets


# Preemption


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize("end", ["mode Observe", "operator gone"])
def test_preemption_is_vetoed_only_in_auto_with_a_live_operator(
    cluster: Cluster,
    own: Beside,
    namespace: str,
    gpu_nodes: MakeNodes,
    carry_out: Callable[[Plan], None],
    end: str,
) -> None:
    nodes = gpu_nodes(1, **SMALL_NODE)
    high = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": f"high-{namespace}"},
        "value": 1000,
    }
    cluster.apply([high, policy(namespace, "Auto"), pod(namespace, "low", WHOLE, nodes=nodes)])
    placed(cluster, namespace, "low")
    big = Arrival(namespace, "big", "uid-big", nodes[0], WHOLE)
    carry_out(Plan(f"plan-{namespace}", ((big,),), policy=namespace))
    before = vetoed(own)
    cluster.apply([pod(namespace, "big", WHOLE, nodes=nodes, priority=f"high-{namespace}")])
    cluster.wait(lambda: vetoed(own) > before, "a veto")
    assert "deletionTimestamp" not in cluster.get("-n", namespace, "pod", "low")["metadata"]
    if end == "mode Observe":
        cluster.apply([policy(namespace, "Observe")])
    else:
        cluster.kubectl("-n", NAMESPACE, "delete", "lease", "fairstow-operator")

    # A pod whose preemption was refused is tried again after five minutes, a new one at once.
    cluster.kubectl("-n", namespace, "delete", "pod", "big", "--force", "--grace-period=0")
    cluster.apply([pod(namespace, "big", WHOLE, nodes=nodes, priority=f"high-{namespace}")])
    assert placed(cluster, namespace, "big") == nodes[0]
    cluster.kubectl("delete", "priorityclass", f"high-{namespace}")
    cluster.kubectl("delete", "packingpolicy", namespace)


def vetoed(own: Beside) -> float:
    text = own.admin("/metrics", own.token("monitor"))[1]
    found = re.search(r"^fairstow_extender_vetoed_preemptions_total (\S+)$", text, re.MULTILINE)
    assert found is not None, text
    return float(found[1])


# What it says


@pytest.mark.usefixtures("operator")
def test_its_lease_names_the_plans_it_enforces(
    cluster: Cluster,
    namespace: str,
    gpu_nodes: MakeNodes,
    carry_out: Callable[[Plan], None],
) -> None:
    nodes = gpu_nodes(1)
    big = Arrival(namespace, "big", "uid-big", nodes[0], WHOLE, "ReplicaSet/big")
    plan = Plan(f"plan-{namespace}", ((big,),))
    carry_out(plan)
    made = cluster.get("packingplan", plan.name)
    name = f"{made['metadata']['uid']}@{made['status']['conditions'][0]['lastTransitionTime']}"

    def listed() -> Any:
        return cluster.get("-n", NAMESPACE, "lease", "fairstow-extender-extender-0")

    def enforced() -> list[str]:
        plans: list[str] = json.loads(
            listed()["metadata"]["annotations"]["fairstow.dev/enforced-plans"]
        )
        return plans

    cluster.wait(lambda: name in enforced(), "the acknowledgement")
    assert listed()["spec"]["holderIdentity"] == "extender-0"
    assert listed()["metadata"]["labels"]["app.kubernetes.io/component"] == "extender"
    before = listed()["spec"]["renewTime"]
    cluster.wait(lambda: listed()["spec"]["renewTime"] > before, "a renewal")
    report(cluster, plan, executing=False)
    cluster.wait(lambda: name not in enforced(), "the end of it")


def test_health_is_open_and_the_rest_is_as_the_api_server_decides(own: Beside) -> None:
    assert own.admin("/healthz") == (200, "ok")
    assert own.admin("/readyz") == (200, "ok")
    for path in ("/metrics", "/reservations", "/openapi.json", "/nothing"):
        assert own.admin(path)[0] == 401
        assert own.admin(path, "no.such.token")[0] == 401
        status, said = own.admin(path, own.token("stranger"))
        assert (status, f"may not get {path}" in said) == (403, True)
    status, text = own.admin("/metrics", own.token("monitor"))
    assert (status, "fairstow_extender_request_seconds_bucket" in text) == (200, True)
    assert own.admin("/reservations", own.token("monitor"))[0] == 200


# Certificates


def test_a_client_without_certificate_is_refused(own: Beside) -> None:
    args = {"Pod": {"metadata": {"name": "a", "namespace": "b", "uid": "c"}}, "NodeNames": ["n"]}
    assert own.call("filter", args)["NodeNames"] == ["n"]
    with pytest.raises((ssl.SSLError, urllib.error.URLError, ConnectionError)):
        own.call("filter", args, certificate=False)


def test_certificates_change_under_load(
    cluster: Cluster, own: Beside, namespace: str, gpu_nodes: MakeNodes
) -> None:
    nodes = gpu_nodes(4)
    before = own.serial()
    names = [f"load-{i}" for i in range(60)]
    cluster.apply(pod(namespace, n, {"cpu": "100m"}, nodes=nodes) for n in names[:30])
    own.issue()
    cluster.wait(lambda: own.serial() != before, "the new certificate")
    cluster.apply(pod(namespace, n, {"cpu": "100m"}, nodes=nodes) for n in names[30:])
    assert {placed(cluster, namespace, name) for name in names} <= {*nodes}
    assert "Skipping extender" not in own.processes.log(SCHEDULER).read_text()


# Without it: these end the module's extender, so they are last


def test_without_the_extender_pods_are_scheduled_if_it_is_ignorable(
    cluster: Cluster, own: Beside, namespace: str, gpu_nodes: MakeNodes
) -> None:
    nodes = gpu_nodes(2)
    own.stop(EXTENDER)
    gone = cluster.items("-n", NAMESPACE, "leases", "-l", "app.kubernetes.io/component=extender")
    assert not gone  # it took its Lease with it
    cluster.apply([pod(namespace, "a", {"cpu": "1"}, nodes=nodes)])
    assert placed(cluster, namespace, "a") in nodes
    assert "Skipping extender" in own.processes.log(SCHEDULER).read_text()


def test_without_the_extender_pods_wait_if_it_is_not(
    cluster: Cluster, own: Beside, namespace: str, gpu_nodes: MakeNodes
) -> None:
    nodes = gpu_nodes(2)
    own.stop(SCHEDULER)
    own.start_scheduler(strict(own.attachment))
    cluster.apply([pod(namespace, "a", {"cpu": "1"}, nodes=nodes)])
    assert "connection refused" in refused(cluster, namespace, "a")
    assert not node_of(cluster, namespace, "a")
    own.start_extender()
    assert placed(cluster, namespace, "a") in nodes
