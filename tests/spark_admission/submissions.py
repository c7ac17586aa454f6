"""Objects that people submit, and the reviews an API server makes of them."""

from __future__ import annotations

import copy
import json
from typing import Any

from fairstow.api import SparkQueue
from fairstow.cluster.review import Reply, Request, read

Json = dict[str, Any]
ANA = {"username": "ana@example.com", "groups": ["finance", "system:authenticated"]}
ROBOT = {"username": "system:serviceaccount:jobs:airflow", "groups": ["system:serviceaccounts"]}
_PLURALS = {
    "Pod": ("", "v1", "pods"),
    "SparkApplication": ("sparkoperator.k8s.io", "v1beta2", "sparkapplications"),
    "ScheduledSparkApplication": ("sparkoperator.k8s.io", "v1beta2", "scheduledsparkapplications"),
}


def driver(name: str = "etl-driver", **annotations: str) -> Json:
    """A driver's pod as spark-submit makes it."""
    return {
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {"spark-role": "driver", "spark-app-selector": f"spark-{name}"},
            "annotations": {_key(key): value for key, value in annotations.items()},
        },
        "spec": {
            "containers": [
                {
                    "name": "spark-kubernetes-driver",
                    "args": ["driver", "--properties-file", "/opt/spark.properties", "x.py"],
                    "resources": {"requests": {"cpu": "1", "memory": "1408Mi"}},
                }
            ]
        },
    }


def application(name: str = "etl", *, suspend: bool | None = None, **spec: Any) -> Json:
    """A SparkApplication as the kubeflow operator takes it."""
    own: Json = {"driver": {"cores": 1}, "executor": {"cores": 2, "instances": 3}} | spec
    if suspend is not None:
        own["suspend"] = suspend
    return {
        "kind": "SparkApplication",
        "metadata": {"name": name, "uid": f"uid-{name}"},
        "spec": own,
    }


def queue(name: str = "analytics", **spec: Any) -> SparkQueue:
    spec = {"cores": 8} | spec
    return SparkQueue.model_validate(
        {"kind": "SparkQueue", "metadata": {"name": name}, "spec": spec}
    )


def review(obj: Json, user: Json = ANA, *, old: Json | None = None) -> Request:
    """What the API server shows of somebody's request."""
    group, version, plural = _PLURALS[obj["kind"]]
    request = {
        "uid": "1",
        "resource": {"group": group, "version": version, "resource": plural},
        "operation": "UPDATE" if old else "CREATE",
        "userInfo": user,
        "namespace": "team",
        "object": obj,
        **({"oldObject": old} if old else {}),
    }
    kind = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
    return read(json.dumps(kind | {"request": request}).encode())


def patched(obj: Json, reply: Reply) -> Json:
    """Return the object with a reply's patch in place (add and replace of JSONPatch)."""
    result = copy.deepcopy(obj)
    for operation in reply.patch:
        *parents, last = operation["path"].strip("/").split("/")
        below: Any = result
        for part in parents:
            below = below[int(part)] if isinstance(below, list) else below.setdefault(part, {})
        below[last.replace("~1", "/")] = operation["value"]
    return result


def _key(name: str) -> str:
    return "fairstow.dev/" + name.replace("_", "-")
