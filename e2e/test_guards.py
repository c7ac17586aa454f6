"""The chart's admission policies on a real API server: what RBAC can't say.

Covered: who may use the PriorityClass, what the operator may change of nodes and pods, which
Leases the extender may write, by their own rights.
Not covered: API servers before 1.30, which have no such policies; the chart then leaves them out.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from e2e.controlplane.build import BuildError
from e2e.controlplane.client import KubectlError
from e2e.helm import helm, rendered
from e2e.rights import bind, scaling, spark
from fairstow.kube.permissions import EXTENDER, OPERATOR, OPERATOR_LEASE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.controlplane.client import Cluster

pytestmark = pytest.mark.e2e

KINDS = ("PriorityClass", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


@pytest.fixture
def guarded(cluster: Cluster, namespace: str) -> Iterator[str]:
    """The namespace of an installation, as far as its policies go."""
    try:
        helm("version")
    except BuildError as error:
        pytest.skip(f"no helm: {error}")
    objects = [o for o in rendered(namespace=namespace) if o["kind"] in KINDS]
    cluster.apply(objects)
    try:
        with bind(cluster, OPERATOR, namespace), bind(cluster, EXTENDER, namespace):
            yield namespace
    finally:
        for obj in objects:
            cluster.kubectl("delete", obj["kind"], obj["metadata"]["name"])


def refused(cluster: Cluster, *args: str, stdin: str | None = None) -> str:
    """Return what a dry run is refused with, "" if it isn't."""
    try:
        cluster.kubectl(*args, "--dry-run=server", stdin=stdin)
    except KubectlError as error:
        return str(error)
    return ""


def pod(namespace: str, priority: str) -> str:
    spec: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "containers": [{"name": "main", "image": "registry.example/none"}],
        "priorityClassName": priority,
    }
    metadata = {"name": "one", "namespace": namespace}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def test_the_priority_is_for_the_installation_alone(cluster: Cluster, guarded: str) -> None:
    create = ("create", "-f", "-")
    tenant = "default"
    said = "the PriorityClass fairstow is for Fairstow's own pods"
    cluster.wait(
        lambda: said in refused(cluster, *create, stdin=pod(tenant, "fairstow")),
        "the policy to be in force",
    )
    assert refused(cluster, *create, stdin=pod(tenant, "system-cluster-critical")) == ""
    assert refused(cluster, *create, stdin=pod(guarded, "fairstow")) == ""


def test_the_operator_marks_nodes_and_changes_nothing_else(
    cluster: Cluster, guarded: str, gpu_nodes: Callable[..., list[str]]
) -> None:
    (node,) = gpu_nodes(1, gpus=4)
    operator = f"--as=system:serviceaccount:{guarded}:fairstow-operator"

    def patched(**fields: Any) -> str:
        patch = ("patch", "node", node, operator, "--type=merge", "-p", json.dumps(fields))
        return refused(cluster, *patch)

    cluster.wait(lambda: patched(spec={"unschedulable": True}), "the policy to be in force")
    assert "change nothing else" in patched(spec={"taints": [{"key": "a", "effect": "NoExecute"}]})
    for change in ({"kubernetes.io/hostname": None}, {"kubernetes.io/hostname": "b"}, {"a": "b"}):
        assert "labels the operator may change its own alone" in patched(
            metadata={"labels": change}
        )
    assert "annotations the operator" in patched(metadata={"annotations": {"a": "b"}})
    marks = {
        "labels": {"fairstow.dev/plan-target": "a.0"},
        "annotations": {"karpenter.sh/do-not-disrupt": "true"},
    }
    assert patched(metadata=marks) == ""
    cluster.kubectl("label", "node", node, "fairstow.dev/plan-target=a.0")
    assert patched(metadata={"labels": {"fairstow.dev/plan-target": None}}) == ""


def test_the_operator_says_which_pod_goes_first_and_changes_nothing_else(
    cluster: Cluster, guarded: str
) -> None:
    cluster.apply([*scaling(guarded), json.loads(pod(guarded, ""))])
    operator = f"--as=system:serviceaccount:{guarded}:fairstow-operator"

    def patched(**fields: Any) -> str:
        patch = ("patch", "pod/one", operator, "--type=merge", "-p", json.dumps(fields))
        return refused(cluster, "-n", guarded, *patch)

    image = {"containers": [{"name": "main", "image": "registry.example/another"}]}
    cluster.wait(lambda: "change nothing else" in patched(spec=image), "the policy to be in force")
    for field in ("labels", "annotations"):
        said = f"{field} the operator may change its own alone"
        assert said in patched(metadata={field: {"a": "b"}})
    marks = {"controller.kubernetes.io/pod-deletion-cost": "-1", "fairstow.dev/scale-in": ""}
    assert patched(metadata={"annotations": marks}) == ""


def test_the_operator_takes_its_own_gate_off_pods_and_no_other(
    cluster: Cluster, guarded: str
) -> None:
    gated = json.loads(pod(guarded, ""))
    ours, another = {"name": "fairstow.dev/spark-queue"}, {"name": "example.com/another"}
    gated["spec"]["schedulingGates"] = [another, ours]
    cluster.apply([*spark(guarded, guarded), gated])
    operator = f"--as=system:serviceaccount:{guarded}:fairstow-operator"

    def patched(**fields: Any) -> str:
        patch = ("patch", "pod/one", operator, "--type=merge", "-p", json.dumps({"spec": fields}))
        return refused(cluster, "-n", guarded, *patch)

    cluster.wait(
        lambda: "change nothing else" in patched(schedulingGates=[ours]),
        "the policy to be in force",
    )
    assert "change nothing else" in patched(schedulingGates=[])
    elsewhere = {"kubernetes.io/hostname": "mine"}
    assert "change nothing else" in patched(schedulingGates=[another], nodeSelector=elsewhere)
    assert patched(schedulingGates=[another]) == ""


def test_the_extender_writes_its_own_leases_and_no_others(cluster: Cluster, guarded: str) -> None:
    """Else whoever has its token could say that the operator lives, or be the leader."""
    extender = f"--as=system:serviceaccount:{guarded}:fairstow-extender"

    def lease(name: str) -> str:
        metadata = {"name": name, "namespace": guarded}
        spec = {"holderIdentity": "x", "leaseDurationSeconds": 15}
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
        return json.dumps(body | {"metadata": metadata, "spec": spec})

    said = "the Leases of its own replicas"
    create = ("create", extender, "-f", "-")
    cluster.wait(
        lambda: said in refused(cluster, *create, stdin=lease(OPERATOR_LEASE)),
        "the policy to be in force",
    )
    cluster.apply(json.loads(lease(name)) for name in (OPERATOR_LEASE, "fairstow-extender-1"))
    where = ("-n", guarded, extender)
    steal = ("--type=merge", "-p", json.dumps({"spec": {"holderIdentity": "y"}}))
    assert said in refused(cluster, "patch", "lease", OPERATOR_LEASE, *where, *steal)
    assert said in refused(cluster, "delete", "lease", OPERATOR_LEASE, *where)
    assert refused(cluster, *create, stdin=lease("fairstow-extender-0")) == ""
    assert refused(cluster, "patch", "lease", "fairstow-extender-1", *where, *steal) == ""
    assert refused(cluster, "delete", "lease", "fairstow-extender-1", *where) == ""
