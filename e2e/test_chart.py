"""The chart on a real node: what helm installs is what runs, with its own rights and certificates.

Covered: everything Ready under the *restricted* profile, a pod of an opted-in namespace scheduled
by `fairstow` on a fake GPU node, LLM engines behind gateways, one of which goes while clients are
served, semantic caches beside an application and in front of an engine, approvals, `helm test`, an
upgrade, a certificate renewed while it serves, rights by the audit log, and that uninstalling
leaves nothing. Not covered: NetworkPolicies (nothing enforces them here), the official image of
kube-scheduler (a build of its sources stands for it), cert-manager.
"""

from __future__ import annotations

import json
import uuid
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import openai
import pytest

from e2e import caching
from e2e.controlplane.client import KubectlError
from e2e.helm import CHART, NAMESPACE
from e2e.on_real_node import COMPONENTS, image
from e2e.on_real_node import installed as installation
from e2e.on_real_node import values as values_for
from e2e.plans import plan_for
from e2e.rights import grant, granted, writer
from e2e.serving import pods as serving_pods
from e2e.serving.crowd import crowd
from e2e.serving.scene import drain as instance_drain
from e2e.serving.scene import pool as engine_pool
from fairstow.kube.permissions import AUTHORITY_SECRET, LEAF_SECRETS, PROGRAMS, grants
from fairstow.semantic_cache.pod_upstream import PORT
from tests.cli.program import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from e2e.controlplane.realnode.cluster import RealCluster

pytestmark = pytest.mark.real_node

# Carrying plans out is e2e/execution's; evictions are e2e/serving's; Spark e2e/spark_admission's.
NOT_USED_HERE = {
    ("fairstow-operator", "", "pods/eviction"),
    ("fairstow-operator", "fairstow.dev", "sparkadmissions/status"),
    ("fairstow-operator", "fairstow.dev", "sparkqueues/status"),
    ("fairstow-webhook", "", "pods"),
    ("fairstow-webhook", "sparkoperator.k8s.io", "sparkapplications"),
    ("fairstow-webhook", "sparkoperator.k8s.io", "scheduledsparkapplications"),
}
CHAT = "chat"
"""The namespace of the pool of LLM engines."""
ANA, BEA = "ana@example.com", "bea@example.com"


@pytest.fixture(scope="session")
def cluster(real_cluster: RealCluster) -> RealCluster:
    """Have `namespace` and `gpu_nodes` act on the cluster with the real node."""
    return real_cluster


@pytest.fixture(scope="module")
def values(real_cluster: RealCluster) -> dict[str, Any]:
    scheduler = {
        "resources": serving_pods.SMALL,
        "image": image(real_cluster.node.load_scheduler()),
    }
    return values_for(
        real_cluster,
        scheduler=scheduler,
        gateways=[serving_pods.gateway(CHAT)],
        caches=caching.values(CHAT),
    )


@pytest.fixture(scope="module")
def installed(real_cluster: RealCluster, values: dict[str, Any]) -> Iterator[RealCluster]:
    """The chart, installed; it is uninstalled by the last test, and in any case."""
    with installation(real_cluster, values, CHAT):
        yield real_cluster


@pytest.fixture
def nodes(gpu_nodes: Callable[..., list[str]]) -> list[str]:
    return gpu_nodes(2, gpus=4)


@pytest.fixture
def opted_in(installed: RealCluster, namespace: str) -> str:
    installed.kubectl("label", "namespace", namespace, "fairstow.dev/scheduler=enabled")
    return namespace


def gpu_pod(namespace: str, name: str, gpus: int) -> dict[str, Any]:
    resources = {"limits": {"nvidia.com/gpu": str(gpus)}}
    container = {"name": "main", "image": "none", "resources": resources}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"containers": [container]},
    }


