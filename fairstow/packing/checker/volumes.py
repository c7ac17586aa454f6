"""Whether a pod that arrives on a node can have its volumes there.

Source: kube-scheduler's plugins VolumeBinding, VolumeRestrictions, VolumeZone and
NodeVolumeLimits. Stricter where an answer would need what isn't known or modelled:
- A claim without a volume is only ever given a new one, never one that is there, and only by a
  CSI driver that doesn't count its room. Whether there is room is said not to be checked.
- A volume of a migrated in-tree plugin keeps its pod where it is.
- Two pods of a plan that share a claim without a volume go to one node.
- Attachments in the dump count until the end, also those of pods that the plan moves away.
A pod with an ephemeral volume is never moved (`movable`): its claim would go with it.
"""

from collections.abc import Iterator

from fairstow.packing.checker.cluster import Node
from fairstow.packing.checker.pod_rules import ClaimUse
from fairstow.packing.checker.pods import Pod
from fairstow.packing.checker.state import State
from fairstow.packing.checker.storage import ZONE_LABELS, Claim, StorageClass, Volume
from fairstow.packing.checker.verdict import Obstacle, Rule

Disk = tuple[str, str]
"""What is attached: CSI driver and handle."""

_IN_TREE = "kubernetes.io/"


def volume_obstacles(pod: Pod, node: Node, state: State) -> Iterator[Obstacle]:
    """Yield what keeps the pod's volumes from it on the node."""
    if unknown := _unknown_kinds(pod, state):
        message = f"uses claims, and the input has no objects of kind {', '.join(unknown)}"
        yield Rule.VOLUMES_UNKNOWN, message
        return
    for use in pod.claims:
        key = f"{pod.namespace}/{use.name}"
        claim = state.claim(key)
        if claim is None:
            yield Rule.VOLUME_NOT_BOUND, f"volume not bound: there is no claim {key}"
            continue
        yield from _state_obstacles(pod, use, key, claim, state)
        if claim.bound:
            yield from _bound_obstacles(node, use, key, claim, state)
        else:
            yield from _unbound_obstacles(node, key, claim, state)
    yield from _limit_obstacles(pod, node, state)


def _unknown_kinds(pod: Pod, state: State) -> list[str]:
    """Return the kinds that decide about the pod's volumes and of which nothing is known."""
    claims = [state.claim(f"{pod.namespace}/{use.name}") for use in pod.claims]
    needed = ["PersistentVolumeClaim"] if pod.claims else []
    if any(claim and claim.bound for claim in claims):
        needed += ["PersistentVolume"]
    if any(claim and not claim.bound for claim in claims):
        needed += ["StorageClass"]
    if pod.claims and state.disks(pod):
        needed += ["CSINode", "CSIDriver"]
    return [kind for kind in needed if kind not in state.cluster.known]


def new_volumes(pod: Pod, state: State) -> Iterator[str]:
    """Yield a sentence for each claim of the pod that is still to be given a volume."""
    for use in pod.claims:
        key = f"{pod.namespace}/{use.name}"
        claim = state.claim(key)
        if claim is not None and not claim.bound:
            yield (
                f"claim {key} gets a new volume of class {claim.storage_class}: whether there is "
                "room for it isn't checked"
            )


def _state_obstacles(
    pod: Pod, use: ClaimUse, key: str, claim: Claim, state: State
) -> Iterator[Obstacle]:
    if claim.phase == "Lost":
        yield Rule.VOLUME_NOT_BOUND, f"volume not bound: the volume of claim {key} is lost"
    if claim.terminating:
        yield Rule.VOLUME_NOT_BOUND, f"volume not bound: claim {key} is being deleted"
    if use.ephemeral and claim.owner != pod.uid:
        yield Rule.VOLUME_NOT_BOUND, f"volume not bound: claim {key} isn't made for the pod"
    if claim.single_pod and not use.ephemeral:
        users = sorted(state.users(key))
        if users:
            message = f"claim {key} is for one pod at a time (ReadWriteOncePod), {users[0]} has it"
            yield Rule.VOLUME_IN_USE, message


def _bound_obstacles(
    node: Node, use: ClaimUse, key: str, claim: Claim, state: State
) -> Iterator[Obstacle]:
    volume = state.cluster.storage.volumes.get(claim.volume)
    if volume is None:
        message = f"volume not bound: there is no volume {claim.volume} of claim {key}"
        yield Rule.VOLUME_NOT_BOUND, message
        return
    if volume.in_tree:
        message = f"uses {claim.volume}, an in-tree {volume.in_tree}, which plans don't model"
        yield Rule.RULE_NOT_MODELLED, message
    if volume.terms is not None and not any(t.met_by("", node.labels) for t in volume.terms):
        message = f"volume {claim.volume} of claim {key} can't be had on {node.name}"
        yield Rule.VOLUME_NODE_MISMATCH, message
    if not use.ephemeral:
        yield from _zone_obstacles(node, claim.volume, volume)


