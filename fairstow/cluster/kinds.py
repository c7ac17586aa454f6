"""The kinds of object that a snapshot is made of, and where an API server has them.

Used by whoever reads a running cluster: `fairstow.kube.live` once, `fairstow.kube.aio` for good.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # pydantic takes a fifth of a second, and who reads a cluster needs none of it
    from fairstow.api.model import CustomResource


@dataclass(frozen=True)
class Kind:
    """A kind of object to list.

    Attributes:
        needed: without it there is no snapshot.
        extension: not every cluster has the kind; one that hasn't has no objects of it.
    """

    name: str
    api_version: str
    resource: str
    needed: bool = False
    extension: bool = False

    @property
    def path(self) -> str:
        """Where the API server lists it, over all namespaces."""
        return self.path_in("")

    def path_in(self, namespace: str) -> str:
        """Where the API server lists it in a namespace."""
        root = "/apis" if "/" in self.api_version else "/api"
        within = f"/namespaces/{namespace}" if namespace else ""
        return f"{root}/{self.api_version}{within}/{self.resource}"

    @property
    def plural(self) -> str:
        """As kubectl and RBAC name it, resource and group; no two kinds share it."""
        group = self.api_version.rpartition("/")[0]
        return f"{self.resource}.{group}" if group else self.resource


def own_kind(model: type[CustomResource], *, needed: bool = False) -> Kind:
    """Return one of Fairstow's own kinds."""
    from fairstow.api.model import GROUP, VERSION

    return Kind(model.__name__, f"{GROUP}/{VERSION}", model.resource.plural, needed=needed)


NODE = Kind("Node", "v1", "nodes", needed=True)
POD = Kind("Pod", "v1", "pods", needed=True)
READ = (
    NODE,
    POD,
    Kind("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets"),
    Kind("PriorityClass", "scheduling.k8s.io/v1", "priorityclasses"),
    Kind("Job", "batch/v1", "jobs"),
    Kind("Namespace", "v1", "namespaces"),
    Kind("PersistentVolumeClaim", "v1", "persistentvolumeclaims"),
    Kind("PersistentVolume", "v1", "persistentvolumes"),
    Kind("StorageClass", "storage.k8s.io/v1", "storageclasses"),
    Kind("CSINode", "storage.k8s.io/v1", "csinodes"),
    Kind("CSIDriver", "storage.k8s.io/v1", "csidrivers"),
    Kind("VolumeAttachment", "storage.k8s.io/v1", "volumeattachments"),
    Kind("PodGroup", "scheduling.x-k8s.io/v1alpha1", "podgroups", extension=True),
    Kind("PodGroup", "scheduling.volcano.sh/v1beta1", "podgroups", extension=True),
    Kind("ServingPool", "fairstow.dev/v1alpha1", "servingpools", extension=True),
    Kind("InstanceDrain", "fairstow.dev/v1alpha1", "instancedrains", extension=True),
    Kind("SparkAdmission", "fairstow.dev/v1alpha1", "sparkadmissions", extension=True),
)
"""What a snapshot is made of."""

OWNERS = (
    Kind("ReplicaSet", "apps/v1", "replicasets"),
    Kind("StatefulSet", "apps/v1", "statefulsets"),
)
"""What a dump holds besides."""
