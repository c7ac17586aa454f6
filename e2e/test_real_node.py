"""A node that really runs its pods: networks, names, webhooks, tokens, profiles, GPUs, helm.

The pods run the product's image, so that its Dockerfile is covered, too. Not covered: base images
other than Debian's, NetworkPolicy (nothing here enforces it), host ports, pulling images.
test_real_node_traces.py has what the node leaves on the machine.
"""

from __future__ import annotations

import base64
import json
import textwrap
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from e2e.controlplane.client import KubectlError
from e2e.controlplane.kwok import FAKE
from e2e.controlplane.tls import Authority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from e2e.controlplane.realnode.cluster import RealCluster

pytestmark = pytest.mark.real_node
GPU = "nvidia.com/gpu"
FOREVER = "import signal; signal.pause()"
HELLO = """
    import http.server, sys, ssl, json

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer(b"hello from " + self.server.server_name.encode())

        def do_POST(self):
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            request = review.pop("request")
            review["response"] = {
                "uid": request["uid"],
                "allowed": request["name"] != "forbidden",
                "status": {"message": "no, said a pod"},
            }
            self.answer(json.dumps(review).encode())

        def log_message(self, *args):
            pass

        def answer(self, body):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = http.server.ThreadingHTTPServer(("", 8080), Handler)
    if len(sys.argv) > 1:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    print("serving", flush=True)
    server.serve_forever()
"""
# A container that the *restricted* Pod Security profile lets in.
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture(scope="session")
def cluster(real_cluster: RealCluster) -> RealCluster:
    """Have `namespace` and `gpu_nodes` act on the cluster with the real node."""
    return real_cluster


@pytest.fixture
def spec(cluster: RealCluster) -> Callable[..., dict[str, Any]]:
    """A function that returns the spec of a pod on the real node which runs `code`."""

    def make(code: str, *args: str, **container: Any) -> dict[str, Any]:
        main = {
            "name": "main",
            "image": cluster.image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["python", "-c", textwrap.dedent(code), *args],
            **container,
        }
        return {
            "nodeSelector": {"kubernetes.io/hostname": cluster.node_name},
            "terminationGracePeriodSeconds": 0,
            "containers": [main],
        }

    return make


def pod(namespace: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    own = {"name": name, "namespace": namespace, "labels": {"app": name}}
    whole = {"restartPolicy": "Never", **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": own, "spec": whole}


def service(namespace: str, name: str, port: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": name}, "ports": [{"port": port, "targetPort": 8080}]},
    }


def serving(spec: dict[str, Any], scheme: str = "HTTP") -> dict[str, Any]:
    """Add a readiness probe, which the kubelet really makes."""
    probe = {"httpGet": {"path": "/", "port": 8080, "scheme": scheme}, "periodSeconds": 1}
    spec["containers"][0]["readinessProbe"] = probe
    return spec


def ends(cluster: RealCluster, namespace: str, name: str) -> str:
    """Wait for the pod's end and return its output."""
    phases = ("Succeeded", "Failed")
    phase = cluster.wait(
        lambda: (
            (found := cluster.get("-n", namespace, "pod", name)["status"]["phase"]) in phases
            and found
        ),
        f"the end of {name}",
    )
    output = cluster.kubectl("-n", namespace, "logs", name)
    assert phase == "Succeeded", output
    return output


def refused(cluster: RealCluster, namespace: str, name: str) -> bool:
    """Try to create a Secret; whether a pod refused it."""
    try:
        cluster.kubectl("-n", namespace, "create", "secret", "generic", name)
    except KubectlError as error:
        return "no, said a pod" in str(error)
    cluster.kubectl("-n", namespace, "delete", "secret", name)
    return False


def test_pods_reach_a_service_by_name_and_address(
    cluster: RealCluster, namespace: str, spec: Callable[..., dict[str, Any]]
) -> None:
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": serving(spec(HELLO))},
        },
    }
    cluster.apply([service(namespace, "web", 80), deployment])
    cluster.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=55s")
    address = cluster.get("-n", namespace, "service", "web")["spec"]["clusterIP"]
    ask = "import sys, urllib.request as u; [print(u.urlopen(x).read()) for x in sys.argv[1:]]"
    hosts = ["web", f"web.{namespace}.svc.cluster.local", address]
    cluster.apply([pod(namespace, "client", spec(ask, *(f"http://{host}" for host in hosts)))])
    assert ends(cluster, namespace, "client").count("hello from web-") == len(hosts)


def test_the_api_server_calls_a_webhook_that_is_a_pod(
    cluster: RealCluster, namespace: str, spec: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "pki")
    pair = authority.issue("hook", hosts=[f"hook.{namespace}.svc"])
    server = serving(
        spec(HELLO, "tls", volumeMounts=[{"name": "tls", "mountPath": "/tls"}]), "HTTPS"
    )
    server["volumes"] = [{"name": "tls", "secret": {"secretName": "hook"}}]
    secret = ("secret", "tls", "hook", f"--cert={pair.cert}", f"--key={pair.key}")
    cluster.kubectl("-n", namespace, "create", *secret)
    cluster.apply([service(namespace, "hook", 443), pod(namespace, "hook", server)])
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/hook", "--timeout=55s")
    webhook = {
        "name": "hook.fairstow.dev",
        "clientConfig": {
            "service": {"namespace": namespace, "name": "hook"},
            "caBundle": base64.b64encode(authority.pair.cert.read_bytes()).decode(),
        },
        "rules": [
            {
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "operations": ["CREATE"],
                "resources": ["secrets"],
            }
        ],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    registration = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": namespace},
        "webhooks": [webhook],
    }
    cluster.apply([registration])
    try:
        # The API server learns of the webhook a moment later: until then it lets them in.
        cluster.wait(lambda: refused(cluster, namespace, "forbidden"), "a refusal")
        cluster.kubectl("-n", namespace, "create", "secret", "generic", "permitted")
    finally:
        cluster.kubectl("delete", "validatingwebhookconfiguration", namespace)


