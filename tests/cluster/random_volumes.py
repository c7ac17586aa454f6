"""Random storage for random_clusters.py: classes, drivers, volumes, claims in every state.

Each namespace has the same claim names, so that a pod can ask for one without knowing them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]
DRIVER = "csi.example.com"
CLAIMS = tuple(f"claim-{i}" for i in range(6))
ZONE = "topology.kubernetes.io/zone"


def volumes(rng: random.Random) -> list[Json]:
    """Return the volumes of a pod; seldom one whose claim isn't there."""
    names = rng.sample(CLAIMS, rng.choice((0, 1, 1, 2)))
    if rng.random() < 0.03:
        names.append("missing")
    claims = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in names]
    if rng.random() < 0.2:
        template = {"spec": {"accessModes": ["ReadWriteOnce"]}}
        claims.append({"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}})
    if rng.random() < 0.1:
        claims.append({"name": "secrets", "csi": {"driver": "secrets.example.com"}})
    return [*claims, {"name": "config", "configMap": {"name": "config"}}]


def own_claims(rng: random.Random, pod: Json) -> list[Json]:
    """Return the claims of a pod's ephemeral volumes; seldom none, or one of another pod."""
    made: list[Json] = []
    meta = pod["metadata"]
    for volume in pod["spec"].get("volumes", ()):
        if "ephemeral" in volume and rng.random() < 0.9:
            claim, *others = _claim(rng, meta["namespace"], f"{meta['name']}-{volume['name']}")
            owner = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "controller": True}
            own = pod["status"]["phase"] == "Running" or rng.random() < 0.7
            owner["uid"] = meta["uid"] if own else "another"
            claim["metadata"]["ownerReferences"] = [owner]
            made += [claim, *others]
    return made


def storage(rng: random.Random, nodes: Sequence[str], namespaces: Sequence[str]) -> list[Json]:
    """Return storage classes, drivers, volumes, claims and attachments."""
    made: list[Json] = [
        _class("fast", "WaitForFirstConsumer", DRIVER),
        _class("now", "Immediate", DRIVER),
        _class("local", "WaitForFirstConsumer", "kubernetes.io/no-provisioner"),
        _class("zoned", "WaitForFirstConsumer", DRIVER)
        | {"allowedTopologies": [{"matchLabelExpressions": [{"key": ZONE, "values": ["a", "b"]}]}]},
        _object("storage.k8s.io/v1", "CSIDriver", DRIVER)
        | {
            "spec": {
                "preventPodSchedulingIfMissing": rng.random() < 0.5,
                "storageCapacity": rng.random() < 0.1,
            }
        },
    ]
    made += [_csi_node(rng, node) for node in nodes if rng.random() < 0.85]
    for namespace in namespaces:
        for claim in CLAIMS:
            made += _claim(rng, namespace, claim)
    made += [_volume(rng, f"spare-{i}", "local") for i in range(2)]
    bound = [o["metadata"]["name"] for o in made if o["kind"] == "PersistentVolume"]
    for index in range(rng.randrange(6)):
        attachment = _object("storage.k8s.io/v1", "VolumeAttachment", f"attachment-{index}")
        source = {"persistentVolumeName": rng.choice([*bound, "gone"])}
        attachment["spec"] = {"attacher": DRIVER, "nodeName": rng.choice(nodes), "source": source}
        made.append(attachment)
    return made


def _object(version: str, kind: str, name: str, **metadata: Any) -> Json:
    meta = {"name": name, "uid": f"uid-{kind}-{metadata.get('namespace', '')}-{name}", **metadata}
    return {"apiVersion": version, "kind": kind, "metadata": meta}


def _class(name: str, mode: str, provisioner: str) -> Json:
    made = _object("storage.k8s.io/v1", "StorageClass", name)
    return made | {"provisioner": provisioner, "volumeBindingMode": mode}


def _csi_node(rng: random.Random, node: str) -> Json:
    driver: Json = {"name": rng.choice((DRIVER, DRIVER, DRIVER, "other.example.com"))}
    driver["nodeID"] = node
    if rng.random() < 0.8:
        driver["allocatable"] = {"count": rng.randint(1, 3)}
    return _object("storage.k8s.io/v1", "CSINode", node) | {"spec": {"drivers": [driver]}}


def _volume(rng: random.Random, name: str, storage_class: str) -> Json:
    labels = {}
    if rng.random() < 0.3:
        key = rng.choice((ZONE, "failure-domain.beta.kubernetes.io/zone"))
        labels[key] = rng.choice(("a", "b", "a__b", "__"))
    spec: Json = {
        "storageClassName": storage_class,
        "capacity": {"storage": "10Gi"},
        "accessModes": ["ReadWriteOnce"],
        # Sometimes the disk of another volume: one attachment serves both.
        "csi": {"driver": DRIVER, "volumeHandle": rng.choice((name, name, "shared"))},
    }
    if rng.random() < 0.15:
        spec.pop("csi")
        spec["nfs"] = {"server": "nfs", "path": "/"}
    if rng.random() < 0.4:
        operator = rng.choice(("In", "NotIn"))
        values = rng.sample(("a", "b", "c"), rng.randint(1, 2))
        expressions = [{"key": ZONE, "operator": operator, "values": values}]
        required = {"nodeSelectorTerms": [{"matchExpressions": expressions}]}
        spec["nodeAffinity"] = {"required": required}
    made = _object("v1", "PersistentVolume", name, labels=labels)
    return made | {"spec": spec, "status": {"phase": "Available"}}


def _claim(rng: random.Random, namespace: str, name: str) -> list[Json]:
    state = rng.choices(
        ("bound", "fast", "now", "local", "zoned", "half", "lost", "gone", "deleting"),
        (16, 4, 1, 1, 3, 1, 1, 1, 1),
    )[0]
    claim = _object("v1", "PersistentVolumeClaim", name, namespace=namespace)
    mode = "ReadWriteOncePod" if rng.random() < 0.2 else "ReadWriteOnce"
    in_class = state if state in ("fast", "now", "local", "zoned") else "now"
    claim["spec"] = {
        "accessModes": [mode],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": in_class,
    }
    claim["status"] = {"phase": "Pending"}
    if state in ("fast", "zoned") and rng.random() < 0.2:
        node = f"node-{rng.randrange(6)}"
        claim["metadata"]["annotations"] = {"volume.kubernetes.io/selected-node": node}
    if in_class != "now" or state == "now":
        return [claim]
    volume = _volume(rng, f"{namespace}-{name}", "now")
    claim["spec"]["volumeName"] = volume["metadata"]["name"]
    claim["status"]["phase"] = "Lost" if state == "lost" else "Bound"
    if state != "half":
        claim["metadata"]["annotations"] = {"pv.kubernetes.io/bind-completed": "yes"}
    if state == "deleting":
        claim["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b"]}
    return [claim] if state == "gone" else [claim, volume]
