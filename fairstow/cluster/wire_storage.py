"""Storage objects as they come over the wire; only the fields `storage` reads."""

from typing import Any

from fairstow.cluster.wire import Metadata, NodeSelector, Wire

Present = Any | None
"""A volume source of which only its presence counts."""


class ClaimSpec(Wire):
    """core/v1 PersistentVolumeClaimSpec."""

    volume_name: str | None = None
    storage_class_name: str | None = None
    access_modes: list[str] | None = None


class ClaimStatus(Wire):
    """core/v1 PersistentVolumeClaimStatus."""

    phase: str | None = None


class Claim(Wire):
    """core/v1 PersistentVolumeClaim."""

    metadata: Metadata
    spec: ClaimSpec
    status: ClaimStatus | None = None


class VolumeNodeAffinity(Wire):
    """core/v1 VolumeNodeAffinity."""

    required: NodeSelector | None = None


class CsiSource(Wire):
    """core/v1 CSIPersistentVolumeSource."""

    driver: str = ""
    volume_handle: str = ""


class VolumeSpec(Wire):
    """core/v1 PersistentVolumeSpec."""

    node_affinity: VolumeNodeAffinity | None = None
    csi: CsiSource | None = None
    local: Present = None
    host_path: Present = None
    aws_elastic_block_store: Present = None
    azure_disk: Present = None
    azure_file: Present = None
    cinder: Present = None
    gce_persistent_disk: Present = None
    portworx_volume: Present = None
    vsphere_volume: Present = None


class Volume(Wire):
    """core/v1 PersistentVolume."""

    metadata: Metadata
    spec: VolumeSpec


class TopologyExpression(Wire):
    """core/v1 TopologySelectorLabelRequirement."""

    key: str
    values: list[str] | None = None


class TopologyTerm(Wire):
    """core/v1 TopologySelectorTerm."""

    match_label_expressions: list[TopologyExpression] | None = None


class StorageClass(Wire):
    """storage.k8s.io/v1 StorageClass."""

    metadata: Metadata
    provisioner: str = ""
    volume_binding_mode: str | None = None
    allowed_topologies: list[TopologyTerm] | None = None


class DriverSpec(Wire):
    """storage.k8s.io/v1 CSIDriverSpec."""

    prevent_pod_scheduling_if_missing: bool | None = None
    storage_capacity: bool | None = None


class Driver(Wire):
    """storage.k8s.io/v1 CSIDriver."""

    metadata: Metadata
    spec: DriverSpec | None = None


class NodeDriverLimit(Wire):
    """storage.k8s.io/v1 VolumeNodeResources."""

    count: int | None = None


class NodeDriver(Wire):
    """storage.k8s.io/v1 CSINodeDriver."""

    name: str
    allocatable: NodeDriverLimit | None = None


class CsiNodeSpec(Wire):
    """storage.k8s.io/v1 CSINodeSpec."""

    drivers: list[NodeDriver] | None = None


class CsiNode(Wire):
    """storage.k8s.io/v1 CSINode."""

    metadata: Metadata
    spec: CsiNodeSpec | None = None


class AttachmentSource(Wire):
    """storage.k8s.io/v1 VolumeAttachmentSource."""

    persistent_volume_name: str | None = None


class AttachmentSpec(Wire):
    """storage.k8s.io/v1 VolumeAttachmentSpec."""

    attacher: str
    node_name: str
    source: AttachmentSource


class Attachment(Wire):
    """storage.k8s.io/v1 VolumeAttachment."""

    metadata: Metadata
    spec: AttachmentSpec
