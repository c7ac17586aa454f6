"""The cluster of the demo: GPUs are free, yet pods that need them are stuck.

Small pods spread over nodes, as replicas are told to for the sake of availability, so one or two
GPUs stay free on every node and a pod that wants four or eight finds no home. Called by
`tools.demo.__main__`.
"""

from typing import Any

from e2e.controlplane.kwok import GPU, gpu_node

NAMESPACE = "team-a"
POOLS = {"a100": "NVIDIA-A100-SXM4-80GB", "h100": "NVIDIA-H100-80GB-HBM3"}
SELECTED = "nvidia.com/gpu.product"
GPU_TAINT = {"key": GPU, "effect": "NoSchedule"}


def nodes() -> list[dict[str, Any]]:
    """Six nodes of 8 × A100 and four of 8 × H100."""
    a100 = [_node(f"a100-{i}", POOLS["a100"]) for i in range(6)]
    return a100 + [_node(f"h100-{i}", POOLS["h100"]) for i in range(4)]


def policies() -> list[dict[str, Any]]:
    """A pool of each kind of GPU, with a policy that makes plans for a person to approve."""
    pools = [
        _own("GpuPool", name, {"nodeSelector": {"matchLabels": {SELECTED: product}}})
        for name, product in POOLS.items()
    ]
    return pools + [
        _own(
            "PackingPolicy",
            name,
            {
                "poolRef": {"name": name},
                "mode": "Recommend",
                "triggers": {"unschedulableFor": "5s"},
            },
        )
        for name in POOLS
    ]


def residents() -> list[dict[str, Any]]:
    """What runs first: small pods that spread, one workload under a disruption budget."""
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        _priority("prod", 1000),
        _priority("batch", 100),
        _deployment("asr-batch", 38, 1, POOLS["a100"], "batch"),
        _deployment("llama-chat", 11, 2, POOLS["h100"], "batch"),
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "llama-chat", "namespace": NAMESPACE},
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "llama-chat"}}},
        },
    ]


def latecomers() -> list[dict[str, Any]]:
    """What then finds no room: larger pods of higher priority."""
    return [
        _deployment("vision-train", 2, 4, POOLS["a100"], "prod"),
        _deployment("llama-train", 1, 8, POOLS["h100"], "prod"),
    ]


def _node(name: str, product: str) -> dict[str, Any]:
    return gpu_node(name, cpu="96", memory="1Ti", gpus=8, product=product, taints=[GPU_TAINT])


def _own(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "fairstow.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


def _spread(app: str) -> dict[str, Any]:
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"app": app}},
    }


def _priority(name: str, value: int) -> dict[str, Any]:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": value,
        "preemptionPolicy": "Never",
    }


def _deployment(name: str, replicas: int, gpus: int, product: str, priority: str) -> dict[str, Any]:
    wants = {"cpu": f"{4 * gpus}", "memory": f"{32 * gpus}Gi", GPU: str(gpus)}
    container = {
        "name": "main",
        "image": "registry.example/work:1",
        "resources": {"requests": wants, "limits": {GPU: str(gpus)}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "schedulerName": "fairstow",
                    "priorityClassName": priority,
                    "nodeSelector": {SELECTED: product},
                    "topologySpreadConstraints": [_spread(name)],
                    "tolerations": [{"key": GPU, "operator": "Exists"}],
                    "containers": [container],
                },
            },
        },
    }
