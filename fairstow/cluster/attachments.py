"""May a pod's volumes be had on this node? Claims, volumes' nodes, zones, attach limits.

Used by `state`. Source: kube-scheduler's VolumeBinding, VolumeRestrictions, VolumeZone and
NodeVolumeLimits plugins. Stricter than those where an answer would need what isn't modelled: a
claim that waits for its first pod is only ever given a new volume, never one that is there; no
free capacity is compared; volumes of in-tree plugins are refused.
"""

from collections.abc import Iterator

from fairstow.cluster.model import ClaimUse, Node, Pod
from fairstow.cluster.rules import Refusal, Rule
from fairstow.cluster.selectors import node_terms_match
from fairstow.cluster.snapshot import Snapshot
from fairstow.cluster.storage import ZONES, Claim, StorageClass, Volume
from fairstow.cluster.tallies import add

Key = tuple[str, str]
"""A claim: namespace and name."""

Disk = tuple[str, str]
"""What is attached to a node: driver and handle; of in-tree plugins the driver is ""."""

_BETA = "failure-domain.beta.kubernetes.io/"
_STABLE = "topology.kubernetes.io/"
_IN_TREE = "kubernetes.io/"


class Attachments:
    """Which claims the placed pods use, and what is attached to each node for them."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._storage = snapshot.storage
        self._known = {"CSINode", "CSIDriver"} <= snapshot.known
        self._disks: dict[str, dict[Disk, int]] = {n.name: {} for n in snapshot.nodes}
        self._users: dict[Key, int] = {}
        self._first: dict[Key, dict[str, int]] = {}
        self._strangers: dict[str, int] = {}

    def shift(self, pod: Pod, node: Node, step: int) -> None:
        """Count a pod's volumes on a node (step 1) or take them out (-1)."""
        for use in pod.shape.claims:
            key = (pod.namespace, use.claim_of(pod.name))
            add(self._users, key, step)
            claim = self._storage.claims.get(key)
            if claim is None:
                continue
            if use.ephemeral and claim.owner != pod.uid:
                add(self._strangers, node.name, step)
            add(self._disks[node.name], self._disk(key, claim), step)
            if not claim.bound:
                add(self._first.setdefault(key, {}), node.name, step)

    def disks(self, pod: Pod) -> dict[Disk, bool]:
        """Return what is attached for a pod, and of each whether it is ephemeral: its alone."""
        found: dict[Disk, bool] = {}
        for use in pod.shape.claims:
            key = (pod.namespace, use.claim_of(pod.name))
            claim = self._storage.claims.get(key)
            if claim is not None and (disk := self._disk(key, claim)):
                found[disk] = use.ephemeral
        return found

    def attached(self, node: Node) -> frozenset[Disk]:
        """Return what is attached to a node, for the pods there or by the API's own account."""
        return frozenset(self._disks[node.name].keys() | self._attached(node))

    def lingering(self, node: Node) -> frozenset[Disk]:
        """Return what is attached to a node by the API's own account and used by no pod there.

        For a pod that wants one of these, kube-scheduler counts it twice until a pod there has it.
        """
        return frozenset(self._attached(node) - self._disks[node.name].keys())

    def refusals(self, pod: Pod, node: Node) -> Iterator[Refusal]:
        """Yield every reason why the pod can't have its volumes on the node."""
        if not pod.shape.claims:
            return
        claims: dict[Key, Claim] = {}
        for use in pod.shape.claims:
            key = (pod.namespace, use.claim_of(pod.name))
            claim = self._storage.claims.get(key)
            if claim is None:
                yield Refusal(Rule.CLAIM, f"can't give it the claim {key[1]}: it isn't there")
                continue
            claims[key] = claim
            yield from self._claim(pod, node, use, key, claim)
        yield from self._limits(node, {d for k, c in claims.items() if (d := self._disk(k, c))})

    def _claim(
        self, pod: Pod, node: Node, use: ClaimUse, key: Key, claim: Claim
    ) -> Iterator[Refusal]:
        problem = _problem(pod, use, claim, others=self._users.get(key, 0) > 0)
        if problem:
            yield Refusal(Rule.CLAIM, f"can't give it the claim {key[1]}: {problem}")
        if claim.bound:
            volume = self._storage.volumes.get(claim.volume)
            if volume is None:
                yield Refusal(Rule.CLAIM, f"can't give it the volume {claim.volume}: not there")
            else:
                yield from _volume(node, use, claim.volume, volume)
            return
        made_by = self._storage.classes.get(claim.storage_class)
        if made_by is None or not made_by.waits or claim.volume:
            yield Refusal(Rule.CLAIM, f"can't give it the claim {key[1]}: it isn't bound")
        else:
            yield from self._new_volume(node, key, claim, made_by)

    def _new_volume(
        self, node: Node, key: Key, claim: Claim, made_by: StorageClass
    ) -> Iterator[Refusal]:
        """Judge a claim whose volume is made where its first pod goes."""
        name = f"the volume of claim {key[1]}"
        if claim.selected and claim.selected != node.name:
            yield Refusal(Rule.VOLUME_NODE, f"isn't {claim.selected}, for which {name} is made")
        if made_by.topologies and not any(
            term and all(node.labels.get(k) in values for k, values in term)
            for term in made_by.topologies
        ):
            yield Refusal(
                Rule.VOLUME_NODE, f"is outside the topologies of class {claim.storage_class}"
            )
        driver = self._storage.drivers.get(made_by.provisioner)
        if not made_by.provisioner or made_by.provisioner.startswith(_IN_TREE):
            yield Refusal(Rule.NOT_CONSIDERED, f"may not have {name}: that isn't modelled")
        elif not self._known or (driver is not None and driver.tracks_capacity):
            yield Refusal(Rule.NOT_CONSIDERED, f"may lack the space for {name}")
        if others := self._first.get(key, {}).keys() - {node.name}:
            yield Refusal(Rule.NOT_CONSIDERED, f"may not reach {name}, made for {min(others)}")

    def _limits(self, node: Node, wanted: set[Disk]) -> Iterator[Refusal]:
        if wanted and not self._known:
            yield Refusal(Rule.NOT_CONSIDERED, "has attach limits that the input doesn't tell")
            return
        limits = self._storage.limits.get(node.name, {})
        for driver in sorted({driver for driver, _ in wanted}):
            rules = self._storage.drivers.get(driver)
            if rules is not None and rules.must_be_installed and driver not in limits:
                yield Refusal(Rule.VOLUME_LIMIT, f"lacks the CSI driver {driver}")
        if wanted and node.name in self._strangers and any(n is not None for n in limits.values()):
            yield Refusal(Rule.CLAIM, "has volumes that can't be counted: one isn't its pod's own")
        held = self._disks[node.name].keys()
        for driver in sorted({driver for driver, _ in wanted - held}):
            limit = limits.get(driver)
            attached = sum(d in (driver, "") for d, _ in self.attached(node))
            new = sum(d == driver for d, _ in wanted - held)
            if limit is not None and attached + new > limit:
                yield Refusal(
                    Rule.VOLUME_LIMIT, f"has {attached} of {limit} volumes of {driver} attached"
                )

    def _attached(self, node: Node) -> set[Disk]:
        """Return what is attached to a node by the API's own account."""
        return {
            (driver, volume.handle)
            for driver, name in self._storage.attached.get(node.name, ())
            if (volume := self._storage.volumes.get(name)) is not None and volume.driver
        }

    def _disk(self, key: Key, claim: Claim) -> Disk | None:
        """Return what a claim attaches; a volume not made yet counts by the claim's name."""
        volume = self._storage.volumes.get(claim.volume)
        if volume is not None:
            if volume.in_tree:
                return "", claim.volume
            return (volume.driver, volume.handle) if volume.driver else None
        made_by = self._storage.classes.get(claim.storage_class)
        if made_by is None or not made_by.provisioner:
            return None
        return made_by.provisioner, f"claim {key[0]}/{key[1]}"


def _problem(pod: Pod, use: ClaimUse, claim: Claim, *, others: bool) -> str:
    if claim.lost:
        return "its volume is lost"
    if claim.deleting:
        return "it is being deleted"
    if use.ephemeral and claim.owner != pod.uid:
        return "it belongs to something else"
    if claim.single_pod and others:
        return "another pod has it for itself"
    return ""


def _volume(node: Node, use: ClaimUse, name: str, volume: Volume) -> Iterator[Refusal]:
    """Judge a volume that is there."""
    if volume.in_tree:
        yield Refusal(Rule.NOT_CONSIDERED, f"may not reach volume {name}: {volume.in_tree}")
    terms = volume.node_affinity
    if terms is not None and not node_terms_match(terms, "", node.labels):
        yield Refusal(Rule.VOLUME_NODE, f"isn't among the nodes of volume {name}")
    if use.ephemeral or not any(key in node.labels for key in ZONES):
        return
    for key, values in volume.zones:
        stable = key.replace(_BETA, _STABLE)
        if node.labels.get(key, node.labels.get(stable)) not in values:
            yield Refusal(Rule.VOLUME_NODE, f"isn't in {key}={'|'.join(values)} of volume {name}")