def _zone_obstacles(node: Node, name: str, volume: Volume) -> Iterator[Obstacle]:
    """A node with none of the zone labels is in a cluster of one zone, and fits."""
    if not any(label in node.labels for label in ZONE_LABELS):
        return
    for label, zones in volume.zones.items():
        today = label.replace("failure-domain.beta.kubernetes.io", "topology.kubernetes.io")
        here = node.labels.get(label, node.labels.get(today))
        if here not in zones:
            message = (
                f"volume {name} is in {label} {'|'.join(sorted(zones))}, {node.name} in {here}"
            )
            yield Rule.VOLUME_NODE_MISMATCH, message


def _unbound_obstacles(node: Node, key: str, claim: Claim, state: State) -> Iterator[Obstacle]:
    storage_class = state.cluster.storage.classes.get(claim.storage_class)
    if claim.volume:
        message = f"volume not bound: claim {key} waits for volume {claim.volume}"
        yield Rule.VOLUME_NOT_BOUND, message
    elif storage_class is None:
        what = f"there is no class {claim.storage_class}" if claim.storage_class else "no class"
        message = f"volume not bound: claim {key} has none, and {what} to make it"
        yield Rule.VOLUME_NOT_BOUND, message
    elif not storage_class.waits:
        message = f"volume not bound: claim {key} has none, and its class binds before scheduling"
        yield Rule.VOLUME_NOT_BOUND, message
    else:
        yield from _new_volume_obstacles(node, key, claim, storage_class, state)


def _new_volume_obstacles(
    node: Node, key: str, claim: Claim, storage_class: StorageClass, state: State
) -> Iterator[Obstacle]:
    """Judge a claim whose volume is made where its first pod goes."""
    selected = claim.selected or state.chosen.get(key, node.name)
    if selected != node.name:
        message = f"the volume of claim {key} is made for {selected}"
        yield Rule.VOLUME_NODE_MISMATCH, message
    if storage_class.topologies and not any(
        term and all(node.labels.get(label) in values for label, values in term)
        for term in storage_class.topologies
    ):
        message = f"class {claim.storage_class} of claim {key} allows no volumes at {node.name}"
        yield Rule.VOLUME_NODE_MISMATCH, message
    provisioner = storage_class.provisioner
    driver = state.cluster.storage.drivers.get(provisioner)
    if not provisioner or provisioner.startswith(_IN_TREE):
        message = f"uses claim {key}, for which {provisioner or 'nobody'} would find a volume"
        yield Rule.RULE_NOT_MODELLED, f"{message}, which plans don't model"
    elif driver is not None and driver.tracks_capacity:
        message = f"uses claim {key}, and {provisioner} counts its room, which plans don't model"
        yield Rule.RULE_NOT_MODELLED, message


def _limit_obstacles(pod: Pod, node: Node, state: State) -> Iterator[Obstacle]:
    """Judge how many volumes the node's drivers can attach; one of several pods counts once."""
    storage = state.cluster.storage
    wanted = state.disks(pod)
    installed = storage.installed.get(node.name, {})
    for driver in sorted({driver for driver, _ in wanted} - installed.keys()):
        about = storage.drivers.get(driver)
        if about is not None and about.must_be_installed:
            message = f"needs the CSI driver {driver}, which {node.name} lacks"
            yield Rule.VOLUME_NODE_MISMATCH, message
    if wanted and any(limit is not None for limit in installed.values()):
        for key, other in _strangers(node, state):
            message = f"volumes on {node.name} can't be counted: claim {key} isn't {other.key}'s"
            yield Rule.VOLUME_NOT_BOUND, message
    placed = [other for other in state.there(node) if other not in state.promised]
    ahead = [p for p in state.there(node) if p in state.promised and p.priority >= pod.priority]
    for there in (placed, placed + ahead) if ahead else (placed,):
        held = {disk for other in there for disk in state.disks(other)}
        excess = list(_excess(node, wanted - held, held, state))
        for driver, more, before, limit in excess:
            message = (
                f"needs {more} more volumes of {driver} on {node.name}, where {before} of {limit} "
                "are attached"
            )
            yield Rule.VOLUME_LIMIT_EXCEEDED, message
        if excess:
            return


def _excess(
    node: Node, new: set[Disk], held: set[Disk], state: State
) -> Iterator[tuple[str, int, int, int]]:
    """Yield driver, new volumes, attached ones and limit where they are too many together."""
    storage = state.cluster.storage
    attached = held | {
        (driver, volume.handle)
        for driver, name in storage.attached.get(node.name, ())
        if (volume := storage.volumes.get(name)) is not None
        if volume.driver and not volume.in_tree
    }
    for driver in sorted({driver for driver, _ in new}):
        limit = storage.installed.get(node.name, {}).get(driver)
        before = sum(of == driver for of, _ in attached)
        more = sum(of == driver for of, _ in new)
        if limit is not None and before + more > limit:
            yield driver, more, before, limit


def _strangers(node: Node, state: State) -> Iterator[tuple[str, Pod]]:
    """Yield claims named as if of an ephemeral volume there, which is an error to the scheduler."""
    for pod in state.there(node):
        for use in pod.claims:
            key = f"{pod.namespace}/{use.name}"
            if use.ephemeral and (claim := state.claim(key)) and claim.owner != pod.uid:
                yield key, pod
