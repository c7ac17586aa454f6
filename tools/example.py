"""Writes the bundled example, `fairstow/cli/example.json.gz`, from a fixed seed.

A made-up cluster in the form of `kubectl get … -o json`: GPU nodes filled by best fit, then
thinned until holes of one to three GPUs are left. The pods that wait ask for four or
eight: no node has room, though the pool has. `--check` says whether the file is up to date.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import sys
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

OUTPUT = Path(__file__).parents[1] / "fairstow" / "cli" / "example.json.gz"
SEED = 20
GPU = "nvidia.com/gpu"
ZONE = "topology.kubernetes.io/zone"
_EPOCH = "2026-11-02T09:00:00Z"

Object = dict[str, Any]


@dataclass(frozen=True)
class Pool:
    """Equal nodes. Attributes: cpu: cores; memory: GiB; holes: GPUs free on a node, by chance."""

    name: str
    product: str
    nodes: int
    gpus: int
    cpu: int
    memory: int
    holes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Workload:
    """Equal pods of one owner. Attributes: cpu: cores; memory: GiB; share: of a pool's filling."""

    namespace: str
    name: str
    pool: str
    gpus: int
    cpu: int
    memory: int
    tier: str
    kind: str = "ReplicaSet"
    share: int = 1
    waiting: int = 0
    disruptions: int | None = None
    one_per_zone: bool = False


@dataclass
class Cluster:
    """Attributes: used: GPUs, cores and GiB by node; pods: with their nodes, in order."""

    used: dict[str, list[int]] = field(default_factory=dict)
    pods: list[tuple[Workload, str]] = field(default_factory=list)


POOLS = (
    Pool("h100", "NVIDIA-H100-80GB-HBM3", 8, 8, 192, 2048, holes=(1, 2, 3, 3)),
    Pool("a100", "NVIDIA-A100-SXM4-80GB", 14, 8, 128, 1024, holes=(1, 1, 2, 3)),
    Pool("l40s", "NVIDIA-L40S", 12, 4, 64, 512, holes=(0, 1, 1, 2)),
    Pool("cpu", "", 6, 0, 96, 384),
)
PRIORITIES = {
    "serving": (10000, "PreemptLowerPriority"),
    "training": (1000, "Never"),
    "interactive": (500, "Never"),
    "batch": (100, "Never"),
}
WORKLOADS = (
    Workload("nlp", "llama-train", "h100", 4, 44, 440, "training", "Job", share=3, waiting=2),
    Workload("nlp", "llama-eval", "h100", 2, 20, 180, "training", share=4),
    Workload("nlp", "tokenizer-batch", "h100", 1, 8, 64, "batch", share=8),
    Workload("serving", "chat-70b", "h100", 2, 20, 240, "serving", share=2, disruptions=1),
    Workload("vision", "diffusion-train", "a100", 4, 40, 300, "training", "Job", 2, waiting=2),
    Workload("vision", "segment-sweep", "a100", 8, 96, 800, "training", "Job", 1, waiting=1),
    Workload("speech", "asr-batch", "a100", 1, 8, 48, "batch", share=14),
    Workload("speech", "tts-finetune", "a100", 2, 16, 128, "training", share=4),
    Workload("serving", "embed-server", "a100", 1, 8, 64, "serving", share=6, disruptions=2),
    Workload("research", "notebook", "a100", 1, 8, 64, "interactive", "StatefulSet", 6,
             disruptions=0),
    Workload("vision", "render", "l40s", 2, 16, 96, "batch", share=3),
    Workload("serving", "rerank", "l40s", 1, 6, 32, "serving", share=8, disruptions=2),
    Workload("speech", "voice-train", "l40s", 4, 40, 240, "training", "Job", 1, waiting=1),
    Workload("research", "vector-index", "l40s", 1, 8, 64, "interactive", "StatefulSet", 3,
             waiting=1, one_per_zone=True),
    Workload("data", "etl", "cpu", 0, 6, 20, "batch", share=4),
    Workload("data", "feature-store", "cpu", 0, 4, 24, "serving", share=3, disruptions=1),
)  # fmt: skip
CPU_PODS = 100