def pool_and_policy(name: str) -> list[dict[str, Any]]:
    specs: dict[str, dict[str, Any]] = {
        "GpuPool": {},
        "PackingPolicy": {"poolRef": {"name": name}, "mode": "Recommend"},
    }
    return [
        {
            "apiVersion": "fairstow.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        }
        for kind, spec in specs.items()
    ]


def test_everything_is_ready_and_nothing_restarts(installed: RealCluster) -> None:
    # The scheduler is started anew once the operator has made the authority it trusts.
    def settled() -> list[dict[str, Any]]:
        pods = installed.items("-n", NAMESPACE, "pods")
        return pods if all(_is_ready(pod) for pod in pods) else []

    pods = installed.wait(settled, "all pods to be Ready", timeout=90)
    seen = {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in pods}
    assert seen == set(COMPONENTS)
    for pod in pods:
        name = pod["metadata"]["name"]
        assert pod["status"]["containerStatuses"][0]["restartCount"] == 0, name


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = {c["type"]: c["status"] for c in pod["status"].get("conditions", ())}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def test_helm_test_passes(installed: RealCluster) -> None:
    installed.helm("test", "fairstow", "-n", NAMESPACE, "--timeout=3m")


VERIFY = """
import socket, ssl, sys
context = ssl.create_default_context(cafile="/tls/ca.crt")
with socket.create_connection((sys.argv[1], 8444), 10) as plain:
    with context.wrap_socket(plain, server_hostname=sys.argv[2]):
        print("verified")
"""


def test_the_operators_port_gets_a_certificate_that_can_be_verified(
    installed: RealCluster,
) -> None:
    selector = ("-l", "app.kubernetes.io/component=operator")
    (operator,) = installed.items("-n", NAMESPACE, "pods", *selector)

    def verified() -> bool:
        program = ("python", "-c", VERIFY, operator["status"]["podIP"])
        try:
            said = installed.kubectl(
                *("-n", NAMESPACE, "exec", "deploy/fairstow-webhook", "--"),
                *(*program, f"fairstow-operator.{NAMESPACE}.svc"),
            )
        except KubectlError:
            return False
        return "verified" in said

    # The kubelet brings the Secret in when it next looks after the pod.
    installed.wait(verified, "the operator's certificate", 180)


def test_a_pod_of_an_opted_in_namespace_is_scheduled_by_fairstow(
    installed: RealCluster, opted_in: str, nodes: list[str]
) -> None:
    def scheduler_of_a_try() -> bool:
        tried = installed.kubectl(
            *("create", "--dry-run=server", "-o", "json", "-f", "-"),
            stdin=json.dumps(gpu_pod(opted_in, "try", 1)),
        )
        return bool(json.loads(tried)["spec"]["schedulerName"] == "fairstow")

    installed.wait(scheduler_of_a_try, "the namespace's label to be seen")
    installed.apply([gpu_pod(opted_in, "train-0", 3), gpu_pod(opted_in, "train-1", 3)])
    for name in ("train-0", "train-1"):
        installed.kubectl("-n", opted_in, "wait", "--for=condition=Ready", f"pod/{name}")
    pods = installed.items("-n", opted_in, "pods")
    assert {pod["spec"]["schedulerName"] for pod in pods} == {"fairstow"}
    assert {pod["spec"]["nodeName"] for pod in pods} == set(nodes)
    events = installed.items("-n", opted_in, "events", "--field-selector=reason=Scheduled")
    assert {event["reportingComponent"] for event in events} == {"fairstow"}


def test_streams_outlive_the_pod_of_their_engine(installed: RealCluster) -> None:
    serving_pods.start(installed, CHAT, 2)
    where = serving_pods.address(installed, CHAT)
    network, key = installed.network, serving_pods.CLIENT_KEY
    with crowd(where, key, network, count=20, tokens=100) as clients:
        clients.speaking(10)
        gone = serving_pods.names(installed, CHAT)[0]
        installed.kubectl("-n", CHAT, "delete", "pod", gone, "--timeout=50s")
        clients.unbroken()
    assert serving_pods.events(installed, CHAT, "moved")
    assert serving_pods.events(installed, CHAT, "leg broke") == []
    installed.kubectl("-n", CHAT, "delete", "deploy,spool", serving_pods.POOL)


def test_repeated_questions_are_answered_from_memory(
    installed: RealCluster, tmp_path: Path
) -> None:
    caching.start(installed, CHAT)
    reset, like = "How do I reset my password?", "how do I reset my passwords"
    ((first, text),) = caching.asked(installed, CHAT, reset)
    assert first == "miss"

    def again() -> bool:  # answers are kept behind the client's back
        return caching.asked(installed, CHAT, reset) == [("hit-exact", text)]

    installed.wait(again, "the answer to be kept")
    ((near, _),) = caching.asked(installed, CHAT, like)
    assert near == "hit-semantic"

    # What its owner asks.
    body = tmp_path / "body.json"
    body.write_text(json.dumps(caching.body(like)))
    cache = (caching.CLIENT, "-n", CHAT, "--kubeconfig", str(installed.kubeconfig))
    why = json.loads(run("cache", "explain", *cache, "-o", "json", "-f", str(body)).stdout)
    assert why["verdict"]["outcome"] == "hit-semantic"
    assert run("cache", "feedback", *cache, why["verdict"]["entry"]).returncode == 0
    assert run("cache", "purge", *cache, "--all", "--yes").stdout == "1 removed.\n"

    # In front of the engine, by an unmodified client: keys never share.
    with installed.forward(CHAT, "pod/engine", PORT) as url:

        def ask(key: str) -> str:
            with openai.OpenAI(base_url=f"{url}/v1", api_key=key) as it:
                reply = it.chat.completions.with_raw_response.create(
                    model="m", messages=[{"role": "user", "content": "Hello?"}],
                    temperature=0, max_tokens=3,
                )  # fmt: skip
                return str(reply.headers["x-cache"])

        assert not ask("sk-a").startswith("hit")
        installed.wait(lambda: ask("sk-a") == "hit-exact", "the answer to be kept")
        assert not ask("sk-b").startswith("hit")

    def reported() -> bool:
        client, server = (
            caching.status(installed, CHAT, n) for n in (caching.CLIENT, caching.ENGINE)
        )
        counts = client.get("pods"), client.get("injected"), client.get("requests", 0) > 3
        serving = [c["reason"] for c in server.get("conditions", ()) if c["type"] == "Serving"]
        return counts == (2, 1, True) and serving == ["CacheServing"]

    installed.wait(reported, "the caches to be reported on")
    (missed,) = caching.status(installed, CHAT, caching.CLIENT)["missedPods"]
    assert missed == {"name": "early", "reason": "older than the cache"}
    installed.kubectl("-n", CHAT, "delete", "pod", "early", "engine", "application")
    installed.kubectl("-n", CHAT, "delete", "service", "engine")
    installed.kubectl("-n", CHAT, "delete", "scache", "--all")


@pytest.fixture
def plan(installed: RealCluster, nodes: list[str]) -> Iterator[str]:
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    obj = plan_for(nodes[0]) | {"metadata": {"name": name}}
    installed.kubectl("create", "-f", "-", stdin=json.dumps(obj))
    yield f"packingplan/{name}"
    installed.kubectl("delete", "packingplan", name)


def test_an_approval_needs_the_right_and_is_stamped(installed: RealCluster, plan: str) -> None:
    def approve(user: str) -> None:
        patch = json.dumps({"spec": {"approval": {"decision": "Rejected"}}})
        installed.kubectl("patch", plan, "--type=merge", "-p", patch, f"--as={user}")

    with granted(installed, writer(), grant("fairstow-approver", BEA), grant("e2e-writer", ANA)):
        with pytest.raises(KubectlError, match="verb 'approve' on packingplans"):
            approve(ANA)
        approve(BEA)
    spec = installed.get(plan)["spec"]
    assert spec["approval"] == {"decision": "Rejected", "by": BEA}


def test_the_operator_may_approve_what_it_makes(installed: RealCluster, nodes: list[str]) -> None:
    account = f"system:serviceaccount:{NAMESPACE}:fairstow-operator"
    plan = plan_for(nodes[0], approval={"decision": "Approved", "by": "somebody"})
    made = installed.kubectl(
        *("create", "--dry-run=server", "-o", "json", f"--as={account}", "-f", "-"),
        stdin=json.dumps(plan | {"metadata": {"name": "e2e-auto"}}),
    )
    assert json.loads(made)["spec"]["approval"] == {"decision": "Approved", "by": account}


def test_a_lost_certificate_is_made_anew_while_it_serves(
    installed: RealCluster, opted_in: str, nodes: list[str]
) -> None:
    def secret() -> dict[str, bytes]:
        data = installed.get("-n", NAMESPACE, "secret", "fairstow-extender-tls")["data"]
        return {key: b64decode(value) for key, value in data.items()}

    del nodes
    before = secret()
    installed.kubectl("-n", NAMESPACE, "delete", "secret", "fairstow-extender-tls")
    after = installed.wait(secret, "the new certificate", timeout=90)
    assert after["tls.crt"] != before["tls.crt"]
    assert after["ca.crt"] == before["ca.crt"]
    installed.apply([gpu_pod(opted_in, "train-0", 1)])
    installed.kubectl("-n", opted_in, "wait", "--for=condition=Ready", "pod/train-0")


def test_an_upgrade_keeps_certificates_and_trust(
    installed: RealCluster, values: dict[str, Any]
) -> None:
    def state() -> list[Any]:
        found = [
            installed.get(f"{kind}webhookconfiguration", "fairstow")["webhooks"][0]["clientConfig"]
            for kind in ("mutating", "validating")
        ]
        names = (AUTHORITY_SECRET, *LEAF_SECRETS)
        secrets = installed.get("-n", NAMESPACE, "secret", *names)["items"]
        deployment = installed.get("-n", NAMESPACE, "deployment", "fairstow-scheduler")
        notes = deployment["spec"]["template"]["metadata"]["annotations"]
        return [found, [each["data"] for each in secrets], notes["fairstow.dev/trusts"]]

    before = state()
    changed = {**values, "webhook": {**values["webhook"], "replicas": 1}}
    installed.helm(
        *("upgrade", "fairstow", str(CHART), "-n", NAMESPACE, "--wait", "--timeout=3m"),
        *("--set-json", json.dumps(changed)),
    )
    assert state() == before


def test_rights_are_enough_and_hardly_more(
    installed: RealCluster, namespace: str, nodes: list[str]
) -> None:
    """By the audit log: nobody was refused, and what nobody used here is used in other tests."""
    serving = engine_pool(namespace) | {"metadata": {"name": "audited", "namespace": namespace}}
    labels = {"labels": {"app": "llama"}, "namespace": namespace, "name": "audited"}
    pod = gpu_pod(namespace, "audited", 1) | {"metadata": labels}
    installed.apply([*pool_and_policy("audited"), serving, pod])
    uid = installed.get("-n", namespace, "pod", "audited")["metadata"]["uid"]
    drain = instance_drain(namespace, "audited", uid)
    drain["spec"]["pool"] = "audited"
    installed.apply([drain, *caching.caches(CHAT)])
    cluster_wide = ("gpupool", "packingpolicy")
    namespaced = ("servingpool", "instancedrain")

    def reported() -> bool:
        found = [installed.get(kind, "audited") for kind in cluster_wide]
        found += [installed.get("-n", namespace, kind, "audited") for kind in namespaced]
        found += [installed.get("-n", CHAT, "scache", caching.CLIENT)]
        return all("status" in each for each in found)

    installed.wait(reported, "pool and policy to be reported on", timeout=120)
    asked = list(installed.audit.of(NAMESPACE))
    assert {each.account for each in asked} >= {f"fairstow-{name}" for name in COMPONENTS}
    # The doctor asks for a decision that it may not make, to see that it is told so.
    refused = [a for a in asked if a.code == 403 and a.account != "fairstow-test"]
    assert refused == []
    used = {(a.account, a.group, a.resource) for a in asked}
    unused = {
        (f"fairstow-{program.name}", grant.group, resource)
        for program in PROGRAMS
        for grant in grants(program)
        for resource in grant.resources
    } - used
    assert unused <= NOT_USED_HERE
    installed.kubectl("delete", "packingpolicy,gpupool", "audited")
    installed.kubectl("-n", CHAT, "delete", "scache", "--all")


def test_uninstalling_leaves_nothing(
    installed: RealCluster, opted_in: str, nodes: list[str]
) -> None:
    plan = plan_for(nodes[0]) | {"metadata": {"name": "left"}}
    installed.apply([*pool_and_policy("left"), plan, gpu_pod(opted_in, "stays", 1)])
    installed.wait(
        lambda: installed.get("gpupool", "left").get("status"), "the operator to see the pool"
    )
    installed.helm("uninstall", "fairstow", "-n", NAMESPACE, "--wait", "--timeout=3m")

    def left() -> list[str]:
        """What bears our names, the namespace's own Leases and release records apart."""
        kinds = "deploy,rs,pods,secrets,configmaps,services,roles,rolebindings,pdb,netpol,sa"
        scoped = "crd,clusterrole,clusterrolebinding,priorityclass"
        hooks = "mutatingwebhookconfiguration,validatingwebhookconfiguration"
        hooks += ",validatingadmissionpolicy,validatingadmissionpolicybinding"
        names = [
            name
            for namespace in (NAMESPACE, CHAT)
            for name in installed.kubectl("-n", namespace, "get", kinds, "-o", "name").split()
        ]
        names += installed.kubectl("get", f"{scoped},{hooks}", "-o", "name").split()
        return [name for name in names if "fairstow" in name and "e2e" not in name]

    installed.wait(lambda: not left(), "everything to be gone")
    assert left() == []
    stays = installed.get("-n", opted_in, "pod", "stays")
    assert not stays["metadata"].get("finalizers")
    tried = gpu_pod(opted_in, "after", 1)
    installed.apply([tried])
    assert installed.get("-n", opted_in, "pod", "after")["spec"]["schedulerName"] == (
        "default-scheduler"
    )
