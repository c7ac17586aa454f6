"""A running cluster kept in memory: each event costs O(1), a `Snapshot` is made when asked for.

Fed by `fairstow.kube.aio.Reflector` (it is a `Sink`), read by the programs' decisions: the
operator asks for snapshots, the extender for the room of single nodes. One thread, no waiting: an
event is taken in whole or, if the object is malformed, left out and named in `problems`.

    cluster = LiveCluster()
    cluster.upsert(kind, obj)             # added or changed; obj is JSON text or a dict
    cluster.delete(kind, obj)
    cluster.retain(kind, names)           # a list is over: all others of the kind are gone
    cluster.unknown(kind)                 # may not be listed
    cluster.replace(kind, objects)        # upsert each, then retain

    cluster.snapshot()                    # as Builder(live=True) would make of the same objects
    cluster.nodes[name]; cluster.pod(uid), cluster.pod_named("namespace/name")
    cluster.pods_on(node), cluster.pods_of(workload), cluster.waiting()
    cluster.used(node), cluster.free(node)          # not to be changed, and not kept
    cluster.assume(uid, node), cluster.forget(uid)

A pod holds room on the node it is bound to, else where it is assumed, else where it is nominated;
while it terminates too. Only `snapshot` knows nothing of what is assumed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from typing import Any, TypeVar

import msgspec

from fairstow.cluster.errors import InputError
from fairstow.cluster.items import FETCH, Item, sentence
from fairstow.cluster.kinds import NODE, POD, READ, Kind
from fairstow.cluster.model import EngineDrain, Node, Pod
from fairstow.cluster.project import assemble
from fairstow.cluster.reading import Read, Reader
from fairstow.cluster.shared import Shared
from fairstow.cluster.snapshot import Snapshot

T = TypeVar("T")
Object = msgspec.Raw | dict[str, Any]
Listener = Callable[[Kind, str], None]

_NONE: Mapping[str, Any] = {}
DRAIN = next(kind for kind in READ if kind.name == "InstanceDrain")


class _Meta(msgspec.Struct):
    name: str
    namespace: str = ""


class _Head(msgspec.Struct):
    metadata: _Meta


def name_of(obj: Object) -> str:
    """Return "namespace/name" of an object, or its name where it is in no namespace."""
    into = _Head
    head = (
        msgspec.json.decode(obj, type=into)
        if isinstance(obj, msgspec.Raw)
        else msgspec.convert(obj, into)
    )
    meta = head.metadata
    return f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name


class LiveCluster:
    """See the module.

    Attributes:
        nodes: by name.
        problems: what is wrong with each object that is left out, by kind and name.
        version: grows with every change.
        listeners: called after each change with its kind and the object's name.
    """

    def __init__(self, name: str = "cluster") -> None:
        self.nodes: dict[str, Node] = {}
        self.problems: dict[tuple[str, str], str] = {}
        self.version = 0
        self.listeners: list[Listener] = []
        self._name = name
        self._shared = Shared()
        self._reader = Reader(live=True, intern=self._shared.get)
        self._reads: dict[Kind, dict[str, Read]] = {}
        self._known: set[Kind] = set()
        self._pods: dict[str, Pod] = {}
        self._assumed: dict[str, str] = {}
        self._on: dict[str, dict[str, Pod]] = {}
        self._of: dict[str, dict[str, Pod]] = {}
        self._unbound: dict[str, Pod] = {}
        self._used: dict[str, dict[str, int]] = {}
        self._free: dict[str, dict[str, int]] = {}
        self._made: tuple[int, Snapshot] | None = None

    # What the watch says

    def upsert(self, kind: Kind, obj: Object) -> str:
        """Take in an object that is new or changed; return its name, "" where it has none."""
        name = ""
        try:
            name = name_of(obj)
            read = self._reader.read(Item(self._name, 0, kind.name, obj, kind.api_version))
            self._refuse_double(name, read)
        except (ValueError, RecursionError) as error:
            self._drop(kind, name)
            self.problems[kind.plural, name] = getattr(error, "problem", sentence(error))
            self._tell(kind, name)
            return name
        self.problems.pop((kind.plural, name), None)
        table = self._reads.setdefault(kind, {})
        old = table.get(name)
        table[name] = read
        if old == read and kind not in (NODE, POD):
            return name  # such as most of what is written of Spark applications that wait
        if kind.name == "Node":
            self.nodes[name] = read.value
            self._free.pop(name, None)
        elif kind.name == "Pod":
            self._change_pod(old.value if old else None, read.value)
        self._tell(kind, name)
        return name

    def _refuse_double(self, name: str, read: Read) -> None:
        other = self._pods.get(read.uid)
        if other is not None and other.ref != name:
            raise ValueError(f"field metadata.uid: {read.uid} is also that of Pod {other.ref}")

    def delete(self, kind: Kind, obj: Object) -> None:
        """Forget an object."""
        try:
            name = name_of(obj)
        except (ValueError, RecursionError):
            return
        self._drop(kind, name)
        self._tell(kind, name)

    def retain(self, kind: Kind, names: Set[str]) -> None:
        """Forget all objects of a kind but those; from now on the kind is known."""
        for name in [n for n in self._reads.get(kind, _NONE) if n not in names]:
            self._drop(kind, name)
            self._tell(kind, name)
        for plural, name in [p for p in self.problems if p[0] == kind.plural]:
            if name not in names:
                del self.problems[plural, name]
        self._known.add(kind)
        self.version += 1

    def unknown(self, kind: Kind) -> None:
        """Take a kind for unknown: nothing is known of its objects, nor that there are none."""
        self.retain(kind, frozenset())
        self._known.discard(kind)

    def replace(self, kind: Kind, objects: Iterable[Object]) -> None:
        """Take in all objects of a kind."""
        self.retain(kind, {self.upsert(kind, obj) for obj in objects})

    # What there is

    def snapshot(self) -> Snapshot:
        """Return the cluster as it was last seen.

        Raises:
            InputError: there is no node.
        """
        if self._made is None or self._made[0] != self.version:
            self._made = self.version, self._assembled()
        return self._made[1]

    def pod(self, uid: str) -> Pod | None:
        """Return the pod with that UID, if it is there and hasn't ended."""
        return self._pods.get(uid)

    def pod_named(self, name: str) -> Pod | None:
        """Return the pod called "namespace/name", if it is there and hasn't ended."""
        read = self._reads.get(POD, _NONE).get(name)
        return read.value if read else None

    def pods_on(self, node: str) -> Iterable[Pod]:
        """Return the pods that hold room on a node."""
        return self._on.get(node, _NONE).values()

    def pods_of(self, workload: str) -> Iterable[Pod]:
        """Return the pods of a `Pod.workload`."""
        return self._of.get(workload, _NONE).values()

    def pods_in(self, namespace: str) -> Iterator[Pod]:
        """Yield the pods of a namespace, in no order; looks at every pod there is."""
        return (pod for pod in self._pods.values() if pod.namespace == namespace)

    def waiting(self) -> Iterator[Pod]:
        """Yield the pods that wait for a node, in no order."""
        for uid, pod in self._unbound.items():
            if uid not in self._assumed and pod.nominated not in self.nodes:
                yield pod

    def used(self, node: str) -> Mapping[str, int]:
        """Return what is held of each resource of a node."""
        return self._used.get(node, _NONE)

    def free(self, node: str) -> Mapping[str, int] | None:
        """Return what is left of each resource of a node; below 0 where it is over capacity.

        None where there is no such node.
        """
        left = self._free.get(node)
        if left is None and node in self.nodes:
            left = self._free[node] = dict(self.nodes[node].allocatable)
            for resource, amount in self.used(node).items():
                left[resource] = left.get(resource, 0) - amount
        return left

    @property
    def engine_drains(self) -> tuple[EngineDrain, ...]:
        """The drains of LLM engines, in no order."""
        return tuple(read.value for read in self._reads.get(DRAIN, _NONE).values())

    @property
    def known(self) -> frozenset[str]:
        """The kinds whose objects have all been listed."""
        return frozenset(kind.name for kind in self._known)

    # What was decided and the watch hasn't shown yet

    def assume(self, uid: str, node: str) -> bool:
        """Count a pod's room on a node from now on, until it is bound, gone or forgotten.

        Returns whether that is so: not of a pod that isn't there or that is bound already.
        """
        pod = self._pods.get(uid)
        if pod is None or pod.node:
            return False
        self._unplace(pod)
        self._assumed[uid] = node
        self._place(pod)
        self.version += 1
        return True

    def forget(self, uid: str) -> None:
        """Undo `assume`."""
        if uid in self._assumed:
            pod = self._pods[uid]
            self._unplace(pod)
            del self._assumed[uid]
            self._place(pod)
            self.version += 1

    @property
    def assumed(self) -> Mapping[str, str]:
        """Where the pods are that were assumed and not yet bound, by UID."""
        return self._assumed

    # The indexes

    def _drop(self, kind: Kind, name: str) -> None:
        self.problems.pop((kind.plural, name), None)
        read = self._reads.get(kind, {}).pop(name, None)
        if kind.name == "Node":
            self.nodes.pop(name, None)
            self._free.pop(name, None)
        elif kind.name == "Pod" and read is not None:
            self._change_pod(read.value, None)

    def _change_pod(self, old: Pod | None, new: Pod | None) -> None:
        if new is not None:
            self._shared.hold(new)
        if old is not None:
            self._unplace(old)
            del self._pods[old.uid]
            _remove(self._of, old.workload, old.uid)
            self._unbound.pop(old.uid, None)
            self._shared.release(old)
            if new is None or new.uid != old.uid:
                self._assumed.pop(old.uid, None)
        if new is not None:
            if new.node:
                self._assumed.pop(new.uid, None)
            self._pods[new.uid] = new
            self._of.setdefault(new.workload, {})[new.uid] = new
            if not (new.node or new.gated or new.terminating):
                self._unbound[new.uid] = new
            self._place(new)

    def _home(self, pod: Pod) -> str:
        return pod.node or self._assumed.get(pod.uid) or pod.nominated

    def _place(self, pod: Pod) -> None:
        if home := self._home(pod):
            self._on.setdefault(home, {})[pod.uid] = pod
            self._free.pop(home, None)
            used = self._used.setdefault(home, {})
            for resource, amount in pod.shape.requests:
                used[resource] = used.get(resource, 0) + amount

    def _unplace(self, pod: Pod) -> None:
        if home := self._home(pod):
            _remove(self._on, home, pod.uid)
            self._free.pop(home, None)
            used = self._used[home]
            for resource, amount in pod.shape.requests:
                used[resource] -= amount
                if not used[resource]:
                    del used[resource]
            if not used:
                del self._used[home]

    def _tell(self, kind: Kind, name: str) -> None:
        self.version += 1
        for listener in self.listeners:
            listener(kind, name)

    def _assembled(self) -> Snapshot:
        if not self.nodes:
            raise InputError(self._name, "holds no Node", f"Look at its state with:\n  {FETCH}")
        others: dict[str, list[Any]] = {}
        newest: int | None = None
        for kind, reads in self._reads.items():
            for read in reads.values():
                if read.moment is not None and (newest is None or read.moment > newest):
                    newest = read.moment
            if kind.name not in ("Node", "Pod"):
                values = others.setdefault(kind.name, [])
                values.extend(r.value for r in reads.values() if r.value is not None)
        return assemble(
            self.nodes,
            self._pods.values(),
            others.get("PodDisruptionBudget", ()),
            others,
            known=self.known,
            taken_at=newest,
        )


def _remove(index: dict[str, dict[str, T]], key: str, uid: str) -> None:
    if entries := index.get(key):
        entries.pop(uid, None)
        if not entries:
            del index[key]
