"""Which pods of a namespace are a pool's engines, and which of them drain.

Called by gateways, which watch the pods, InstanceDrains and the ServingPool of their namespace.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fairstow.api import InstanceDrain, LabelSelector, ServingPool

Json = Mapping[str, Any]

WEIGHTS = "fairstow.dev/weights"
"""Label of engines' pods: the same for all whose requests may go on on each other."""

SPEED = "fairstow.dev/speed"
"""Label of engines' pods: how much faster than the pool's slowest they decode, such as "2.5"."""

CARRIER_PORT = "fairstow-slots"
"""Name of the port at which a llama.cpp pod's slots' files are had (`gateway.slot_carrier`)."""

_REVISIONS = ("pod-template-hash", "controller-revision-hash")
_NUMBER = re.compile(r"\d{1,4}(\.\d{1,4})?")
_FLAG = "--scheduling-policy priority"


@dataclass(frozen=True, kw_only=True)
class Instance:
    """An engine's pod.

    Attributes:
        name: the pod's uid: what everything else calls the instance.
        address: its IP, "" until it has one.
        ready: the pod is Ready.
        terminating: it was deleted and has its grace period left.
        draining: it hands its requests over: somebody asked for that, or it is terminating.
        weights: what tells its model from others: its label `WEIGHTS`, or its rollout's revision.
        priorities: its command has it order its queue by priority.
        speed: of its GPU, relative to the pool's slowest: its label `SPEED`.
        carrier: its port named `CARRIER_PORT`, 0 if it has none.
    """

    name: str
    pod: str
    address: str
    ready: bool
    terminating: bool
    draining: bool
    weights: str = ""
    priorities: bool = False
    speed: float = 1.0
    carrier: int = 0

    def url(self, port: int) -> str:
        """Return where it answers."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{port}"


def instances(pods: Iterable[Json], drains: Iterable[InstanceDrain]) -> tuple[Instance, ...]:
    """Return the engines among pods that match a pool's selector, by the pods' names.

    Pods that have ended are none; one that is terminating serves until its containers stop.
    """
    draining = {drain.spec.pod_uid for drain in drains}
    found = [_instance(pod, draining) for pod in pods if not _ended(pod)]
    return tuple(sorted(found, key=lambda each: (each.pod, each.name)))


def _ended(pod: Json) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _instance(pod: Json, draining: set[str]) -> Instance:
    meta, status = pod["metadata"], pod.get("status") or {}
    terminating = "deletionTimestamp" in meta
    conditions = status.get("conditions") or ()
    spec = pod.get("spec") or {}
    containers = spec.get("containers") or ()
    return Instance(
        name=meta["uid"],
        pod=meta["name"],
        address=status.get("podIP") or "",
        ready=any(c["type"] == "Ready" and c["status"] == "True" for c in conditions),
        terminating=terminating,
        draining=terminating or meta["uid"] in draining,
        weights=_weights(meta.get("labels") or {}),
        speed=_speed((meta.get("labels") or {}).get(SPEED, "")),
        priorities=_by_priority(containers),
        carrier=_carrier((*containers, *(spec.get("initContainers") or ()))),
    )


def _weights(labels: Mapping[str, str]) -> str:
    """Return what pods of the same model share.

    A rollout may change the model, so that without a word of whoever wrote the pods none of its
    requests goes on in the next one: they end where they are, or within the drain's deadline.
    """
    return next((labels[key] for key in (WEIGHTS, *_REVISIONS) if labels.get(key)), "")


def _speed(text: str) -> float:
    """Read a label; one that is no speed says nothing."""
    return float(text) if _NUMBER.fullmatch(text) and float(text) > 0 else 1.0


def _by_priority(containers: Iterable[Json]) -> bool:
    """Whether vLLM is told to schedule by priority, in one argument or two."""
    commands = ([*(each.get("command") or ()), *(each.get("args") or ())] for each in containers)
    return any(_FLAG in " ".join(words).replace("=", " ") for words in commands)


def _carrier(containers: Iterable[Json]) -> int:
    ports = (port for each in containers for port in each.get("ports") or ())
    found = (port["containerPort"] for port in ports if port.get("name") == CARRIER_PORT)
    return next(found, 0)


def of_pool(drains: Iterable[InstanceDrain], pool: ServingPool) -> tuple[InstanceDrain, ...]:
    """Return a pool's drains; a namespace has those of several."""
    meta = pool.metadata
    return tuple(
        drain
        for drain in drains
        if drain.spec.pool == meta.name and drain.metadata.namespace == meta.namespace
    )


def query(selector: LabelSelector) -> str:
    """Write a selector as the API server's labelSelector parameter takes it."""
    parts = [f"{key}={value}" for key, value in sorted(selector.match_labels.items())]
    for each in selector.match_expressions:
        match each.operator:
            case "Exists":
                parts.append(each.key)
            case "DoesNotExist":
                parts.append(f"!{each.key}")
            case "In":
                parts.append(f"{each.key} in ({','.join(each.values)})")
            case "NotIn":
                parts.append(f"{each.key} notin ({','.join(each.values)})")
    return ",".join(parts)
