"""Raw objects of serving: pools, engines' pods and drains, beside those of `checker_clusters`."""

from __future__ import annotations

from typing import Any

from tests.packing.checker_clusters import Json, pod

API = "fairstow.dev/v1alpha1"
SPARE: Json = {"gateways": 1, "spareInstances": 1}
FULL: Json = {"gateways": 1, "spareInstances": 0}


def pool(
    name: str = "llama",
    *,
    app: str = "llama",
    namespace: str = "team-a",
    status: Json | None = None,
) -> Json:
    """A ServingPool whose engines have the label `app`."""
    return {
        "apiVersion": API,
        "kind": "ServingPool",
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-pool-{namespace}-{name}"},
        "spec": {"engines": {"selector": {"matchLabels": {"app": app}}}},
        "status": SPARE if status is None else status,
    }


def engine(
    name: str,
    on: str = "",
    *,
    app: str = "llama",
    ready: bool = True,
    metadata: Json | None = None,
    **more: Any,
) -> Json:
    """An engine's pod, Ready if it has a node."""
    made = pod(name, on, **({"owner": "ReplicaSet/llama"} | more), labels={"app": app})
    made["metadata"] |= metadata or {}
    if on:
        status = "True" if ready else "False"
        made["status"]["conditions"] = [{"type": "Ready", "status": status}]
    return made


def drain(of: str, *, over: str = "", plan: str = "", namespace: str = "team-a") -> Json:
    """The InstanceDrain of a pod, over for a reason or not yet; `plan` made it."""
    owner = {"apiVersion": API, "kind": "PackingPlan", "name": plan, "uid": f"uid-{plan}"}
    condition = {"type": "Drained", "status": "True" if over else "False", "reason": over or "Wait"}
    return {
        "apiVersion": API,
        "kind": "InstanceDrain",
        "metadata": {
            "name": of,
            "namespace": namespace,
            "uid": f"uid-drain-{of}",
            "ownerReferences": [owner] if plan else [],
        },
        "spec": {"pool": "llama", "podName": of, "podUid": f"uid-{namespace}-{of}"},
        "status": {"conditions": [condition]},
    }
