"""Pods with claims: which are tried, who is like whom, what their arrivals keep between them.

Called by `formulate`; the rules are read by the incumbent and by CP-SAT. Where a claim decides by
itself about a node (its volume's nodes, zones, topologies, what is attached already) the node is a
target or isn't (`formulate`). What hangs on other arrivals is stated here, with x[g,n]
arrivals of group g on node n:

    OnePod   a claim of ReadWriteOncePod           Σ_n Σ_{g∈G} x[g,n] ≤ 1
    OneNode  a claim that one node has at a time,  x[g,n] > 0 for g ∈ G on one node n at most
             or whose volume is made where its
             first pod goes
    Attach   a node's limit for a driver           Σ_g own[g]·max(0, x[g,n] − c[g,n])
                                                   + |N(n) − there[n]| ≤ free[n],
                                                   N(n) = ∪ named[g] over g with x[g,n] > 0

G are the waiting groups that use the claim. In Attach, own[g] counts the volumes that each pod of g
brings alone, named[g] are those that several pods may share and that count once; c[g,n] runs there
now. What is attached to a node now counts there to the end: nobody waits for a detachment.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from fairstow.cluster.attachments import Attachments, Disk, Key
from fairstow.cluster.model import Node, Pod
from fairstow.cluster.rules import Rule
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
    """See the module. Attributes: by group `own`, `named`, `running`; by node `free`, `there`."""

    own: Mapping[int, int]
    named: Mapping[int, frozenset[Disk]]
    running: Mapping[int, Mapping[int, int]]
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
            for disk in sorted(disks - self.there[node]):
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


class Lingering:
    """Volumes attached to a node that no pod there uses, and that several pods want.

    Whether the second of these pods is within the node's limit hangs on who goes first: the first
    one's volume counts twice, the others' once. Plans don't order arrivals so; who is refused by
    it isn't tried.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._nodes: list[tuple[Node, frozenset[Disk]]] = []
        if not any(snapshot.storage.attached.values()):
            return
        self._there = Attachments(snapshot)
        users: Counter[Disk] = Counter()
        for pod in snapshot.pods:
            users.update(self._there.disks(pod).keys())
            if (home := snapshot.node_by_name.get(pod.home)) is not None:
                self._there.shift(pod, home, 1)
        shared = {disk for disk, count in users.items() if count > 1}
        self._nodes = [
            (node, found)
            for node in snapshot.nodes
            if (found := self._there.lingering(node) & shared)
        ]

    def untried(self, pod: Pod) -> str:
        """Say why a pod isn't tried, as a phrase about it; "" if it is."""
        for node, disks in self._nodes if pod.shape.claims else ():
            refused = any(r.rule is Rule.VOLUME_LIMIT for r in self._there.refusals(pod, node))
            if refused and disks & self._there.disks(pod).keys():
                return f"with a shared volume that is still attached to {node.name} for nobody"
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


