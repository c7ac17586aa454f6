"""Claims, volumes, classes and drivers as the checker sees them, read from the raw objects.

Gathered by `cluster`, judged by `volumes`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fairstow.packing.checker.fields import Fields
from fairstow.packing.checker.pod_rules import MIGRATED
from fairstow.packing.checker.selectors import NodeTerm, read_node_terms

KINDS = (
    "PersistentVolume",
    "PersistentVolumeClaim",
    "StorageClass",
    "CSINode",
    "CSIDriver",
    "VolumeAttachment",
)
ZONE_LABELS = (
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
)
_TAKEN_OVER = {
    "kubernetes.io/aws-ebs": MIGRATED["awsElasticBlockStore"],
    "kubernetes.io/azure-disk": MIGRATED["azureDisk"],
    "kubernetes.io/cinder": MIGRATED["cinder"],
    "kubernetes.io/gce-pd": MIGRATED["gcePersistentDisk"],
    "kubernetes.io/portworx-volume": MIGRATED["portworxVolume"],
}
_CLASS = "volume.beta.kubernetes.io/storage-class"
_BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
_SELECTED_NODE = "volume.kubernetes.io/selected-node"


@dataclass(frozen=True)
class Claim:
    """A PersistentVolumeClaim.

    Attributes:
        volume: the volume it names, or ""; `bound` once that is mutual.
        selected: the node for which its volume is being made, or "".
        single_pod: one pod at a time may have it.
        owner: uid of its controller, or "".
    """

    volume: str
    bound: bool
    phase: str
    terminating: bool
    single_pod: bool
    storage_class: str
    selected: str
    owner: str


@dataclass(frozen=True)
class Volume:
    """A PersistentVolume.

    Attributes:
        terms: node terms of which one must hold, None for any node.
        zones: by zone label, the values of which a node must have one.
        driver: the CSI driver, its own or the one that took an in-tree plugin over, or "".
        handle: what the driver calls it; for an in-tree volume its own name.
        in_tree: the volume source if it is a migrated in-tree one, or "".
        local: whether its data is on one node's disk.
    """

    terms: tuple[NodeTerm, ...] | None
    zones: Mapping[str, frozenset[str]]
    driver: str
    handle: str
    in_tree: str
    local: bool


@dataclass(frozen=True)
class StorageClass:
    """A StorageClass.

    `waits` if a claim's volume is made only when its first pod has a node; `topologies` are terms
    of which a node must fulfil one, each by having one of the values for every label.
    """

    provisioner: str
    waits: bool
    topologies: tuple[tuple[tuple[str, tuple[str, ...]], ...], ...]

    @property
    def driver(self) -> str:
        """Return the CSI driver that attaches its volumes, or ""."""
        return _TAKEN_OVER.get(self.provisioner, self.provisioner)


@dataclass(frozen=True)
class Driver:
    """A CSIDriver: do its pods need a node that has it, and does it say what room there is."""

    must_be_installed: bool
    tracks_capacity: bool


@dataclass
class Storage:
    """All that was read.

    Attributes:
        claims: by "namespace/name".
        installed: by node, the drivers there with the number of volumes each can attach, None for
            any number.
        attached: by node, (driver, volume) of each VolumeAttachment.
    """

    claims: dict[str, Claim] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    classes: dict[str, StorageClass] = field(default_factory=dict)
    drivers: dict[str, Driver] = field(default_factory=dict)
    installed: dict[str, dict[str, int | None]] = field(default_factory=dict)
    attached: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def add(self, kind: str, key: str, item: Fields) -> None:
        """Read one object of one of KINDS."""
        spec = item.map("spec")
        match kind:
            case "PersistentVolumeClaim":
                self.claims[key] = _read_claim(item)
            case "PersistentVolume":
                self.volumes[key] = _read_volume(key, item)
            case "StorageClass":
                self.classes[key] = _read_class(item)
            case "CSIDriver":
                self.drivers[key] = Driver(
                    spec.flag("preventPodSchedulingIfMissing"), spec.flag("storageCapacity")
                )
            case "CSINode":
                self.installed[key] = {
                    driver.text("name"): _limit(driver) for driver in spec.maps("drivers")
                }
            case _:
                if volume := spec.map("source").text("persistentVolumeName"):
                    there = self.attached.setdefault(spec.text("nodeName"), [])
                    there.append((spec.text("attacher"), volume))


def _limit(driver: Fields) -> int | None:
    allocatable = driver.map("allocatable")
    return allocatable.integer("count") if allocatable.has("count") else None


def _read_claim(item: Fields) -> Claim:
    metadata, spec = item.map("metadata"), item.map("spec")
    notes = metadata.text_map("annotations")
    owners = [r.text("uid") for r in metadata.maps("ownerReferences") if r.flag("controller")]
    return Claim(
        volume=spec.text("volumeName"),
        bound=bool(spec.text("volumeName")) and _BIND_COMPLETED in notes,
        phase=item.map("status").text("phase"),
        terminating=metadata.has("deletionTimestamp"),
        single_pod="ReadWriteOncePod" in spec.texts("accessModes"),
        storage_class=notes.get(_CLASS, spec.text("storageClassName")),
        selected=notes.get(_SELECTED_NODE, ""),
        owner=owners[0] if owners else "",
    )


def _read_volume(name: str, item: Fields) -> Volume:
    labels, spec = item.map("metadata").text_map("labels"), item.map("spec")
    in_tree = next((source for source in MIGRATED if spec.has(source)), "")
    csi = spec.map("csi")
    return Volume(
        terms=read_node_terms(spec.map("nodeAffinity"), "required"),
        zones={key: zones for key in ZONE_LABELS if (zones := _zones(labels.get(key, "")))},
        driver=csi.text("driver") or MIGRATED.get(in_tree, ""),
        handle=csi.text("volumeHandle") or (name if in_tree else ""),
        in_tree=in_tree,
        local=spec.has("local") or spec.has("hostPath"),
    )


def _zones(label: str) -> frozenset[str]:
    """Return the zones of a label such as a__b; a malformed one says nothing."""
    zones = [zone.strip() for zone in label.split("__")]
    return frozenset(zones) if all(zones) else frozenset()


def _read_class(item: Fields) -> StorageClass:
    return StorageClass(
        provisioner=item.text("provisioner"),
        waits=item.text("volumeBindingMode") == "WaitForFirstConsumer",
        topologies=tuple(
            tuple((e.text("key"), e.texts("values")) for e in term.maps("matchLabelExpressions"))
            for term in item.maps("allowedTopologies")
        ),
    )