def test_logs_exec_and_port_forward(
    cluster: RealCluster, namespace: str, spec: Callable[..., dict[str, Any]]
) -> None:
    cluster.apply([pod(namespace, "web", serving(spec(HELLO)))])
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/web", "--timeout=55s")
    assert cluster.kubectl("-n", namespace, "logs", "web") == "serving\n"
    assert cluster.kubectl("-n", namespace, "exec", "web", "--", "hostname") == "web\n"
    with cluster.forward(namespace, "pod/web", 8080) as url, urllib.request.urlopen(url) as reply:
        assert reply.read() == b"hello from web"


def test_the_image_runs_under_the_restricted_profile(
    cluster: RealCluster, namespace: str, spec: Callable[..., dict[str, Any]]
) -> None:
    profile = "pod-security.kubernetes.io/enforce=restricted"
    cluster.kubectl("label", "namespace", namespace, profile)
    code = """
        import kopf, ortools.sat.python.cp_model, fairstow.cli.main, controllers, scheduler_plugins
        import os
        print(os.getuid())
        """
    cluster.apply([pod(namespace, "modest", spec(code, securityContext=RESTRICTED))])
    assert ends(cluster, namespace, "modest") == "65532\n"
    with pytest.raises(KubectlError, match="violates PodSecurity"):
        cluster.apply([pod(namespace, "greedy", spec(code))])


def test_a_pod_talks_to_the_api_server_with_its_token(
    cluster: RealCluster, namespace: str, spec: Callable[..., dict[str, Any]]
) -> None:
    code = """
        import kubernetes
        kubernetes.config.load_incluster_config()
        api, namespace = kubernetes.client.CoreV1Api(), NAMESPACE
        print(*(pod.metadata.name for pod in api.list_namespaced_pod(namespace).items))
        try:
            api.list_namespaced_secret(namespace)
        except kubernetes.client.ApiException as error:
            print(error.status)
        """
    account = f"--serviceaccount={namespace}:default"
    view = ("rolebinding", "view", "--clusterrole=view", account)
    cluster.kubectl("-n", namespace, "create", *view)
    cluster.apply([pod(namespace, "asker", spec(code.replace("NAMESPACE", repr(namespace))))])
    assert ends(cluster, namespace, "asker") == "asker\n403\n"


@pytest.fixture
def two_gpus(cluster: RealCluster) -> Iterator[None]:
    def patch(value: str | None) -> None:
        part = {"capacity": {GPU: value}, "allocatable": {GPU: value}}
        body = json.dumps({"status": part})
        cluster.kubectl("patch", "node", cluster.node_name, "--subresource=status", "-p", body)

    patch("2")
    yield
    patch(None)


def test_gpus_patched_onto_the_node_are_given_to_pods(
    cluster: RealCluster, namespace: str, spec: Callable[..., dict[str, Any]], two_gpus: None
) -> None:
    def asking(name: str, gpus: int) -> dict[str, Any]:
        resources = {"limits": {GPU: str(gpus)}}
        return pod(namespace, name, spec(FOREVER, resources=resources))

    cluster.apply([asking("first", 2)])
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/first", "--timeout=55s")
    cluster.apply([asking("second", 1)])
    why = cluster.wait(
        lambda: cluster.kubectl("-n", namespace, "get", "events").count(f"Insufficient {GPU}"),
        "the second pod to find no GPU left",
    )
    assert why


def test_fake_nodes_beside_it_stay_fake(
    cluster: RealCluster,
    namespace: str,
    spec: Callable[..., dict[str, Any]],
    gpu_nodes: Callable[..., list[str]],
) -> None:
    [name] = gpu_nodes(1)
    nodes = {node["metadata"]["name"]: node["metadata"] for node in cluster.items("nodes")}
    assert set(nodes) == {name, cluster.node_name}
    assert not FAKE.items() <= nodes[cluster.node_name].get("annotations", {}).items()
    fake = spec("raise SystemExit('nobody runs this')", image="registry.invalid/none:1")
    fake["nodeSelector"] = {"kubernetes.io/hostname": name}
    cluster.apply([pod(namespace, "fake", fake)])
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/fake")


def test_helm_installs_waits_and_uninstalls(
    cluster: RealCluster, namespace: str, spec: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    chart = {"apiVersion": "v2", "name": "trial", "version": "0.1.0", "kubeVersion": ">=1.37.0-0"}
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text(json.dumps(chart))
    rendered = json.dumps(pod("NAMESPACE", "web", serving(spec("HELLO"))))
    rendered = rendered.replace('"NAMESPACE"', "{{ .Release.Namespace | quote }}")
    rendered = rendered.replace('"HELLO"', "{{ .Values.code | quote }}")
    (tmp_path / "templates" / "pod.yaml").write_text(rendered)
    (tmp_path / "values.yaml").write_text(json.dumps({"code": textwrap.dedent(HELLO)}))
    cluster.helm("install", "trial", str(tmp_path), "-n", namespace, "--wait", "--timeout=60s")
    assert cluster.kubectl("-n", namespace, "logs", "web") == "serving\n"
    cluster.helm("uninstall", "trial", "-n", namespace, "--wait")
    assert not cluster.items("-n", namespace, "pods")
