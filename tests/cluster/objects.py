"""Kubernetes objects as plain data, for tests: the least that is valid, plus what is given."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from fairstow.cluster import dump, project
from fairstow.cluster.items import Item, item
from fairstow.cluster.model import Pod
from fairstow.cluster.snapshot import Snapshot

Object = dict[str, Any]
GPU = "nvidia.com/gpu"


def node(name: str = "node-0", **changes: Any) -> Object:
    """A Ready node with 8 cores, 32 GiB, 4 GPUs; `labels`, `taints`, `allocatable`, … replace."""
    allocatable = {"cpu": "8", "memory": "32Gi", "pods": "110", GPU: "4"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "labels": {"kubernetes.io/hostname": name} | changes.pop("labels", {}),
        }
        | changes.pop("metadata", {}),
        "spec": {"taints": changes.pop("taints", [])} | changes.pop("spec", {}),
        "status": {
            "allocatable": changes.pop("allocatable", allocatable),
            "conditions": changes.pop("conditions", [{"type": "Ready", "status": "True"}]),
        },
        **changes,
    }


def pod(name: str = "pod-0", namespace: str = "team", **spec: Any) -> Object:
    """A pod of one container; `requests`, `labels`, `annotations`, `owner`, `status` are short."""
    requests = spec.pop("requests", {"cpu": "1"})
    status = spec.pop("status", {})
    meta: Object = {"name": name, "namespace": namespace, "uid": f"uid-{namespace}-{name}"}
    owner = spec.pop("owner", ("ReplicaSet", "web"))
    if owner:
        kind, owner_name = owner
        api = {"Job": "batch/v1", "Node": "v1"}.get(kind, "apps/v1")
        reference = {"apiVersion": api, "kind": kind, "name": owner_name}
        meta["ownerReferences"] = [
            reference | {"uid": f"uid-{owner_name}", "controller": True},
        ]
    for key in ("labels", "annotations"):
        if key in spec:
            meta[key] = spec.pop(key)
    meta |= spec.pop("metadata", {})
    containers = [{"name": "main", "resources": {"requests": requests}}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"containers": containers, **spec},
        "status": status,
    }


def budget(name: str = "budget", namespace: str = "team", **changes: Any) -> Object:
    """A PodDisruptionBudget of app=web that allows one disruption."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{namespace}-{name}",
            "generation": 2,
        },
        "spec": changes.pop("spec", {"selector": {"matchLabels": {"app": "web"}}}),
        "status": {"disruptionsAllowed": 1, "observedGeneration": 2} | changes,
    }


def job(name: str = "train", *, tolerant: bool = True, namespace: str = "team") -> Object:
    """A Job whose pods' disruptions are ignored, or not."""
    rule = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}"},
        "spec": {"podFailurePolicy": {"rules": [rule]}} if tolerant else {},
    }


def namespace(name: str = "team", **labels: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def priority_class(name: str, value: int) -> Object:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": value,
    }


def listed(objects: Iterable[Object]) -> Object:
    """The list `kubectl get -o json` makes of them."""
    return {"apiVersion": "v1", "items": list(objects), "kind": "List", "metadata": {}}


def snapshot(*objects: Object) -> Snapshot:
    """The snapshot of objects, one node added where there is none."""
    given = [*objects] if any(o["kind"] == "Node" for o in objects) else [node(), *objects]
    return project.build(items(*given))


def items(*objects: Object) -> Iterable[Item]:
    return [item("test", i, o) for i, o in enumerate(objects)]


def only_pod(*objects: Object) -> Pod:
    """The one pod of a snapshot of the objects."""
    (found,) = snapshot(*objects).pods
    return found


def as_json(objects: Iterable[Object], indent: int | None = 4) -> bytes:
    return json.dumps(listed(objects), indent=indent, sort_keys=True).encode()


def as_yaml(objects: Iterable[Object]) -> bytes:
    dumper: Any = yaml.CSafeDumper
    return bytes(yaml.dump(listed(objects), Dumper=dumper, encoding="utf-8"))


def packed(data: bytes) -> bytes:
    return gzip.compress(data)


def read(path: Path, data: bytes, name: str = "dump.json") -> Snapshot:
    """The snapshot of a file with that content."""
    file = path / name
    file.write_bytes(data)
    return project.build(dump.read([str(file)]))
