"""Two semantic caches on the real node: in front of an engine, and beside an application.

Used by e2e/test_chart.py. The engine is the cost model's; the application asks by the standard
library, led by nothing but OPENAI_BASE_URL.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from e2e.controlplane.client import KubectlError
from e2e.serving.pods import SMALL
from fairstow.cluster.restricted import RESTRICTED
from fairstow.semantic_cache.injection import SIDECAR
from fairstow.semantic_cache.pod_upstream import PORT
from tests.gateway.gateways import MODEL

if TYPE_CHECKING:
    from e2e.controlplane.realnode.cluster import RealCluster

ENGINE, CLIENT = "engine", "answers"
"""The SemanticCaches."""
_ENGINE_PORT = 8000
_SIGNED = {"name": "default", "thresholdPermille": 850, "calibrationSigned": True}
ASK = """
import json, os, sys, urllib.request
for question in sys.argv[1:]:
    body = {"model": "m", "messages": [{"role": "user", "content": question}],
            "temperature": 0, "max_tokens": 3}
    request = urllib.request.Request(
        os.environ["OPENAI_BASE_URL"] + "/chat/completions", json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": "Bearer one"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        text = json.load(reply)["choices"][0]["message"]["content"]
        print(json.dumps([reply.headers["x-cache"], text]))
"""


def values(namespace: str) -> list[dict[str, str]]:
    """The chart's."""
    return [{"namespace": namespace, "cache": name} for name in (ENGINE, CLIENT)]


def caches(namespace: str) -> list[dict[str, Any]]:
    common: dict[str, Any] = {
        "mode": "Enforce",
        "categories": [_SIGNED],
        "lookupDeadline": "5s",  # the node's two cores are busy
        "resources": {"cpu": "300m", "memory": "512Mi"},
    }
    specs: dict[str, dict[str, Any]] = {
        ENGINE: {"placement": "Server", "enginePort": _ENGINE_PORT},
        CLIENT: {"upstream": f"http://engine.{namespace}.svc/v1"},
    }
    return [
        {
            "apiVersion": "fairstow.dev/v1alpha1",
            "kind": "SemanticCache",
            "metadata": {"name": name, "namespace": namespace},
            "spec": common | spec | {"selector": {"matchLabels": {"cached": name}}},
        }
        for name, spec in specs.items()
    ]


def pod(cluster: RealCluster, namespace: str, name: str, cached: str, *args: str) -> dict[str, Any]:
    """A pod of the product's image that runs a Python program."""
    container = {
        "name": "main",
        "image": cluster.image,
        "command": ["python", *args],
        "resources": SMALL,
        "securityContext": RESTRICTED,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"cached": cached}},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": cluster.node_name},
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
        },
    }


def application(cluster: RealCluster, namespace: str, name: str) -> dict[str, Any]:
    """A pod that waits to be told what to ask."""
    return pod(cluster, namespace, name, CLIENT, "-c", "import time; time.sleep(1e6)")


def engine(cluster: RealCluster, namespace: str) -> list[dict[str, Any]]:
    """The engine and its Service, which leads to the sidecar."""
    server = ("-m", "fairstow.gateway.cost_model_server", f"--port={_ENGINE_PORT}")
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "engine", "namespace": namespace},
        "spec": {
            "selector": {"cached": ENGINE},
            "ports": [{"port": 80, "targetPort": PORT}],
        },
    }
    # On loopback: nobody else's way leads past the sidecar.
    made = pod(cluster, namespace, "engine", ENGINE, *server, f"--model={MODEL}", "--speed=10")
    return [service, made]


def start(cluster: RealCluster, namespace: str) -> None:
    """Have the caches, an application that came too early, and pods with their sidecars."""
    cluster.kubectl("label", "namespace", namespace, "fairstow.dev/cache=enabled")
    cluster.apply([application(cluster, namespace, "early")])
    cluster.apply(caches(namespace))
    trial = application(cluster, namespace, "trial")

    def injected() -> bool:
        words = ("create", "--dry-run=server", "-o", "json", "-f", "-")
        made = json.loads(cluster.kubectl(*words, stdin=json.dumps(trial)))
        return SIDECAR in {each["name"] for each in made["spec"].get("initContainers", ())}

    cluster.wait(injected, "the webhook to know the caches")
    ready = ("wait", "--for=condition=Ready")
    cluster.kubectl("-n", namespace, *ready, "scache", ENGINE, CLIENT, "--timeout=30s")
    cluster.apply([*engine(cluster, namespace), application(cluster, namespace, "application")])
    wait = (*ready, "pod/engine", "pod/application", "--timeout=85s")
    try:
        cluster.kubectl("-n", namespace, *wait, timeout=90)
    except KubectlError as error:
        said = [cluster.kubectl("-n", namespace, "describe", "pod", "engine", "application")]
        logs = ("logs", "engine", "--all-containers", "--tail=20", "--prefix")
        said.append(cluster.kubectl("-n", namespace, *logs))
        raise AssertionError("\n".join(said)) from error
    # Requests pass until a sidecar has its memory and its model.
    pods = ("engine", "application")
    cluster.wait(lambda: all(_whole(cluster, namespace, pod) for pod in pods), "the caches", 120)
    # The engine serves a moment later, and its Service leads there.
    cluster.wait(lambda: asked(cluster, namespace, "Are you there?"), "the engine's Service")


def _whole(cluster: RealCluster, namespace: str, name: str) -> bool:
    said = cluster.kubectl("-n", namespace, "logs", name, "-c", SIDECAR)
    return "the cache is ready" in said and "the embedding's model is loaded" in said


def body(question: str) -> dict[str, Any]:
    """What `ASK` asks."""
    messages = [{"role": "user", "content": question}]
    return {"model": MODEL, "messages": messages, "temperature": 0, "max_tokens": 3}


def asked(cluster: RealCluster, namespace: str, *questions: str) -> list[tuple[str, str]]:
    """Have the application ask; return what its cache said, and the answers."""
    words = ("-n", namespace, "exec", "application", "-c", "main", "--", "python", "-c", ASK)
    lines = cluster.kubectl(*words, *questions).splitlines()
    return [(said, text) for said, text in map(json.loads, lines)]


def status(cluster: RealCluster, namespace: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = cluster.get("-n", namespace, f"scache/{name}").get("status", {})
    return found