def main() -> int:
    """Write or check the file; the exit code is 1 where a check fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    check = parser.parse_args().check
    text = generate()
    if check:
        # Compressed bytes depend on the zlib at hand; the text doesn't.
        current = OUTPUT.exists() and gzip.decompress(OUTPUT.read_bytes()) == text
        if not current:
            print(f"{OUTPUT.name} is out of date: run python tools/example.py", file=sys.stderr)
        return 0 if current else 1
    OUTPUT.write_bytes(gzip.compress(text, compresslevel=9, mtime=0))
    return 0


def generate(seed: int = SEED) -> bytes:
    """Return the cluster as JSON text."""
    cluster = fill(random.Random(seed))
    items = [
        *(_node(pool, number) for pool in POOLS for number in range(pool.nodes)),
        *(_priority_class(name) for name in PRIORITIES),
        *(_namespace(name) for name in sorted({w.namespace for w in WORKLOADS} | {"kube-system"})),
        *_workloads(cluster),
        *(_device_plugin(name) for name in cluster.used if not name.startswith("cpu")),
    ]
    listed = {"apiVersion": "v1", "items": items, "kind": "List", "metadata": {}}
    return (json.dumps(listed, indent=4, sort_keys=True) + "\n").encode()


def fill(rng: random.Random) -> Cluster:
    """Place running pods: best fit until nothing fits, then holes smaller than what waits."""
    cluster = Cluster({_name(pool, n): [0, 0, 0] for pool in POOLS for n in range(pool.nodes)})
    for pool in POOLS:
        mine = [w for w in WORKLOADS if w.pool == pool.name]
        spread = [w for w in mine for _ in range(w.share) if w.one_per_zone]
        lottery = [w for w in mine for _ in range(w.share) if not w.one_per_zone]
        count = pool.nodes * pool.gpus or CPU_PODS
        for workload in (*spread, *(rng.choice(lottery) for _ in range(count))):
            node = _best_fit(cluster, pool, workload)
            if node is not None:
                _place(cluster, workload, node, 1)
        _thin(cluster, pool, rng)
    return cluster


def _best_fit(cluster: Cluster, pool: Pool, workload: Workload) -> str | None:
    """Return the node that is left with the least of the resource that matters."""
    total = (pool.gpus, pool.cpu - 4, pool.memory - 16)
    wanted = (workload.gpus, workload.cpu, workload.memory)
    main = 0 if pool.gpus else 1
    taken = {_zone(node) for w, node in cluster.pods if w is workload and w.one_per_zone}
    fitting = [
        (total[main] - cluster.used[node][main], node)
        for node in (_name(pool, n) for n in range(pool.nodes))
        if _zone(node) not in taken
        and all(u + w <= t for u, w, t in zip(cluster.used[node], wanted, total, strict=True))
    ]
    return min(fitting)[1] if fitting else None


def _place(cluster: Cluster, workload: Workload, node: str, sign: int) -> None:
    """Add a pod to a node (sign 1) or take one away (sign -1)."""
    amounts = (workload.gpus, workload.cpu, workload.memory)
    cluster.used[node] = [u + sign * a for u, a in zip(cluster.used[node], amounts, strict=True)]
    if sign > 0:
        cluster.pods.append((workload, node))
    else:
        cluster.pods.remove((workload, node))


def _thin(cluster: Cluster, pool: Pool, rng: random.Random) -> None:
    """End small pods until each node has a hole of the size drawn for it, or nearly so."""
    for node in (_name(pool, n) for n in range(pool.nodes) if pool.holes):
        hole = rng.choice(pool.holes)
        small = [
            p for p in cluster.pods if p[1] == node and p[0].gpus <= 2 and not p[0].one_per_zone
        ]
        rng.shuffle(small)
        for workload, _ in small:
            if pool.gpus - cluster.used[node][0] + workload.gpus <= hole:
                _place(cluster, workload, node, -1)


def _name(pool: Pool, number: int) -> str:
    return f"{pool.name}-{number:02}"


def _zone(node: str) -> str:
    return f"zone-{int(node[-2:]) % 3}"


def _uid(*labels: str) -> str:
    digits = blake2b("/".join(labels).encode(), digest_size=16).hexdigest()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _suffix(*labels: str) -> str:
    """Return the tail of a generated name, in the letters Kubernetes uses."""
    digest = blake2b("/".join(labels).encode(), digest_size=5).digest()
    return "".join("bcdfghjklmnpqrstvwxz2456789"[byte % 27] for byte in digest)


def _meta(kind: str, name: str, namespace: str = "", **more: Any) -> Object:
    meta = {"name": name, "uid": _uid(kind, namespace, name), "creationTimestamp": _EPOCH, **more}
    return meta | {"namespace": namespace} if namespace else meta


def _reference(kind: str, namespace: str, name: str) -> Object:
    version = "batch/v1" if kind == "Job" else "apps/v1"
    uid = _uid(kind, namespace, name)
    return {"apiVersion": version, "controller": True, "kind": kind, "name": name, "uid": uid}


def _node(pool: Pool, number: int) -> Object:
    name = _name(pool, number)
    labels = {
        "kubernetes.io/hostname": name,
        ZONE: _zone(name),
        "node.kubernetes.io/pool": pool.name,
    }
    capacity = {"cpu": str(pool.cpu), "memory": f"{pool.memory}Gi", "pods": "110"}
    spec: Object = {}
    if pool.gpus:
        labels["nvidia.com/gpu.product"] = pool.product
        capacity[GPU] = str(pool.gpus)
        spec["taints"] = [{"key": GPU, "value": "present", "effect": "NoSchedule"}]
    allocatable = capacity | {"cpu": f"{pool.cpu - 2}", "memory": f"{pool.memory - 8}Gi"}
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": _meta("Node", name, labels=labels),
        "spec": spec,
        "status": {"allocatable": allocatable, "capacity": capacity, "conditions": [ready]},
    }


def _priority_class(name: str) -> Object:
    value, policy = PRIORITIES[name]
    head = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass"}
    meta = _meta("PriorityClass", name)
    return head | {"metadata": meta, "preemptionPolicy": policy, "value": value}


def _namespace(name: str) -> Object:
    meta = _meta("Namespace", name, labels={"kubernetes.io/metadata.name": name})
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}


def _workloads(cluster: Cluster) -> list[Object]:
    """Return owners, budgets and pods, running and waiting."""
    objects = []
    for workload in WORKLOADS:
        nodes = [node for w, node in cluster.pods if w is workload]
        owner = _owner_name(workload)
        objects.append(_owner(workload, len(nodes) + workload.waiting))
        if workload.disruptions is not None:
            objects.append(_budget(workload, len(nodes)))
        for index, node in enumerate([*nodes, *[""] * workload.waiting]):
            numbered = workload.kind == "StatefulSet"
            tail = str(index) if numbered else _suffix(owner, str(index))
            objects.append(_pod(workload, f"{owner}-{tail}", node))
    return objects


def _owner_name(workload: Workload) -> str:
    if workload.kind != "ReplicaSet":
        return workload.name
    return f"{workload.name}-{_suffix('template', workload.name)}"


def _owner(workload: Workload, replicas: int) -> Object:
    version = "batch/v1" if workload.kind == "Job" else "apps/v1"
    spec: Object = {"replicas": replicas}
    if workload.kind == "Job":
        ignored = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
        spec = {
            "completions": replicas,
            "parallelism": replicas,
            "podFailurePolicy": {"rules": [ignored]},
        }
    name = _owner_name(workload)
    return {
        "apiVersion": version,
        "kind": workload.kind,
        "metadata": _meta(workload.kind, name, workload.namespace),
        "spec": spec,
    }


def _budget(workload: Workload, running: int) -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _meta("PodDisruptionBudget", workload.name, workload.namespace, generation=1),
        "spec": {
            "maxUnavailable": workload.disruptions,
            "selector": {"matchLabels": {"app": workload.name}},
        },
        "status": {
            "currentHealthy": running,
            "desiredHealthy": running - (workload.disruptions or 0),
            "disruptionsAllowed": workload.disruptions,
            "expectedPods": running,
            "observedGeneration": 1,
        },
    }


def _pod(workload: Workload, name: str, node: str) -> Object:
    priority, policy = PRIORITIES[workload.tier]
    requests = {"cpu": str(workload.cpu), "memory": f"{workload.memory}Gi"}
    if workload.gpus:
        requests[GPU] = str(workload.gpus)
    reference = _reference(workload.kind, workload.namespace, _owner_name(workload))
    spec: Object = {
        "containers": [
            {
                "image": f"registry.example.com/{workload.namespace}/{workload.name}:1",
                "name": "main",
                "resources": {"limits": requests, "requests": requests},
            }
        ],
        "nodeSelector": {"node.kubernetes.io/pool": workload.pool},
        "preemptionPolicy": policy,
        "priority": priority,
        "priorityClassName": workload.tier,
        "schedulerName": "default-scheduler",
        "tolerations": [{"key": GPU, "operator": "Exists"}] if workload.gpus else [],
    }
    if workload.one_per_zone:
        apart = {"labelSelector": {"matchLabels": {"app": workload.name}}, "topologyKey": ZONE}
        required = {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}
        spec["affinity"] = {"podAntiAffinity": required}
    if node:
        spec["nodeName"] = node
    meta = _meta(
        "Pod", name, workload.namespace, labels={"app": workload.name}, ownerReferences=[reference]
    )
    status = _running() if node else _waiting(workload)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": status}


def _running() -> Object:
    kinds = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    return {
        "conditions": [{"type": kind, "status": "True"} for kind in kinds],
        "phase": "Running",
        "qosClass": "Guaranteed",
        "startTime": _EPOCH,
    }


def _waiting(workload: Workload) -> Object:
    total = sum(pool.nodes for pool in POOLS)
    own = next(pool.nodes for pool in POOLS if pool.name == workload.pool)
    reason = (
        "node(s) didn't match pod anti-affinity rules"
        if workload.one_per_zone
        else f"Insufficient {GPU}"
    )
    condition = {
        "message": f"0/{total} nodes are available: {own} {reason}, {total - own} "
        "node(s) didn't match Pod's node affinity/selector. preemption: not eligible due to "
        "preemptionPolicy=Never.",
        "reason": "Unschedulable",
        "status": "False",
        "type": "PodScheduled",
    }
    return {"conditions": [condition], "phase": "Pending", "qosClass": "Guaranteed"}


def _device_plugin(node: str) -> Object:
    """Return the DaemonSet pod that every GPU node runs: it never moves."""
    name = f"nvidia-device-plugin-{_suffix('plugin', node)}"
    reference = _reference("DaemonSet", "kube-system", "nvidia-device-plugin")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _meta("Pod", name, "kube-system", ownerReferences=[reference]),
        "spec": {
            "containers": [
                {"name": "main", "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}}}
            ],
            "nodeName": node,
            "priority": 2000001000,
            "priorityClassName": "system-node-critical",
            "tolerations": [{"operator": "Exists"}],
            "volumes": [{"name": "plugins", "hostPath": {"path": "/var/lib/kubelet"}}],
        },
        "status": _running(),
    }


if __name__ == "__main__":
    sys.exit(main())
