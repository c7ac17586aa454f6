"""What a pod asks of its place beyond room and nodes: pods near it, spread, ports, volumes, gang.

Read by `pods`, judged by `affinity`, `spread`, `filters`, `volumes` and `gangs`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fairstow.packing.checker.fields import Fields
from fairstow.packing.checker.selectors import Requirement, Selector, read_selector

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - the address that stands for every one of the host
_GANG_LABELS = (
    "scheduling.x-k8s.io/pod-group",
    "pod-group.scheduling.sigs.k8s.io",
    "kueue.x-k8s.io/pod-group-name",
)
_GANG_ANNOTATION = "scheduling.k8s.io/group-name"
# In-tree volume sources that count for an attach limit, with the CSI driver that took them over.
MIGRATED = {
    "awsElasticBlockStore": "ebs.csi.aws.com",
    "azureDisk": "disk.csi.azure.com",
    "cinder": "cinder.csi.openstack.org",
    "gcePersistentDisk": "pd.csi.storage.gke.io",
    "portworxVolume": "pxd.portworx.com",
}


@dataclass(frozen=True)
class PodTerm:
    """A required (anti-)affinity term: which pods are to share the topology domain, or aren't.

    Without `namespaces` and `namespace_selector` it is about the pods of `own_namespace` only.
    """

    topology_key: str
    selector: Selector | None
    own_namespace: str
    namespaces: tuple[str, ...]
    namespace_selector: Selector | None


@dataclass(frozen=True)
class Spread:
    """A topology spread constraint that must hold."""

    topology_key: str
    max_skew: int
    min_domains: int
    selector: Selector | None
    honors_affinity: bool
    honors_taints: bool


@dataclass(frozen=True)
class HostPort:
    """A port that a pod takes of its node."""

    ip: str
    protocol: str
    port: int

    def meets(self, other: "HostPort") -> bool:
        """Whether two pods can't have these ports on one node."""
        same = (self.protocol, self.port) == (other.protocol, other.port)
        return same and (self.ip == other.ip or _EVERYWHERE in (self.ip, other.ip))

    def __str__(self) -> str:
        return f"{self.ip}:{self.port}/{self.protocol}"


@dataclass(frozen=True)
class ClaimUse:
    """A volume that comes from a claim of the pod's namespace."""

    name: str
    ephemeral: bool


def read_pod_terms(item: Fields, affinity: Fields, kind: str) -> tuple[PodTerm, ...]:
    """Return the required terms of podAffinity or podAntiAffinity."""
    namespace = item.map("metadata").text("namespace") or "default"
    labels = item.map("metadata").text_map("labels")
    return tuple(
        PodTerm(
            topology_key=term.text("topologyKey"),
            selector=_with_keys(term, labels),
            own_namespace=namespace,
            namespaces=term.texts("namespaces"),
            namespace_selector=read_selector(term, "namespaceSelector"),
        )
        for term in affinity.map(kind).maps(_REQUIRED)
    )


def _with_keys(parent: Fields, labels: Mapping[str, str]) -> Selector | None:
    """Return the selector with what (mis)matchLabelKeys add (KEP-3633, KEP-3243)."""
    selector = read_selector(parent, "labelSelector")
    if selector is None:
        return None
    return selector + tuple(
        Requirement(label, operator, (labels[label],))
        for key, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn"))
        for label in parent.texts(key)
        if label in labels
    )


def read_spread(item: Fields, spec: Fields) -> tuple[Spread, ...]:
    """Return the topology spread constraints that aren't mere wishes."""
    labels = item.map("metadata").text_map("labels")
    return tuple(
        Spread(
            topology_key=each.text("topologyKey"),
            max_skew=each.integer("maxSkew"),
            min_domains=each.integer("minDomains") or 1,
            selector=_with_keys(each, labels),
            honors_affinity=each.text("nodeAffinityPolicy") != "Ignore",
            honors_taints=each.text("nodeTaintsPolicy") == "Honor",
        )
        for each in spec.maps("topologySpreadConstraints")
        if each.text("whenUnsatisfiable") != "ScheduleAnyway"
    )


def read_ports(spec: Fields) -> tuple[HostPort, ...]:
    """Return the host ports of containers and sidecars; on the host's network every port is one."""
    on_host = spec.flag("hostNetwork")
    return tuple(
        HostPort(port.text("hostIP") or _EVERYWHERE, port.text("protocol") or "TCP", number)
        for container in _lasting(spec)
        for port in container.maps("ports")
        if (number := port.integer("hostPort") or (on_host and port.integer("containerPort")))
    )


def _lasting(spec: Fields) -> Iterator[Fields]:
    """Yield the containers that run as long as the pod."""
    yield from spec.maps("containers")
    for container in spec.maps("initContainers"):
        if container.text("restartPolicy") == "Always":
            yield container


def read_claims(name: str, spec: Fields) -> tuple[ClaimUse, ...]:
    """Return the claims behind a pod's volumes; an ephemeral volume's is named after both."""
    found = []
    for volume in spec.maps("volumes"):
        if volume.has("persistentVolumeClaim"):
            claim = volume.map("persistentVolumeClaim").text("claimName")
            found.append(ClaimUse(claim, ephemeral=False))
        elif volume.has("ephemeral"):
            found.append(ClaimUse(f"{name}-{volume.text('name')}", ephemeral=True))
    return tuple(found)


def read_inline_disks(spec: Fields) -> tuple[str, ...]:
    """Return the CSI drivers of in-tree disks that the pod names itself, one each."""
    return tuple(
        driver
        for volume in spec.maps("volumes")
        for source, driver in MIGRATED.items()
        if volume.has(source)
    )


def read_features(spec: Fields) -> frozenset[str]:
    """Return the features that a node must declare to run the pod (KEP-5328)."""
    found = set()
    for key in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.maps(key):
            rules = container.maps("restartPolicyRules")
            if any(rule.text("action") == "RestartAllContainers" for rule in rules):
                found.add("RestartAllContainersOnContainerExits")
            if any(mount.texts("bindMountOptions") for mount in container.maps("volumeMounts")):
                found.add("VolumeBindMountOptions")
    if spec.flag("hostNetwork") and spec.has("hostUsers") and not spec.flag("hostUsers"):
        found.add("UserNamespacesHostNetworkSupport")
    return frozenset(found)


def read_gang(namespace: str, labels: Mapping[str, str], annotations: Mapping[str, str]) -> str:
    """Return "namespace/name" of the gang a pod belongs to, or ""."""
    names = [labels.get(key) for key in _GANG_LABELS] + [annotations.get(_GANG_ANNOTATION)]
    return next((f"{namespace}/{name}" for name in names if name), "")
