"""A pod as the checker sees it, read from the raw object in one go."""

from collections.abc import Mapping
from dataclasses import dataclass

from fairstow.packing.checker.fields import CheckError, Fields
from fairstow.packing.checker.moments import moment, read_moment
from fairstow.packing.checker.pod_rules import (
    ClaimUse,
    HostPort,
    PodTerm,
    Spread,
    read_claims,
    read_features,
    read_gang,
    read_inline_disks,
    read_pod_terms,
    read_ports,
    read_spread,
)
from fairstow.packing.checker.requests import effective_requests, resize_infeasible
from fairstow.packing.checker.selectors import NodeTerm, Toleration, read_node_terms

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
GANG_SCHEDULING = "gang scheduling"
# In-tree volume sources for which the scheduler has filters of its own.
_FILTERED_VOLUMES = (
    "awsElasticBlockStore",
    "azureDisk",
    "cinder",
    "gcePersistentDisk",
    "iscsi",
    "portworxVolume",
    "rbd",
    "vsphereVolume",
)


@dataclass(frozen=True)
class Owner:
    """The controller of a pod."""

    api_version: str
    kind: str
    name: str
    uid: str


@dataclass(frozen=True)
class Pod:
    """A pod; `requests` in the scheduler's units.

    `unmodelled` and `local_storage` are phrases that name what it uses, or ""; `started`,
    `checkpointed` and `newest`, the newest time of the object, are in seconds since 1970.
    """

    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    owner: Owner | None
    phase: str
    terminating: bool
    gated: bool
    ready: bool
    node: str
    nominated: str
    priority: int
    preempts: bool
    requests: Mapping[str, int]
    requests_on_arrival: Mapping[str, int]
    node_selector: Mapping[str, str]
    node_terms: tuple[NodeTerm, ...] | None
    tolerations: tuple[Toleration, ...]
    affinity: tuple[PodTerm, ...]
    anti_affinity: tuple[PodTerm, ...]
    spread: tuple[Spread, ...]
    ports: tuple[HostPort, ...]
    claims: tuple[ClaimUse, ...]
    inline_disks: tuple[str, ...]
    features: frozenset[str]
    gang: str
    unmodelled: str
    local_storage: str
    started: int | None
    checkpointed: int | None
    newest: int | None

    @property
    def key(self) -> str:
        """Return "namespace/name"."""
        return f"{self.namespace}/{self.name}"

    @property
    def finished(self) -> bool:
        """Whether the pod has run to its end and holds no room."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def considered(self) -> bool:
        """Whether the pod counts in its tier."""
        return not (self.finished or self.terminating or self.gated)

    @property
    def home(self) -> str:
        """Return the node on which it holds room at the start, bound or nominated, or ""."""
        return "" if self.finished else self.node or self.nominated


def read_namespace(item: Fields) -> str:
    """Return the namespace of an object; the API server's default is "default"."""
    return item.map("metadata").text("namespace") or "default"


def read_pod(item: Fields) -> Pod:
    """Read one Pod object."""
    metadata, spec, status = item.map("metadata"), item.map("spec"), item.map("status")
    metadata.require("uid")
    labels, annotations = metadata.text_map("labels"), metadata.text_map("annotations")
    affinity = spec.map("affinity")
    priority = spec.integer("priority")
    if abs(priority) > 2**31:
        raise CheckError(f"{item.where}: spec.priority must be an integer of 32 bits")
    requests = on_arrival = effective_requests(spec, status, arriving=False)
    if resize_infeasible(status):
        on_arrival = effective_requests(spec, status, arriving=True)
    created = read_moment(metadata, "creationTimestamp")
    started = read_moment(status, "startTime")
    return Pod(
        namespace=read_namespace(item),
        name=metadata.text("name"),
        uid=metadata.text("uid"),
        labels=labels,
        annotations=annotations,
        owner=_controller(metadata),
        phase=status.text("phase"),
        terminating=metadata.has("deletionTimestamp"),
        gated=bool(spec.maps("schedulingGates")),
        ready=any(
            (c.text("type"), c.text("status")) == ("Ready", "True")
            for c in status.maps("conditions")
        ),
        node=spec.text("nodeName"),
        nominated=status.text("nominatedNodeName"),
        priority=priority,
        preempts=spec.text("preemptionPolicy") != "Never",
        requests=requests,
        requests_on_arrival=on_arrival,
        node_selector=spec.text_map("nodeSelector"),
        node_terms=read_node_terms(affinity.map("nodeAffinity"), _REQUIRED),
        tolerations=tuple(
            Toleration(t.text("key"), t.text("operator"), t.text("value"), t.text("effect"))
            for t in spec.maps("tolerations")
        ),
        affinity=read_pod_terms(item, affinity, "podAffinity"),
        anti_affinity=read_pod_terms(item, affinity, "podAntiAffinity"),
        spread=read_spread(item, spec),
        ports=read_ports(spec),
        claims=read_claims(metadata.text("name"), spec),
        inline_disks=read_inline_disks(spec),
        features=read_features(spec),
        gang=read_gang(read_namespace(item), labels, annotations),
        unmodelled=_unmodelled(spec),
        local_storage=_local_storage(spec),
        started=created if started is None else started,
        checkpointed=moment(annotations.get("fairstow.dev/checkpointed-at", "")),
        newest=max((t for t in (created, started) if t is not None), default=None),
    )


def _controller(metadata: Fields) -> Owner | None:
    for reference in metadata.maps("ownerReferences"):
        if reference.flag("controller"):
            return Owner(
                reference.text("apiVersion"),
                reference.text("kind"),
                reference.text("name"),
                reference.text("uid"),
            )
    return None


def _unmodelled(spec: Fields) -> str:
    for volume in spec.maps("volumes"):
        for source in _FILTERED_VOLUMES:
            if volume.has(source):
                return f"a {source} volume"
    if spec.maps("resourceClaims"):
        return "resource claims"
    if spec.has("schedulingGroup") or spec.has("workloadRef"):
        return GANG_SCHEDULING
    return ""


def _local_storage(spec: Fields) -> str:
    for volume in spec.maps("volumes"):
        if volume.has("hostPath"):
            return "a hostPath volume"
        in_memory = volume.map("emptyDir").text("medium")
        if volume.has("emptyDir") and not (
            in_memory == "Memory" or in_memory.startswith("HugePages")
        ):
            return "an emptyDir volume on disk"
    return ""
