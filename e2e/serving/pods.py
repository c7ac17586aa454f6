"""A ServingPool whose engines and gateways are pods of the real node, as the chart sets them up.

Engines are cost-model servers in the product's image, whose text is a function of the ids so far:
any token that is lost, doubled or altered shows. Used by e2e/test_chart.py and test_pods.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.gateway.gateways import MODEL

if TYPE_CHECKING:
    from e2e.controlplane.realnode.cluster import RealCluster

POOL = "llama"
PORT = 8000
CLIENT_KEY = "sk-one"
LABELS = {"app": POOL}
SMALL = {"requests": {"cpu": "10m", "memory": "64Mi"}}
GRACE_SECONDS = 20
SLOWER = 0.1
"""An H100's engine at a tenth of its speed: some 15 tokens a second, and room for many streams."""
_RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def gateway(namespace: str) -> dict[str, Any]:
    """The chart's value."""
    return {
        "namespace": namespace,
        "pool": POOL,
        "secrets": [f"{POOL}-engines", f"{POOL}-tenants"],
        "resources": SMALL,
        "graceSeconds": GRACE_SECONDS,
    }


def restricted(namespace: str, **labels: str) -> dict[str, Any]:
    """A namespace whose pods have to be modest, as the product's and its engines' are."""
    profile = {"pod-security.kubernetes.io/enforce": "restricted"}
    meta = {"name": namespace, "labels": profile | labels}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}


def secrets(namespace: str) -> list[dict[str, Any]]:
    texts = {
        f"{POOL}-engines": {"key": "the engines' key"},
        f"{POOL}-tenants": {"tenants.yaml": f"[{{name: one, keys: [{CLIENT_KEY}]}}]"},
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "stringData": data,
        }
        for name, data in texts.items()
    ]


def pool(namespace: str, **spec: Any) -> dict[str, Any]:
    engines = {
        "selector": {"matchLabels": LABELS},
        "port": PORT,
        "apiKey": {"name": f"{POOL}-engines", "key": "key"},
    }
    tenants = {"name": f"{POOL}-tenants", "key": "tenants.yaml"}
    return {
        "apiVersion": "fairstow.dev/v1alpha1",
        "kind": "ServingPool",
        "metadata": {"name": POOL, "namespace": namespace},
        "spec": {"engines": engines, "tenants": tenants} | spec,
    }


def engines(
    cluster: RealCluster, namespace: str, replicas: int, weights: str = "1"
) -> dict[str, Any]:
    """The Deployment; engines of other weights write other text."""
    container = {
        "name": "engine",
        "image": cluster.image,
        "command": ["python", "-m", "fairstow.gateway.cost_model_server"],
        "args": [
            *(f"--port={PORT}", "--host=0.0.0.0", "--advertise=$(POD_IP)", f"--model={MODEL}"),
            *("--profile=h100-7b", f"--speed={SLOWER}", f"--weights={weights}"),
            *("--api-key-file=/key/key", "--scheduling-policy=priority"),
        ],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/health", "port": PORT}, "periodSeconds": 1},
        "resources": SMALL,
        "securityContext": _RESTRICTED,
        "volumeMounts": [{"name": "key", "mountPath": "/key", "readOnly": True}],
    }
    spec = {
        "nodeSelector": {"kubernetes.io/hostname": cluster.node_name},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "key", "secret": {"secretName": f"{POOL}-engines"}}],
    }
    labels = LABELS | {"fairstow.dev/weights": weights}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": POOL, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": LABELS},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def status(cluster: RealCluster, namespace: str) -> dict[str, Any]:
    found: dict[str, Any] = cluster.get("-n", namespace, f"servingpool/{POOL}").get("status", {})
    return found


def names(cluster: RealCluster, namespace: str) -> list[str]:
    """The engines' pods that aren't on their way out."""
    found = cluster.items("-n", namespace, "pods", "-l", f"app={POOL}")
    living = (each["metadata"] for each in found if "deletionTimestamp" not in each["metadata"])
    return sorted(meta["name"] for meta in living)


def address(cluster: RealCluster, namespace: str) -> str:
    """Where clients inside the cluster reach the pool."""
    service = cluster.get("-n", namespace, f"service/fairstow-gateway-{POOL}")
    return f"http://{service['spec']['clusterIP']}"


def ready(cluster: RealCluster, namespace: str, *, engines: int, gateways: int = 2) -> None:
    """Wait until the pool serves, and memory can move between its engines."""

    def serves() -> bool:
        said = status(cluster, namespace)
        conditions = {c["type"]: c["reason"] for c in said.get("conditions", ())}
        counts = said.get("ready"), said.get("gateways")
        return conditions.get("Migrating") == "MemoryMoves" and counts == (engines, gateways)

    cluster.wait(serves, "the pool to serve", timeout=120)
