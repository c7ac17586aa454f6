"""What the pods of a scene's workloads are like, and what is seen of a pod. Used by scene.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from e2e.controlplane.kwok import GPU

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, Any]

HELD = "e2e.fairstow.dev/held"
TAINT = "e2e.fairstow.dev/scene"


@dataclass(frozen=True)
class Work:
    """What a workload's pods are like; `spec` and `metadata` are added to theirs.

    Attributes:
        held: evicted, they stay terminating until the test lets them go.
    """

    gpus: int = 1
    cpu: str = "1"
    scheduler: str = "fairstow"
    held: bool = False
    spec: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def template(self, app: str, scene: str) -> Json:
        """Return the template of the pods of a workload that runs on a scene's nodes."""
        wants = {"cpu": self.cpu} | ({GPU: str(self.gpus)} if self.gpus else {})
        limits = {"limits": {GPU: wants[GPU]}} if self.gpus else {}
        main = {"name": "main", "image": "registry.example/work:1"}
        labels = {"app": app} | dict(self.metadata.get("labels", {}))
        held = {"finalizers": [HELD]} if self.held else {}
        return {
            "metadata": {**self.metadata, "labels": labels, **held},
            "spec": {
                "schedulerName": self.scheduler,
                "nodeSelector": {"scene": scene},
                "tolerations": [taint(scene)],
                "containers": [main | {"resources": {"requests": wants} | limits}],
                "schedulingGates": None,
                **self.spec,
            },
        }


def taint(scene: str) -> Json:
    """Return the taint of a scene's nodes, which is also the toleration of its pods."""
    return {"key": TAINT, "value": scene, "effect": "NoSchedule"}


def terminating(pod: Json) -> bool:
    """Whether a pod is being deleted."""
    return "deletionTimestamp" in pod["metadata"]


def unschedulable(pod: Json) -> bool:
    """Whether the scheduler has found no node for a pod."""
    conditions = pod["status"].get("conditions", ())
    return any(c.get("reason") == "Unschedulable" for c in conditions)


def ready(node: Json) -> bool:
    """Whether a node is Ready and takes pods: its controller has taken the first taint away."""
    conditions = node["status"].get("conditions", ())
    fine = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    taints = node["spec"].get("taints", ())
    return fine and not any(t["key"].startswith("node.kubernetes.io/") for t in taints)


def plural(kind: str) -> str:
    """Return the resource of a kind, as Kubernetes forms it."""
    word = kind.lower()
    if word.endswith("y"):
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith("s") else f"{word}s"


def only_on(node: str) -> Json:
    """Return an affinity to one node."""
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]
    required = {"nodeSelectorTerms": terms}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
