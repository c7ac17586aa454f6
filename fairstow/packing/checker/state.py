"""Who is where between two binds of the replay, and counts of that which its judges ask for."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Protocol

from fairstow.packing.checker.cluster import Cluster, Node
from fairstow.packing.checker.pods import Pod
from fairstow.packing.checker.storage import Claim


class Question(Protocol):
    """Something that holds of a pod or doesn't, whichever node it is on; hashable."""

    def holds(self, pod: Pod, cluster: Cluster) -> bool:
        """Answer for one pod."""
        ...


class Census:
    """How many pods there are per node of which a question holds.

    A question is put to every pod once, when it is first asked, and then to those who come or go.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._pods: dict[str, tuple[Pod, str]] = {}
        self._counts: dict[Question, Counter[str]] = {}

    def add(self, pod: Pod, node: str) -> None:
        """Count a pod that has come to a node."""
        self._pods[pod.key] = pod, node
        self._shift(pod, node, 1)

    def remove(self, pod: Pod) -> None:
        """Count a pod no longer."""
        if found := self._pods.pop(pod.key, None):
            self._shift(*found, -1)

    def count(self, question: Question) -> Mapping[str, int]:
        """Return the number of pods by node; nodes without any may be left out."""
        if question not in self._counts:
            holds = (n for p, n in self._pods.values() if question.holds(p, self._cluster))
            self._counts[question] = Counter(holds)
        return self._counts[question]

    def __contains__(self, pod: Pod) -> bool:
        """Whether a pod is counted here."""
        return pod.key in self._pods

    def _shift(self, pod: Pod, node: str, by: int) -> None:
        for question, counts in self._counts.items():
            if question.holds(pod, self._cluster):
                counts[node] += by


class State:
    """The cluster at one moment.

    Attributes:
        homes: node of each pod that holds room, by pod, nominated ones included.
        guards: the pods with required anti-affinity and the node of each, by pod.
        placed: counts of the pods bound to nodes.
        promised: counts of the pods that preemption nominated to nodes. The scheduler judges an
            arrival twice, with those of its node and without them.
        chosen: node for which the volume of a claim is made, by claim, where a bind decided it.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.homes: dict[str, str] = {}
        self.guards: dict[str, tuple[Pod, str]] = {}
        self.placed = Census(cluster)
        self.promised = Census(cluster)
        self.chosen: dict[str, str] = {}
        self._there: dict[str, dict[str, Pod]] = {}
        self._users: dict[str, set[str]] = {}
        for pod in cluster.pods.values():
            if pod.home:
                self._take(pod, pod.home, self.placed if pod.node else self.promised)

    def there(self, node: Node) -> Iterator[Pod]:
        """Yield the pods that hold room on a node, nominated ones included."""
        yield from self._there.get(node.name, {}).values()

    def labels(self, node: str) -> Mapping[str, str]:
        """Return a node's labels, none for a node that isn't in the dump."""
        return self.cluster.nodes[node].labels if node in self.cluster.nodes else {}

    def claim(self, key: str) -> Claim | None:
        """Return a claim, None if there is none."""
        return self.cluster.storage.claims.get(key)

    def users(self, key: str) -> set[str]:
        """Return the pods on nodes that use a claim; that of an ephemeral volume has none."""
        return self._users.get(key, set())

    def disks(self, pod: Pod) -> set[tuple[str, str]]:
        """Return what is attached for a pod, as (CSI driver, handle).

        A volume still to be made counts by its claim's name, an in-tree disk of the pod itself
        by the pod's.
        """
        found = {(driver, f"of {pod.key}, {i}") for i, driver in enumerate(pod.inline_disks)}
        for use in pod.claims:
            key = f"{pod.namespace}/{use.name}"
            if claim := self.claim(key):
                found.add(self._disk(key, claim))
        return {(driver, handle) for driver, handle in found if driver and handle}

    def _disk(self, key: str, claim: Claim) -> tuple[str, str]:
        volume = self.cluster.storage.volumes.get(claim.volume)
        if volume is not None:
            return volume.driver, volume.handle
        storage_class = self.cluster.storage.classes.get(claim.storage_class)
        return (storage_class.driver, f"of claim {key}") if storage_class else ("", "")

    def arrive(self, pod: Pod, node: str) -> None:
        """Bind a pod to a node; volumes that its claims wait for are made there."""
        self._take(pod, node, self.placed)
        for use in pod.claims:
            key = f"{pod.namespace}/{use.name}"
            if (claim := self.claim(key)) and not claim.bound:
                self.chosen.setdefault(key, node)

    def leave(self, pod: Pod) -> None:
        """Take a pod away from where it is, if it is anywhere."""
        node = self.homes.pop(pod.key, None)
        if node is not None:
            del self._there[node][pod.key]
            self.guards.pop(pod.key, None)
            for use in pod.claims:
                self.users(f"{pod.namespace}/{use.name}").discard(pod.key)
            self.placed.remove(pod)
            self.promised.remove(pod)

    def _take(self, pod: Pod, node: str, census: Census) -> None:
        self.homes[pod.key] = node
        self._there.setdefault(node, {})[pod.key] = pod
        census.add(pod, node)
        if pod.anti_affinity:
            self.guards[pod.key] = pod, node
        for use in pod.claims:
            if not use.ephemeral:
                self._users.setdefault(f"{pod.namespace}/{use.name}", set()).add(pod.key)
