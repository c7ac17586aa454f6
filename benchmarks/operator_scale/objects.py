"""The cluster of `benchmarks.scale` as a real API server holds it: as large as users' objects are.

Nodes list images and conditions; pods have owners, environment, probes, mounted tokens and a status
as a kubelet writes it, some 6 KB of JSON each with what the API server adds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks import scale

NAMESPACES = tuple(f"team-{n:02d}" for n in range(40))
CLASSES = {value: f"tier-{value}" for value in scale.PRIORITIES}
_LONG_AGO = "2026-01-01T00:00:00Z"
_CONDITIONS = {
    "MemoryPressure": "False",
    "DiskPressure": "False",
    "PIDPressure": "False",
    "Ready": "True",
}

Json = dict[str, Any]


def cluster(nodes: int) -> tuple[list[Json], list[Json], list[Json]]:
    """Return the nodes, the pods that have one, and those that wait."""
    found: tuple[list[Json], list[Json], list[Json]] = ([], [], [])
    for content in scale.objects(nodes, seed=0):
        if content["kind"] == "Node":
            found[0].append(_node(content))
        else:
            bound = "nodeName" in content["spec"]
            found[1 if bound else 2].append(_pod(content))
    return found


def others() -> Iterator[Json]:
    """Yield the namespaces and priority classes that pods need."""
    for name in NAMESPACES:
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    for value, name in CLASSES.items():
        yield {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": value,
        }


def running(started: str = _LONG_AGO) -> Json:
    """Return the status of a running pod."""
    conditions = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady")
    return {
        "phase": "Running",
        "startTime": started,
        "hostIP": "198.51.100.1",
        "podIP": "10.128.0.1",
        "conditions": [_condition(name, "True") for name in conditions],
        "containerStatuses": [
            {
                "name": "main",
                "image": "registry.example.com/team/model-server:2.14.0",
                "imageID": f"registry.example.com/team/model-server@sha256:{'0' * 64}",
                "containerID": f"containerd://{'0' * 64}",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": started}},
            }
        ],
    }


def waiting(since: str) -> Json:
    """Return the status of a pod for which the scheduler found no node."""
    said = "0/1 nodes are available: Insufficient nvidia.com/gpu."
    condition = _condition("PodScheduled", "False") | {"lastTransitionTime": since}
    return {
        "phase": "Pending",
        "conditions": [condition | {"reason": "Unschedulable", "message": said}],
    }


def heartbeat(at: str) -> Json:
    """Return the status that a kubelet writes every five minutes though nothing has changed."""
    return {
        "conditions": [
            _condition(name, status) | {"lastHeartbeatTime": at}
            for name, status in _CONDITIONS.items()
        ]
    }


def _node(content: Json) -> Json:
    name = content["metadata"]["name"]
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
        "nvidia.com/gpu.count": "8",
        "nvidia.com/gpu.memory": "81559",
        "nvidia.com/cuda.driver.major": "580",
        "topology.kubernetes.io/zone": f"zone-{int(name[5:]) % 3}",
    }
    status = {
        "capacity": scale.ROOM,
        "allocatable": scale.ROOM,
        "images": [
            {
                "names": [f"registry.example.com/team/image-{i}@sha256:{i:064x}"],
                "sizeBytes": 8_000_000_000,
            }
            for i in range(30)
        ],
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": status | heartbeat(_LONG_AGO),
    }


def _pod(content: Json) -> Json:
    """Return a pod of scale.py's, dressed; it ends at once when deleted."""
    meta, spec = content["metadata"], content["spec"]
    owner = meta["ownerReferences"][0]
    workload = int(owner["name"].rpartition("-")[2])
    labels = {
        "app.kubernetes.io/name": owner["name"],
        "app.kubernetes.io/part-of": f"product-{workload % 12}",
        "pod-template-hash": f"{workload:010x}",
    }
    container = spec["containers"][0] | {
        "image": "registry.example.com/team/model-server:2.14.0",
        "args": ["--port=8080", "--model=/models/current", "--workers=4"],
        "env": [{"name": f"SETTING_{i}", "value": f"value of setting {i}"} for i in range(12)],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}},
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}},
        "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],
    }
    requests = container["resources"]["requests"]
    gpus = {k: v for k, v in requests.items() if k == scale.GPU}
    container["resources"] = {"requests": requests, "limits": gpus}
    dressed = {
        "priorityClassName": CLASSES[spec["priority"]],
        "schedulerName": "fairstow",
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
        "volumes": [{"name": "scratch", "emptyDir": {"medium": "Memory"}}],
    }
    if "nodeName" in spec:
        dressed["nodeName"] = spec["nodeName"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": NAMESPACES[workload % len(NAMESPACES)],
            "name": f"{owner['name']}-{meta['name']}",
            "labels": labels,
            "ownerReferences": [owner],
        },
        "spec": dressed,
    }


def _condition(name: str, status: str) -> Json:
    return {"type": name, "status": status, "lastTransitionTime": _LONG_AGO}
