"""Random pods for random_clusters.py: requests, node rules, affinity, spread, ports, features.

Objects are as an API server returns them: `matchLabelKeys` of affinity terms is merged into the
selector, host ports name their protocol.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from enum import Flag, auto
from typing import Any

from tests.cluster import random_volumes

Json = dict[str, Any]
GPU = "nvidia.com/gpu"
HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
RACK = "example.com/rack"
NAMESPACES = {
    "alpha": {"team": "red", "tier": "1"},
    "beta": {"team": "blue", "tier": "2"},
    "gamma": {"team": "red"},
    "delta": {},
}
KEYS = (HOSTNAME, ZONE, RACK)
FEATURES = ("RestartAllContainersOnContainerExits", "UserNamespacesHostNetworkSupport")


class Uses(Flag):
    """Which rules the pods of a cluster may use."""

    ROOM = auto()
    NODES = auto()
    GUARDS = auto()  # anti-affinity of pods that run
    AFFINITY = auto()
    SPREAD = auto()
    PORTS = auto()
    VOLUMES = auto()
    FEATURES = auto()
    NOMINATED = auto()


def pod(rng: random.Random, index: int, uses: Uses, *, runs: bool) -> Json:
    """Return a pod that may run on a node (the caller says which) or waits."""
    labels = {"app": rng.choice(("web", "db")), "version": rng.choice(("1", "2"))}
    for key in list(labels):
        if rng.random() < 0.15:
            del labels[key]
    metadata: Json = {
        "name": f"pod-{index}",
        "namespace": rng.choice((*NAMESPACES, "alpha", "alpha")),
        "uid": f"uid-pod-{index}",
        "labels": labels,
    }
    if runs and rng.random() < 0.12:
        metadata |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["example.com/x"]}
    status: Json = {"phase": "Running" if runs else "Pending"}
    spec: Json = {"containers": [{"name": "main", "image": "i"}], "priority": 0}
    if Uses.ROOM in uses:
        _add_requests(rng, spec)
        if runs and rng.random() < 0.25:
            status |= _resize(rng, spec)
    if Uses.NODES in uses:
        _add_node_rules(rng, spec)
    _add_pod_rules(rng, spec, uses, labels, runs=runs)
    if Uses.PORTS in uses and rng.random() < 0.6:
        _add_ports(rng, spec)
    if Uses.VOLUMES in uses:
        spec["volumes"] = random_volumes.volumes(rng)
    if Uses.FEATURES in uses:
        _add_features(rng, spec)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": spec,
        "status": status,
    }


def ports_taken(pod: Json) -> set[tuple[Any, ...]]:
    """Return the ports of its node that a pod takes, whatever the address."""
    containers = [*pod["spec"]["containers"], *pod["spec"].get("initContainers", ())]
    ports = [port for container in containers for port in container.get("ports", ())]
    return {(p["protocol"], p["hostPort"]) for p in ports if p["hostPort"]}


def _add_pod_rules(
    rng: random.Random, spec: Json, uses: Uses, labels: dict[str, str], *, runs: bool
) -> None:
    def terms() -> Json:
        found = [_pod_term(rng, labels) for _ in range(rng.choice((1, 1, 2)))]
        return {"requiredDuringSchedulingIgnoredDuringExecution": found}

    affinity = spec.setdefault("affinity", {})
    if ((Uses.GUARDS in uses and runs) or Uses.AFFINITY in uses) and rng.random() < 0.35:
        affinity["podAntiAffinity"] = terms()
    if Uses.AFFINITY in uses and rng.random() < 0.4:
        affinity["podAffinity"] = terms()
    if Uses.SPREAD in uses and rng.random() < 0.7:
        spec["topologySpreadConstraints"] = _spread(rng, labels)


def _toleration(rng: random.Random) -> Json:
    operator = rng.choice(("Equal", "Exists", "", "Lt", "Gt"))
    toleration: Json = {"key": rng.choice(("dedicated", "load"))}
    if operator:
        toleration["operator"] = operator
    if operator == "Exists":
        if rng.random() < 0.2:
            toleration.pop("key")
    elif operator in ("Lt", "Gt"):
        toleration["value"] = rng.choice(("3", "5", "7"))
    else:
        toleration["value"] = rng.choice(("", "yes", "3"))
    if rng.random() < 0.6:
        toleration["effect"] = rng.choice(("NoSchedule", "NoExecute", "PreferNoSchedule"))
    return toleration


def _amounts(rng: random.Random) -> Json:
    amounts = {"cpu": rng.choice(("100m", "500m", "1", "1500m"))}
    for key, values, chance in (
        ("memory", ("256Mi", "1Gi", "2000000k"), 0.7),
        (GPU, ("0", "1", "2"), 0.3),
        ("ephemeral-storage", ("100Mi", "1Gi"), 0.2),
        ("hugepages-2Mi", ("32Mi", "64Mi"), 0.1),
    ):
        if rng.random() < chance:
            amounts[key] = rng.choice(values)
    return amounts


def _resources(rng: random.Random) -> Json:
    resources = {kind: _amounts(rng) for kind in ("requests", "limits") if rng.random() < 0.6}
    return {"resources": resources} if resources else {}


def _add_requests(rng: random.Random, spec: Json) -> None:
    spec["containers"] = [
        {"name": f"c{i}", "image": "i"} | _resources(rng) for i in range(rng.choice((1, 1, 2)))
    ]
    spec["initContainers"] = [
        {"name": f"i{i}", "image": "i"}
        | _resources(rng)
        | ({"restartPolicy": "Always"} if rng.random() < 0.5 else {})
        for i in range(rng.choice((0, 0, 1, 3)))
    ]
    if rng.random() < 0.2:
        spec["overhead"] = {"cpu": "250m", "memory": "128Mi"}
    if rng.random() < 0.15:
        # An API server refuses pod-level requests below the containers' own.
        spec["resources"] = {"requests": {"cpu": "3", "memory": "5Gi"}}


def _resize(rng: random.Random, spec: Json) -> Json:
    """Return the status of a pod whose resources are being changed in place."""
    status: Json = {}
    for key, containers in (
        ("containerStatuses", spec["containers"]),
        ("initContainerStatuses", [c for c in spec["initContainers"] if "restartPolicy" in c]),
    ):
        status[key] = []
        for container in containers:
            found: Json = {"name": container["name"]}
            if rng.random() < 0.7:
                found["allocatedResources"] = _amounts(rng)
            if rng.random() < 0.7:
                found["resources"] = {"requests": _amounts(rng)}
            status[key].append(found)
    if rng.random() < 0.5:
        reason = rng.choice(("Deferred", "Infeasible"))
        status["conditions"] = [{"type": "PodResizePending", "status": "True", "reason": reason}]
    if "resources" in spec and rng.random() < 0.5:
        status["allocatedResources"] = {"cpu": "2", "memory": "6Gi"}
        status["resources"] = {"requests": {"cpu": "4", "memory": "4Gi"}}
    return status


def _requirement(
    rng: random.Random, keys: Mapping[str, tuple[str, ...]], extra: tuple[str, ...]
) -> Json:
    key = rng.choice(list(keys))
    operator = rng.choice(("In", "In", "NotIn", "Exists", "DoesNotExist", *extra))
    requirement: Json = {"key": key, "operator": operator}
    if operator in ("In", "NotIn"):
        count = rng.randint(1, len(keys[key]))
        requirement["values"] = rng.sample(keys[key], count)
    elif operator in ("Gt", "Lt"):
        requirement["values"] = [rng.choice(("0", "4", "5", "many"))]
    return requirement


_NODE_KEYS = {"gpu": ("a100", "h100", ""), "size": ("4", "8"), ZONE: ("a", "b", "c")}


def _add_node_rules(rng: random.Random, spec: Json) -> None:
    if rng.random() < 0.5:
        spec["tolerations"] = [_toleration(rng) for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.2:
        spec["nodeSelector"] = {"gpu": rng.choice(("a100", "h100", ""))}
    if rng.random() < 0.4:
        terms = []
        for _ in range(rng.randint(1, 2)):
            term: Json = {}
            if rng.random() < 0.85:
                extra = ("Gt", "Lt")
                term["matchExpressions"] = [
                    _requirement(rng, _NODE_KEYS, extra) for _ in range(rng.randint(0, 2))
                ]
            if rng.random() < 0.25:
                term["matchFields"] = [
                    {
                        "key": "metadata.name",
                        "operator": rng.choice(("In", "NotIn")),
                        "values": [f"node-{rng.randrange(6)}"],
                    }
                ]
            terms.append(term)
        required = {"nodeSelectorTerms": terms}
        spec["affinity"] = {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}
        }


_POD_KEYS = {"app": ("web", "db"), "version": ("1", "2")}


_NAMESPACE_KEYS = {"team": ("red", "blue"), "tier": ("1", "2")}


def _selector(rng: random.Random, keys: Mapping[str, tuple[str, ...]]) -> Json | None:
    kind = rng.random()
    if kind < 0.05:
        return None
    if kind < 0.1:
        return {}
    if kind < 0.7:
        key = rng.choice(list(keys))
        return {"matchLabels": {key: rng.choice(keys[key])}}
    return {"matchExpressions": [_requirement(rng, keys, ()) for _ in range(rng.randint(1, 2))]}


def _pod_term(rng: random.Random, labels: dict[str, str]) -> Json:
    term: Json = {"topologyKey": rng.choice(KEYS), "labelSelector": _selector(rng, _POD_KEYS)}
    if rng.random() < 0.3:
        term["namespaces"] = rng.sample(list(NAMESPACES), rng.randint(1, 2))
    if rng.random() < 0.4:
        term["namespaceSelector"] = _selector(rng, _NAMESPACE_KEYS)
    if term["labelSelector"] and "version" in labels and rng.random() < 0.3:
        name, operator = rng.choice((("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")))
        term[name] = ["version"]
        merged = {"key": "version", "operator": operator, "values": [labels["version"]]}
        term["labelSelector"].setdefault("matchExpressions", []).append(merged)
    return term


def _spread(rng: random.Random, labels: dict[str, str]) -> list[Json]:
    constraints = []
    for key in rng.sample(KEYS, rng.choice((1, 1, 2))):
        constraint: Json = {
            "maxSkew": rng.choice((1, 1, 2)),
            "topologyKey": key,
            "whenUnsatisfiable": rng.choice(("DoNotSchedule",) * 4 + ("ScheduleAnyway",)),
            "labelSelector": _selector(rng, _POD_KEYS),
        }
        if rng.random() < 0.3 and constraint["whenUnsatisfiable"] == "DoNotSchedule":
            constraint["minDomains"] = rng.randint(1, 4)
        for policy in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if rng.random() < 0.4:
                constraint[policy] = rng.choice(("Honor", "Ignore"))
        if rng.random() < 0.3:
            constraint["matchLabelKeys"] = ["version"]
        constraints.append(constraint)
    return constraints


def _add_ports(rng: random.Random, spec: Json) -> None:
    ports = []
    for _ in range(rng.randint(1, 2)):
        port: Json = {"containerPort": 80, "hostPort": rng.choice((0, 8080, 8443))}
        port["protocol"] = rng.choice(("TCP", "TCP", "UDP"))
        if rng.random() < 0.6:
            port["hostIP"] = rng.choice(("127.0.0.1", "10.0.0.1", "0.0.0.0"))
        ports.append(port)
    kind = rng.choice(("containers", "containers", "init", "sidecar"))
    if kind == "containers":
        spec["containers"][0]["ports"] = ports
    else:
        always = {"restartPolicy": "Always"} if kind == "sidecar" else {}
        init = {"name": "ports", "image": "i", "ports": ports} | always
        spec["initContainers"] = [*spec.get("initContainers", []), init]
    if rng.random() < 0.1:
        spec["hostNetwork"] = True
        for container in spec["containers"]:
            for port in container.get("ports", ()):
                port["hostPort"] = port["containerPort"]


def _add_features(rng: random.Random, spec: Json) -> None:
    if rng.random() < 0.3:
        rule = {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [1]}}
        spec["containers"][0]["restartPolicyRules"] = [rule]
        spec["containers"][0]["restartPolicy"] = "Never"
    if rng.random() < 0.3:
        spec |= {"hostNetwork": True, "hostUsers": rng.choice((True, False))}
