"""Which workload an engine's pod belongs to, and which pod a workload removes when it shrinks.

Called by the serving controller and by `scaling`. Read from the pod alone, so that nobody needs the
right to read ReplicaSets: their names end with the hash that their pods carry as a label.

A Deployment's ReplicaSet removes first what has no node, then what isn't Ready, then what has the
lowest `controller.kubernetes.io/pod-deletion-cost` (KEP-2255); a StatefulSet and a LeaderWorkerSet
their highest ordinal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from fairstow.cluster.model import Pod

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
FIRST_TO_GO = str(-(2**31) + 1)
"""What nobody writes by hand: the least but one."""
MARK = "fairstow.dev/scale-in"
"""Annotation of a pod that is to go; its value is the deletion cost it had before, "" for none."""

_HASH = "pod-template-hash"
_REVISIONS = (_HASH, "controller-revision-hash")
_GROUPS = "leaderworkerset.sigs.k8s.io/"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A pod's place in its workload.

    Attributes:
        workload: as `Deployment/llama`; "" of a pod that belongs to none that is scaled.
        ordinal: of a StatefulSet's pod, or of a LeaderWorkerSet's group.
        revision: the same for pods of one template.
    """

    workload: str = ""
    ordinal: int = 0
    revision: str = ""


def place(pod: Pod) -> Place:
    """Return where a pod belongs; of a LeaderWorkerSet's group only the leader does."""
    labels = dict(pod.labels)
    owner = pod.owner
    group = labels.get(_GROUPS + "name")
    if group is not None:
        if labels.get(_GROUPS + "worker-index") != "0":
            return Place()
        ordinal = int(_number(labels.get(_GROUPS + "group-index", "")))
        revision = labels.get(_GROUPS + "template-revision-hash", "")
        return Place(workload=f"LeaderWorkerSet/{group}", ordinal=ordinal, revision=revision)
    if owner is None or owner.group != "apps":
        return Place()
    revision = next((labels[key] for key in _REVISIONS if labels.get(key)), "")
    if owner.kind == "StatefulSet":
        ordinal = int(_number(pod.name.rpartition("-")[2]))
        return Place(workload=str(owner), ordinal=ordinal, revision=revision)
    suffix = f"-{labels.get(_HASH, '')}"
    if owner.kind == "ReplicaSet" and len(suffix) > 1 and owner.name.endswith(suffix):
        name = owner.name.removesuffix(suffix)
        return Place(workload=f"Deployment/{name}", revision=revision)
    return Place()


def _number(text: str) -> str:
    return text if re.fullmatch(r"[0-9]{1,9}", text) else "0"


@dataclass(frozen=True, kw_only=True)
class EnginePod:
    """A pod of the pool.

    Attributes:
        cordoned: its node takes no new pods.
        ready: it is Ready, and so it has a node.
        marked: it has the annotation `MARK`.
    """

    name: str
    uid: str
    terminating: bool = False
    cordoned: bool = False
    ready: bool = True
    marked: bool = False
    place: Place = Place()


def next_to_go(
    kind: str, members: Iterable[EnginePod], load: Callable[[EnginePod], int]
) -> EnginePod | None:
    """Return the pod that its workload would remove first, or that had best be: the least loaded.

    Args:
        kind: of the workload.
        members: its pods that stay so far.
        load: what a pod has to do.
    """
    pods = sorted(members, key=lambda each: each.name)
    if kind != "Deployment":
        return max(pods, key=lambda each: each.place.ordinal, default=None)
    return min(pods, key=lambda each: (each.ready, not each.marked, load(each)), default=None)


def marked(annotations: Mapping[str, str]) -> Mapping[str, str | None] | None:
    """Return how a pod's annotations change so that it goes first; None if they say so already."""
    if annotations.get(DELETION_COST) == FIRST_TO_GO and MARK in annotations:
        return None
    before = annotations.get(MARK, annotations.get(DELETION_COST, ""))
    return {DELETION_COST: FIRST_TO_GO, MARK: before}


def unmarked(annotations: Mapping[str, str]) -> Mapping[str, str | None] | None:
    """Return how they change back; None if nothing of ours is in them.

    A cost that somebody wrote meanwhile stays.
    """
    if MARK not in annotations:
        return None
    if annotations.get(DELETION_COST) != FIRST_TO_GO:
        return {MARK: None}
    return {DELETION_COST: annotations[MARK] or None, MARK: None}
