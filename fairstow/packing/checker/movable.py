"""Whether a running pod may be disturbed: a positive list of owners, and a list of nevers."""

from fairstow.packing.checker.cluster import Cluster
from fairstow.packing.checker.pods import GANG_SCHEDULING, Pod

_NEVER = (
    ("fairstow.dev/do-not-disrupt", "true"),
    ("karpenter.sh/do-not-disrupt", "true"),
    ("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"),
)
_SYSTEM_CRITICAL = 2_000_000_000
_MIRROR = "kubernetes.io/config.mirror"


def immovable_because(pod: Pod, cluster: Cluster) -> str:
    """Return why the pod must not be evicted, as a clause, or "" if it may be.

    Disruption budgets are not looked at here: they depend on the step.
    """
    return _forbidden(pod) or _would_lose_data(pod, cluster) or _not_recreated(pod, cluster)


def _forbidden(pod: Pod) -> str:
    for annotation, value in _NEVER:
        if pod.annotations.get(annotation) == value:
            return f"it is annotated {annotation}={value}"
    if pod.terminating:
        return "it is terminating"
    if pod.priority >= _SYSTEM_CRITICAL:
        return f"its priority {pod.priority} is system-critical"
    if pod.namespace == "kube-system":
        return "it is in kube-system"
    if pod.labels.get("app.kubernetes.io/part-of") == "fairstow":
        return "it is part of Fairstow"
    if _MIRROR in pod.annotations or (pod.owner and pod.owner.kind == "Node"):
        return "it is a mirror pod"
    if pod.owner and pod.owner.kind == "DaemonSet":
        return "it belongs to a DaemonSet"
    if pod.gang or pod.unmodelled == GANG_SCHEDULING:
        return f"it is a member of {pod.gang or 'a gang'}"
    if pod.local_storage:
        return f"it has {pod.local_storage}"
    return ""


def _would_lose_data(pod: Pod, cluster: Cluster) -> str:
    """Return which claim's data doesn't follow the pod, as far as the input tells.

    The claim of an ephemeral volume belongs to its pod and is deleted with it.
    """
    for use in pod.claims:
        if use.ephemeral:
            return f"its ephemeral volume (claim {use.name}) would be deleted with it"
        claim = cluster.storage.claims.get(f"{pod.namespace}/{use.name}")
        volume = cluster.storage.volumes.get(claim.volume) if claim else None
        if volume is not None and volume.local:
            return f"its claim {use.name} is a local volume"
        if not {"PersistentVolumeClaim", "PersistentVolume"} <= cluster.known:
            return f"its claim {use.name} may be a local volume, the input doesn't tell"
    return ""


def _not_recreated(pod: Pod, cluster: Cluster) -> str:
    if pod.annotations.get("fairstow.dev/movable") == "true":
        return ""
    owner = pod.owner
    if owner is None:
        return "no controller would recreate it"
    group = owner.api_version.partition("/")[0]
    if group == "apps" and owner.kind in ("ReplicaSet", "StatefulSet"):
        return ""
    if (group, owner.kind) == ("batch", "Job"):
        if (f"{pod.namespace}/{owner.name}", owner.uid) in cluster.tolerant_jobs:
            return ""
        return f"Job {owner.name} isn't known to ignore disruptions"
    return f"its owner {owner.kind} {owner.name} of {owner.api_version or 'no API'} isn't known"