class Register:
    """The claims of a snapshot's pods: who is like whom, and which rules their arrivals keep.

    A volume is a pod's *own* if nobody else uses it and it is attached nowhere but for that pod:
    then pods that differ in the volume's name alone are interchangeable.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot, self._storage = snapshot, snapshot.storage
        self._there = Attachments(snapshot)
        self._users: Counter[Key] = Counter()
        self._on: dict[Key, set[str]] = {}
        self._disks: Counter[Disk] = Counter()
        held: set[tuple[str, Disk]] = set()
        for pod in snapshot.pods if snapshot.storage.claims else ():
            home = snapshot.node_by_name.get(pod.home)
            if home is not None:
                self._there.shift(pod, home, 1)
                held.update((home.name, disk) for disk in self._there.disks(pod))
            self._disks.update(self._there.disks(pod).keys())
            for key, _ in self._claims(pod):
                self._users[key] += 1
                if home is not None:
                    self._on.setdefault(key, set()).add(home.name)
        self._stray = {
            disk
            for node in (snapshot.nodes if held or self._disks else ())
            for disk in self._there.attached(node)
            if (node.name, disk) not in held
        }

    def _claims(self, pod: Pod) -> list[tuple[Key, bool]]:
        """Return the claims of a pod, each with whether it is an ephemeral volume's."""
        uses = pod.shape.claims
        return [((pod.namespace, use.claim_of(pod.name)), use.ephemeral) for use in uses]

    def kind(self, pod: Pod) -> tuple[object, ...]:
        """Return what pods with claims that are placed alike have in common."""
        return tuple(self._kind(pod, key, ephemeral) for key, ephemeral in self._claims(pod))

    def _kind(self, pod: Pod, key: Key, ephemeral: bool) -> object:
        claim = self._storage.claims.get(key)
        if claim is None or self._users[key] > 1:
            return key
        if ephemeral and claim.owner != pod.uid:
            return key
        volume = self._storage.volumes.get(claim.volume)
        if not claim.bound or volume is None:
            return msgspec.structs.replace(claim, owner="")
        disk = (volume.driver, volume.handle)
        if claim.lost or claim.deleting or (volume.driver and not self._own(disk)):
            return key
        return (ephemeral, msgspec.structs.replace(volume, handle=""))

    def _own(self, disk: Disk) -> bool:
        return self._disks[disk] == 1 and disk not in self._stray

    def nodes(self, pod: Pod, among: Iterable[int]) -> frozenset[int]:
        """Return the nodes where a pod can have its claims, while other pods stay as they are.

        A volume for one node at a time that another pod uses is had on that pod's node.
        """
        nodes, names = self._snapshot.nodes, None
        home = self._snapshot.node_by_name.get(pod.home)
        if home is not None:
            self._there.shift(pod, home, -1)
        for key, _ in self._claims(pod):
            claim = self._storage.claims.get(key)
            on = self._on.get(key, set()) if home is None else None
            if claim is not None and not claim.many_nodes and on:
                names = on if names is None else names & on
        found = frozenset(
            i
            for i in among
            if (names is None or nodes[i].name in names)
            and not any(self._there.refusals(pod, nodes[i]))
        )
        if home is not None:
            self._there.shift(pod, home, 1)
        return found

    def rules(
        self, samples: Sequence[Pod], running: Sequence[Mapping[int, int]], most: Sequence[int]
    ) -> tuple[ClaimRule, ...]:
        """Return the rules between arrivals with claims.

        Args:
            samples: a pod of each group.
            running: pods of each group that may move, by node index.
            most: pods there are of each group.
        """
        users: dict[Key, set[int]] = {}
        for index, pod in enumerate(samples):
            for key, ephemeral in self._claims(pod):
                if not ephemeral and self._users[key] > 1 and not running[index]:
                    users.setdefault(key, set()).add(index)
        found: list[ClaimRule] = []
        for key, groups in sorted(users.items()):
            claim = self._storage.claims.get(key)
            if claim is None or sum(most[g] for g in groups) < 2:
                continue
            if claim.single_pod:
                found.append(OnePod(frozenset(groups)))
            elif not (claim.bound and claim.many_nodes):
                found.append(OneNode(frozenset(groups)))
        return (*found, *self._limits(samples, running, most))

    def _limits(
        self, samples: Sequence[Pod], running: Sequence[Mapping[int, int]], most: Sequence[int]
    ) -> Iterable[Attach]:
        disks = {i: self._there.disks(pod) for i, pod in enumerate(samples) if pod.shape.claims}
        for driver in sorted({driver for found in disks.values() for driver, _ in found if driver}):
            own: dict[int, int] = {}
            named: dict[int, frozenset[Disk]] = {}
            for i, found in disks.items():
                mine = {disk for disk in found if disk[0] == driver}
                alone = {disk for disk in mine if self._own(disk)}
                if mine:
                    own[i], named[i] = len(alone), frozenset(mine - alone)
            shared = {disk for disks_of in named.values() for disk in disks_of}
            all_of_it = sum(own[i] * most[i] for i in own) + len(shared)
            free: dict[int, int] = {}
            there: dict[int, frozenset[Disk]] = {}
            for n, node in enumerate(self._snapshot.nodes):
                limit = self._storage.limits.get(node.name, {}).get(driver)
                if limit is None:
                    continue
                now = self._there.attached(node)
                left = max(limit - sum(of in (driver, "") for of, _ in now), 0)
                if left < all_of_it:
                    free[n], there[n] = left, now
            if free:
                yield Attach(own, named, {i: running[i] for i in own}, free, there)


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
        after = _With(self._at, group, there)
        return all(_holds(rule, after, [node]) for rule in self._of[group])

    def hold(self, group: int) -> bool:
        """Whether the rules that touch a group hold where it stands."""
        nodes = self._at[group]
        return all(_holds(rule, self._at, nodes) for rule in self._of.get(group, ()))


class _With(Sequence[Mapping[int, int]]):
    """A layout in which one group stands otherwise."""

    def __init__(self, at: Sequence[Mapping[int, int]], group: int, there: Mapping[int, int]):
        self._at, self._group, self._there = at, group, there

    def __len__(self) -> int:
        return len(self._at)

    def __getitem__(self, group: int) -> Mapping[int, int]:  # type: ignore[override]
        return self._there if group == self._group else self._at[group]


def _holds(rule: ClaimRule, at: Sequence[Mapping[int, int]], nodes: Iterable[int]) -> bool:
    match rule:
        case OnePod():
            return sum(sum(at[g].values()) for g in rule.groups) <= 1
        case OneNode():
            return len({node for g in rule.groups for node in at[g]}) <= 1
        case Attach():
            return all(_attached(rule, at, n) <= rule.free[n] for n in nodes if n in rule.free)


def _attached(rule: Attach, at: Sequence[Mapping[int, int]], node: int) -> int:
    alone = sum(
        count * max(0, at[g].get(node, 0) - rule.running[g].get(node, 0))
        for g, count in rule.own.items()
        if count
    )
    named = rule.new(node).values()
    return alone + sum(any(at[g].get(node) for g in groups) for groups in named)
