"""Waiting pods with claims: which are tried, and what their arrivals must keep between them.

Called by `formulate`; the rules are read by the incumbent and by CP-SAT. Where a claim decides by
itself about a node (its volume's nodes, zones, topologies, what is attached already) the node is a
target or isn't (`formulate`). What hangs on other arrivals is stated here, with x[g,n]
arrivals of group g on node n:

    OnePod   a claim of ReadWriteOncePod           Σ_n Σ_{g∈G} x[g,n] ≤ 1
    OneNode  a claim whose volume is made where    x[g,n] > 0 for g ∈ G on one node n at most
             its first pod goes
    Attach   a node's limit for a driver           Σ_g own[g]·x[g,n] + |N(n) − there[n]| ≤ free[n],
                                                   N(n) = ∪ named[g] over g with x[g,n] > 0

G are the groups that use the claim. In Attach, own[g] counts the volumes that each pod of g brings
alone (ephemeral ones), named[g] are those of claims, which several pods may share and which count
once. What is attached to a node now counts there to the end.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from fairstow.cluster.attachments import Attachments, Disk, Key
from fairstow.cluster.model import Pod
from fairstow.cluster.snapshot import Snapshot

_IN_TREE = "kubernetes.io/"


@dataclass(frozen=True)
class OnePod:
    """See the module."""

    groups: frozenset[int]


@dataclass(frozen=True)
class OneNode:
    """See the module."""

    groups: frozenset[int]


@dataclass(frozen=True)
class Attach:
    """See the module. Attributes: by group `own` and `named`; by node index `free` and `there`."""

    own: Mapping[int, int]
    named: Mapping[int, frozenset[Disk]]
    free: Mapping[int, int]
    there: Mapping[int, frozenset[Disk]]

    @property
    def groups(self) -> frozenset[int]:
        """The groups it speaks of."""
        return frozenset(self.own)

    def new(self, node: int) -> dict[Disk, list[int]]:
        """Return the volumes not yet on a node with the groups that would bring each."""
        found: dict[Disk, list[int]] = {}
        for group, disks in self.named.items():
            for disk in disks - self.there[node]:
                found.setdefault(disk, []).append(group)
        return found


ClaimRule = OnePod | OneNode | Attach


def untried(snapshot: Snapshot, attachments: Attachments, pod: Pod) -> str:
    """Say why a pod isn't tried for its claims, as a phrase about it; "" if it is.

    A claim that nothing can bind (it isn't there, its volume is lost) is no reason: its pod is
    tried and found to fit nowhere.
    """
    storage = snapshot.storage
    if pod.shape.claims and (missing := _unknown(snapshot, attachments, pod)):
        return f"with claims, of which the input tells no {missing}"
    for use in pod.shape.claims:
        claim = storage.claims.get((pod.namespace, use.claim_of(pod.name)))
        if claim is None:
            continue
        volume = storage.volumes.get(claim.volume)
        if claim.bound and volume and volume.in_tree:
            return f"with a volume of {volume.in_tree}: that isn't modelled"
        made_by = storage.classes.get(claim.storage_class)
        if claim.bound or made_by is None or not made_by.waits:
            continue
        if not made_by.provisioner or made_by.provisioner.startswith(_IN_TREE):
            return f"with a claim of class {claim.storage_class}: choosing volumes isn't modelled"
        driver = storage.drivers.get(made_by.provisioner)
        if driver is not None and driver.tracks_capacity:
            return f"with a claim of class {claim.storage_class}: its free capacity isn't modelled"
    return ""


def _unknown(snapshot: Snapshot, attachments: Attachments, pod: Pod) -> str:
    """Return the first kind that decides about the pod's claims and that isn't in the input."""
    claims = [
        snapshot.storage.claims.get((pod.namespace, use.claim_of(pod.name)))
        for use in pod.shape.claims
    ]
    needed = ["PersistentVolumeClaim"]
    if any(claim and claim.bound for claim in claims):
        needed.append("PersistentVolume")
    if any(claim and not claim.bound for claim in claims):
        needed.append("StorageClass")
    if attachments.disks(pod):
        needed += ["CSINode", "CSIDriver"]
    return next((kind for kind in needed if kind not in snapshot.known), "")


def own_claims(snapshot: Snapshot, pod: Pod) -> tuple[object, ...]:
    """Return what of a pod's ephemeral volumes makes it another than its like."""
    found = []
    for use in pod.shape.claims:
        if use.ephemeral:
            claim = snapshot.storage.claims.get((pod.namespace, use.claim_of(pod.name)))
            own = claim is not None and claim.owner == pod.uid
            found.append((claim and msgspec.structs.replace(claim, owner=""), own))
    return tuple(found)


def claim_rules(
    snapshot: Snapshot, samples: Sequence[Pod], most: Sequence[int]
) -> Iterable[ClaimRule]:
    """Yield the rules between arrivals with claims.

    Args:
        snapshot: the cluster.
        samples: a pod of each group.
        most: pods there are of each group.
    """
    users: dict[Key, set[int]] = {}
    for index, pod in enumerate(samples):
        for use in pod.shape.claims if pod.pending else ():
            if not use.ephemeral:
                users.setdefault((pod.namespace, use.name), set()).add(index)
    for key, groups in sorted(users.items()):
        claim = snapshot.storage.claims.get(key)
        if claim is None or sum(most[g] for g in groups) < 2:
            continue
        if claim.single_pod:
            yield OnePod(frozenset(groups))
        elif not claim.bound:
            yield OneNode(frozenset(groups))
    yield from _limits(snapshot, samples, most)


def _limits(snapshot: Snapshot, samples: Sequence[Pod], most: Sequence[int]) -> Iterable[Attach]:
    wanting = [i for i, pod in enumerate(samples) if pod.pending and pod.shape.claims]
    if not wanting:
        return
    attachments = attached(snapshot)
    disks = {i: attachments.disks(samples[i]) for i in wanting}
    for driver in sorted({d for found in disks.values() for d, _ in found if d}):
        own: dict[int, int] = {}
        named: dict[int, frozenset[Disk]] = {}
        for i in wanting:
            mine = {disk: alone for disk, alone in disks[i].items() if disk[0] == driver}
            if mine:
                own[i] = sum(mine.values())
                named[i] = frozenset(disk for disk, alone in mine.items() if not alone)
        shared = {disk for disks_of in named.values() for disk in disks_of}
        all_of_it = sum(own[i] * most[i] for i in own) + len(shared)
        free: dict[int, int] = {}
        there: dict[int, frozenset[Disk]] = {}
        for n, node in enumerate(snapshot.nodes):
            limit = snapshot.storage.limits.get(node.name, {}).get(driver)
            if limit is None:
                continue
            now = attachments.attached(node)
            left = max(limit - sum(of in (driver, "") for of, _ in now), 0)
            if left < all_of_it:
                free[n], there[n] = left, now
        if free:
            yield Attach(own, named, free, there)


def attached(snapshot: Snapshot) -> Attachments:
    """Return what is attached to the nodes of a snapshot for the pods there."""
    attachments = Attachments(snapshot)
    for pod in snapshot.pods:
        if pod.home in snapshot.node_by_name:
            attachments.shift(pod, snapshot.node_by_name[pod.home], 1)
    return attachments


class Claims:
    """The rules under a layout, for whoever places pods one at a time."""

    def __init__(self, rules: Sequence[ClaimRule], at: Sequence[Mapping[int, int]]) -> None:
        self._at = at
        self._of: dict[int, list[ClaimRule]] = {}
        for rule in rules:
            for group in rule.groups:
                self._of.setdefault(group, []).append(rule)

    def allow(self, group: int, node: int) -> bool:
        """Whether one more pod of a group on a node leaves the rules that touch it intact."""
        if group not in self._of:
            return True
        there = dict(self._at[group])
        there[node] = there.get(node, 0) + 1
        after = [there if g == group else at for g, at in enumerate(self._at)]
        return all(_holds(rule, after) for rule in self._of[group])

    def hold(self, group: int) -> bool:
        """Whether the rules that touch a group hold under the layout."""
        return all(_holds(rule, self._at) for rule in self._of.get(group, ()))


def _holds(rule: ClaimRule, at: Sequence[Mapping[int, int]]) -> bool:
    match rule:
        case OnePod():
            return sum(sum(at[g].values()) for g in rule.groups) <= 1
        case OneNode():
            return len({node for g in rule.groups for node in at[g]}) <= 1
        case Attach():
            nodes = {n for g in rule.groups for n in at[g] if n in rule.free}
            return all(_attached(rule, at, n) <= rule.free[n] for n in nodes)


def _attached(rule: Attach, at: Sequence[Mapping[int, int]], node: int) -> int:
    alone = sum(count * at[g].get(node, 0) for g, count in rule.own.items())
    named = rule.new(node).values()
    return alone + sum(any(at[g].get(node) for g in groups) for groups in named)
