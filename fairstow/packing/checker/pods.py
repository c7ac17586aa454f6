"""A pod as the checker sees it, read from the raw object in one go."""

from collections.abc import Mapping
from dataclasses import dataclass

from fairstow.packing.checker.fields import CheckError, Fields
from fairstow.packing.checker.requests import effective_requests, resize_infeasible
from fairstow.packing.checker.selectors import (
    NodeTerm,
    Requirement,
    Selector,
    Toleration,
    read_node_terms,
    read_selector,
)

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
# Volume sources for which the scheduler has filters of its own.
_FILTERED_VOLUMES = (
    "persistentVolumeClaim",
    "ephemeral",
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
class AntiAffinity:
    """A required anti-affinity term: who isn't to share the topology domain with its pod.

    `namespaces` None means the pods of `own_namespace` only, unless `namespace_selector` is set.
    """

    topology_key: str
    selector: Selector | None
    own_namespace: str
    namespaces: tuple[str, ...]
    namespace_selector: Selector | None


@dataclass(frozen=True)
class Pod:
    """A pod; `requests` in the scheduler's units.

    `unmodelled` and `local_storage` are phrases that name what it uses, or "".
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
    node: str
    nominated: str
    priority: int
    preempts: bool
    requests: Mapping[str, int]
    requests_on_arrival: Mapping[str, int]
    node_selector: Mapping[str, str]
    node_terms: tuple[NodeTerm, ...] | None
    tolerations: tuple[Toleration, ...]
    anti_affinity: tuple[AntiAffinity, ...]
    unmodelled: str
    local_storage: str

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
    affinity = spec.map("affinity")
    priority = spec.integer("priority")
    if abs(priority) > 2**31:
        raise CheckError(f"{item.where}: spec.priority must be an integer of 32 bits")
    requests = on_arrival = effective_requests(spec, status, arriving=False)
    if resize_infeasible(status):
        on_arrival = effective_requests(spec, status, arriving=True)
    return Pod(
        namespace=read_namespace(item),
        name=metadata.text("name"),
        uid=metadata.text("uid"),
        labels=metadata.text_map("labels"),
        annotations=metadata.text_map("annotations"),
        owner=_controller(metadata),
        phase=status.text("phase"),
        terminating=metadata.has("deletionTimestamp"),
        gated=bool(spec.maps("schedulingGates")),
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
        anti_affinity=_anti_affinity(item, affinity),
        unmodelled=_unmodelled(spec, affinity),
        local_storage=_local_storage(spec),
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


def _anti_affinity(item: Fields, affinity: Fields) -> tuple[AntiAffinity, ...]:
    labels = item.map("metadata").text_map("labels")
    found = []
    for term in affinity.map("podAntiAffinity").maps(_REQUIRED):
        selector = read_selector(term, "labelSelector")
        if selector is not None:
            selector += _from_keys(term, "matchLabelKeys", "In", labels)
            selector += _from_keys(term, "mismatchLabelKeys", "NotIn", labels)
        found.append(
            AntiAffinity(
                topology_key=term.text("topologyKey"),
                selector=selector,
                own_namespace=read_namespace(item),
                namespaces=term.texts("namespaces"),
                namespace_selector=read_selector(term, "namespaceSelector"),
            )
        )
    return tuple(found)


def _from_keys(term: Fields, key: str, operator: str, labels: Mapping[str, str]) -> Selector:
    """What the API server merges into the selector for matchLabelKeys (KEP-3633)."""
    return tuple(
        Requirement(label, operator, (labels[label],))
        for label in term.texts(key)
        if label in labels
    )


def _unmodelled(spec: Fields, affinity: Fields) -> str:
    if affinity.map("podAffinity").maps(_REQUIRED):
        return "required pod affinity"
    if affinity.map("podAntiAffinity").maps(_REQUIRED):
        return "required pod anti-affinity"
    for constraint in spec.maps("topologySpreadConstraints"):
        if constraint.text("whenUnsatisfiable") != "ScheduleAnyway":
            return "a topology spread constraint that must hold"
    if _uses_host_ports(spec):
        return "host ports"
    for volume in spec.maps("volumes"):
        for source in _FILTERED_VOLUMES:
            if volume.has(source):
                return f"a {source} volume"
    if spec.maps("resourceClaims"):
        return "resource claims"
    if spec.has("schedulingGroup") or spec.has("workloadRef"):
        return "gang scheduling"
    return ""


def _uses_host_ports(spec: Fields) -> bool:
    on_host_network = spec.flag("hostNetwork")
    return any(
        port.integer("hostPort") or (on_host_network and port.integer("containerPort"))
        for key in ("containers", "initContainers")
        for container in spec.maps(key)
        for port in container.maps("ports")
    )


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
