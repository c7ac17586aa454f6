"""Claims, volumes, classes and drivers, as far as they decide where a pod may run.

Read by `reading.Reader`, put together by `assemble`, used by `attachments`. A kind missing from the
input leaves its part empty; `Snapshot.known` tells unknown from none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fairstow.cluster import wire_storage as wire
from fairstow.cluster.model import NodeTerm
from fairstow.cluster.shapes import read_node_terms

_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
_BOUND = "pv.kubernetes.io/bind-completed"
_MANY_NODES = frozenset({"ReadWriteMany", "ReadOnlyMany"})
_SELECTED_NODE = "volume.kubernetes.io/selected-node"
ZONES = (
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
)
_IN_TREE = (
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cinder",
    "gcePersistentDisk",
    "portworxVolume",
    "vsphereVolume",
)


class Claim(msgspec.Struct, frozen=True):
    """A PersistentVolumeClaim.

    Attributes:
        volume: the PersistentVolume it names, or "".
        bound: whether that binding is complete.
        selected: the node for which its volume is being made, or "".
        single_pod: access mode ReadWriteOncePod.
        many_nodes: several nodes may have it at once.
        owner: UID of the controlling object, or "".
    """

    volume: str
    bound: bool
    lost: bool
    deleting: bool
    single_pod: bool
    storage_class: str
    selected: str
    owner: str
    many_nodes: bool = False


class Volume(msgspec.Struct, frozen=True):
    """A PersistentVolume.

    Attributes:
        node_affinity: terms of which a node must match one; None means any node.
        zones: topology label and the values a node may have there.
        driver: its CSI driver, or "".
        handle: what that driver calls it; two volumes with one handle are one attachment.
        in_tree: the plugin of a cloud disk from before CSI, or "".
        local: whether its data is on one node's disk.
    """

    node_affinity: tuple[NodeTerm, ...] | None
    zones: tuple[tuple[str, tuple[str, ...]], ...]
    driver: str
    handle: str
    in_tree: str
    local: bool = False


class StorageClass(msgspec.Struct, frozen=True):
    """A StorageClass.

    Attributes:
        waits: a claim's volume is chosen when its first pod is placed.
        topologies: label requirements, of which a node must match one term; empty means any.
    """

    provisioner: str
    waits: bool
    topologies: tuple[tuple[tuple[str, tuple[str, ...]], ...], ...]


class Driver(msgspec.Struct, frozen=True):
    """A CSIDriver: must a node have it to take its pods; does it publish free capacity."""

    must_be_installed: bool
    tracks_capacity: bool


@dataclass(frozen=True)
class Storage:
    """What a dump says about storage.

    Attributes:
        claims: by (namespace, name).
        limits: by node, for each driver installed there, how many volumes may be attached; None
            means any number.
        attached: by node, (driver, volume name) of each VolumeAttachment.
    """

    claims: dict[tuple[str, str], Claim] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    classes: dict[str, StorageClass] = field(default_factory=dict)
    drivers: dict[str, Driver] = field(default_factory=dict)
    limits: dict[str, Mapping[str, int | None]] = field(default_factory=dict)
    attached: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[object, ...]:
        """All of it in an order that doesn't hang on the dump's, for hashing; empty if nothing."""
        tables = (self.claims, self.volumes, self.classes, self.drivers, self.limits)
        attached = [(node, sorted(volumes)) for node, volumes in sorted(self.attached.items())]
        return (*(sorted(t.items()) for t in tables), attached) if any((*tables, attached)) else ()


def _claim(raw: wire.Claim) -> tuple[tuple[str, str], Claim]:
    meta, spec, status = raw.metadata, raw.spec, raw.status or wire.ClaimStatus()
    notes = meta.annotations or {}
    owners = [o.uid for o in meta.owner_references or () if o.controller]
    return (meta.namespace or "default", meta.name), Claim(
        volume=spec.volume_name or "",
        bound=bool(spec.volume_name) and _BOUND in notes,
        lost=status.phase == "Lost",
        deleting=meta.deletion_timestamp is not None,
        single_pod="ReadWriteOncePod" in (spec.access_modes or ()),
        storage_class=notes.get(_CLASS_ANNOTATION, spec.storage_class_name or ""),
        selected=notes.get(_SELECTED_NODE, ""),
        owner=owners[0] if owners else "",
        many_nodes=not _MANY_NODES.isdisjoint(spec.access_modes or ()),
    )


def _volume(raw: wire.Volume) -> tuple[str, Volume]:
    spec, labels = raw.spec, raw.metadata.labels or {}
    required = spec.node_affinity.required if spec.node_affinity else None
    in_tree = [name for name in _IN_TREE if getattr(spec, _snake(name)) is not None]
    return raw.metadata.name, Volume(
        node_affinity=None if required is None else read_node_terms(required),
        zones=tuple(
            (key, values) for key in ZONES if (values := _zone_values(labels.get(key, "")))
        ),
        driver=spec.csi.driver if spec.csi else "",
        handle=spec.csi.volume_handle if spec.csi else "",
        in_tree=in_tree[0] if in_tree else "",
        local=spec.local is not None or spec.host_path is not None,
    )


def _class(raw: wire.StorageClass) -> tuple[str, StorageClass]:
    return raw.metadata.name, StorageClass(
        provisioner=raw.provisioner,
        waits=raw.volume_binding_mode == "WaitForFirstConsumer",
        topologies=tuple(
            tuple((e.key, tuple(e.values or ())) for e in term.match_label_expressions or ())
            for term in raw.allowed_topologies or ()
        ),
    )


def _driver(raw: wire.Driver) -> tuple[str, Driver]:
    spec = raw.spec or wire.DriverSpec()
    return raw.metadata.name, Driver(
        bool(spec.prevent_pod_scheduling_if_missing), bool(spec.storage_capacity)
    )


def _node(raw: wire.CsiNode) -> tuple[str, dict[str, int | None]]:
    installed = raw.spec.drivers if raw.spec else None
    return raw.metadata.name, {
        d.name: d.allocatable.count if d.allocatable else None for d in installed or ()
    }


def _attachment(raw: wire.Attachment) -> tuple[str, tuple[str, str]] | None:
    """Return a node and the driver and volume attached there."""
    volume = raw.spec.source.persistent_volume_name
    return (raw.spec.node_name, (raw.spec.attacher, volume)) if volume else None


READERS: dict[str, tuple[str, type[msgspec.Struct], Callable[[Any], Any]]] = {
    "PersistentVolumeClaim": ("", wire.Claim, _claim),
    "PersistentVolume": ("", wire.Volume, _volume),
    "StorageClass": ("storage.k8s.io", wire.StorageClass, _class),
    "CSIDriver": ("storage.k8s.io", wire.Driver, _driver),
    "CSINode": ("storage.k8s.io", wire.CsiNode, _node),
    "VolumeAttachment": ("storage.k8s.io", wire.Attachment, _attachment),
}
"""By kind: its API group, its wire form and what makes a pair of key and record of it."""


def assemble(values: Mapping[str, list[Any]]) -> Storage:
    """Return what records of those kinds say together."""
    attached: dict[str, list[tuple[str, str]]] = {}
    for node, volume in sorted(values.get("VolumeAttachment", ())):
        attached.setdefault(node, []).append(volume)
    return Storage(
        claims=dict(values.get("PersistentVolumeClaim", ())),
        volumes=dict(values.get("PersistentVolume", ())),
        classes=dict(values.get("StorageClass", ())),
        drivers=dict(values.get("CSIDriver", ())),
        limits=dict(values.get("CSINode", ())),
        attached=attached,
    )


def _zone_values(label: str) -> tuple[str, ...]:
    """Return the zones in a volume's label (`a__b`); none where it is malformed."""
    values = tuple(part.strip() for part in label.split("__"))
    return values if all(values) else ()


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name)
