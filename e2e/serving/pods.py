"""A ServingPool whose engines and gateways are pods of the real node, as the chart sets them up.

Engines are cost-model servers in the product's image, whose text is a function of the ids so far:
any token that is lost, doubled or altered shows. Used by e2e/test_chart.py and test_pods.py.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from e2e.controlplane.client import WaitTimeoutError
from fairstow.serving.engine_pods import HELPER
from tests.gateway.gateways import MODEL

if TYPE_CHECKING:
    from e2e.controlplane.realnode.cluster import RealCluster

POOL = "llama"
PORT = 8000
CLIENT_KEY = "sk-one"
LABELS = {"app": POOL}
SMALL = {"requests": {"cpu": "10m", "memory": "64Mi"}}
GRACE_SECONDS = 20
SPEED = 0.5
"""An A10's engine at half of its speed: some 12 tokens a second, so that few cores do for many."""
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


def restricted(namespace: str, *, drained: bool = False) -> dict[str, Any]:
    """A namespace of modest pods; `drained`: engines are, before they end, whoever deletes them."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    labels |= {"fairstow.dev/drain": "enabled"} if drained else {}
    meta = {"name": namespace, "labels": labels}
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


def pool(namespace: str) -> dict[str, Any]:
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
        "spec": {"engines": engines, "tenants": tenants},
    }


def engines(
    cluster: RealCluster,
    namespace: str,
    replicas: int,
    *,
    name: str = POOL,
    weights: str = "1",
    **spec: Any,
) -> dict[str, Any]:
    """A Deployment of engines; those of other weights write other text. `spec` is their pods'."""
    container = {
        "name": "engine",
        "image": cluster.image,
        "command": ["python", "-m", "fairstow.gateway.cost_model_server"],
        "args": [
            *(f"--port={PORT}", "--host=0.0.0.0", "--advertise=$(POD_IP)", f"--model={MODEL}"),
            *(f"--speed={SPEED}", f"--weights={weights}"),
            *("--api-key-file=/key/key", "--scheduling-policy=priority"),
        ],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/health", "port": PORT}, "periodSeconds": 1},
        "resources": spec.pop("resources", SMALL),
        "securityContext": _RESTRICTED,
        "volumeMounts": [{"name": "key", "mountPath": "/key", "readOnly": True}],
    }
    pod = {
        "shareProcessNamespace": True,
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
    chosen = LABELS | {"set": name}
    labels = chosen | {"fairstow.dev/weights": weights}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": chosen},
            "template": {"metadata": {"labels": labels}, "spec": pod | spec},
        },
    }


def start(cluster: RealCluster, namespace: str, replicas: int, **pods: Any) -> None:
    """Have a pool and its engines, which drain before they end, and wait until they serve."""
    served(cluster, namespace, pool(namespace), engines(cluster, namespace, replicas, **pods))


def served(
    cluster: RealCluster,
    namespace: str,
    pool: dict[str, Any],
    deployment: dict[str, Any],
    *,
    gateways: int = 2,
) -> None:
    """Likewise with these; the engines are made when the webhook knows the pool."""
    cluster.apply([*secrets(namespace), pool])
    trial = deployment["spec"]["template"] | {"apiVersion": "v1", "kind": "Pod"}
    trial["metadata"] = trial["metadata"] | {"name": "trial", "namespace": namespace}

    def helped() -> bool:
        words = ("create", "--dry-run=server", "-o", "json", "-f", "-")
        made = json.loads(cluster.kubectl(*words, stdin=json.dumps(trial)))
        return HELPER in {each["name"] for each in made["spec"]["containers"]}

    cluster.wait(helped, "the webhook to know the pool")
    cluster.apply([deployment])
    rolled_out(cluster, namespace)
    ready(cluster, namespace, engines=deployment["spec"]["replicas"], gateways=gateways)


def rolled_out(cluster: RealCluster, namespace: str, name: str = POOL) -> None:
    words = ("rollout", "status", f"deployment/{name}", "--timeout=180s")
    cluster.kubectl("-n", namespace, *words, timeout=190)


def status(cluster: RealCluster, namespace: str) -> dict[str, Any]:
    found: dict[str, Any] = cluster.get("-n", namespace, f"servingpool/{POOL}").get("status", {})
    return found


def names(cluster: RealCluster, namespace: str, labels: str = f"app={POOL}") -> list[str]:
    """Pods, by default the engines', that aren't on their way out."""
    found = cluster.items("-n", namespace, "pods", "-l", labels)
    living = (each["metadata"] for each in found if "deletionTimestamp" not in each["metadata"])
    return sorted(meta["name"] for meta in living)


def events(cluster: RealCluster, namespace: str, event: str) -> list[dict[str, Any]]:
    """What gateways have logged under this name."""
    gateways = ("-l", "app.kubernetes.io/component=gateway", "--tail=-1")
    lines = cluster.kubectl("-n", namespace, "logs", *gateways).splitlines()
    found = (json.loads(line) for line in lines if line.startswith("{"))
    return [each for each in found if each["event"] == event]


def address(cluster: RealCluster, namespace: str) -> str:
    """Where clients inside the cluster reach the pool."""
    service = cluster.get("-n", namespace, f"service/fairstow-gateway-{POOL}")
    return f"http://{service['spec']['clusterIP']}"


def ready(cluster: RealCluster, namespace: str, *, engines: int, gateways: int = 2) -> None:
    """Wait until the pool serves, and memory can move between its engines."""

    def serves() -> bool:
        said = status(cluster, namespace)
        conditions = {c["type"]: c["reason"] for c in said.get("conditions", ())}
        counts = said.get("instances"), said.get("ready"), said.get("gateways")
        wanted = (engines, engines, gateways)
        return conditions.get("Migrating") == "MemoryMoves" and counts == wanted

    try:
        cluster.wait(serves, "the pool to serve", timeout=120)
    except WaitTimeoutError as error:
        found = status(cluster, namespace), events(cluster, namespace, "answers")
        raise AssertionError(f"the pool doesn't serve: {found}") from error
