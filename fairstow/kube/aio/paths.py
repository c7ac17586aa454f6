"""Where an API server has the objects that programs of ours write, by API version and kind.

A table and not discovery: a program that knows its kinds needs no rights to ask for them.
"""

from __future__ import annotations

from typing import Any

PLURALS = {
    ("v1", "Event"): "events",
    ("v1", "Namespace"): "namespaces",
    ("v1", "Node"): "nodes",
    ("v1", "Pod"): "pods",
    ("v1", "Secret"): "secrets",
    ("v1", "ConfigMap"): "configmaps",
    ("v1", "Service"): "services",
    ("events.k8s.io/v1", "Event"): "events",
    ("policy/v1", "PodDisruptionBudget"): "poddisruptionbudgets",
    ("apps/v1", "Deployment"): "deployments",
    ("apps/v1", "ReplicaSet"): "replicasets",
    ("apps/v1", "StatefulSet"): "statefulsets",
    ("batch/v1", "Job"): "jobs",
    ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"): "leaderworkersets",
    ("autoscaling/v2", "HorizontalPodAutoscaler"): "horizontalpodautoscalers",
    ("keda.sh/v1alpha1", "ScaledObject"): "scaledobjects",
    ("coordination.k8s.io/v1", "Lease"): "leases",
    ("discovery.k8s.io/v1", "EndpointSlice"): "endpointslices",
    ("authorization.k8s.io/v1", "SubjectAccessReview"): "subjectaccessreviews",
    ("authentication.k8s.io/v1", "TokenReview"): "tokenreviews",
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"): (
        "mutatingwebhookconfigurations"
    ),
    ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"): (
        "validatingwebhookconfigurations"
    ),
    ("fairstow.dev/v1alpha1", "GpuPool"): "gpupools",
    ("fairstow.dev/v1alpha1", "PackingPolicy"): "packingpolicies",
    ("fairstow.dev/v1alpha1", "PackingPlan"): "packingplans",
    ("fairstow.dev/v1alpha1", "ServingPool"): "servingpools",
    ("fairstow.dev/v1alpha1", "InstanceDrain"): "instancedrains",
    ("fairstow.dev/v1alpha1", "SparkQueue"): "sparkqueues",
    ("fairstow.dev/v1alpha1", "SparkAdmission"): "sparkadmissions",
    ("sparkoperator.k8s.io/v1beta2", "SparkApplication"): "sparkapplications",
    ("sparkoperator.k8s.io/v1beta2", "ScheduledSparkApplication"): "scheduledsparkapplications",
    ("fairstow.dev/v1alpha1", "SemanticCache"): "semanticcaches",
}


def path_of(api_version: str, kind: str, *, namespace: str = "", name: str = "") -> str:
    """Return the path of a collection or, with a name, of an object."""
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    middle = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{middle}/{PLURALS[api_version, kind]}" + (f"/{name}" if name else "")


def path_to(obj: dict[str, Any]) -> str:
    """Return the path of an object that says what it is and how it is called."""
    meta = obj["metadata"]
    return path_of(
        obj["apiVersion"], obj["kind"], namespace=meta.get("namespace", ""), name=meta["name"]
    )
