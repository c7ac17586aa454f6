"""From a dump's objects to a snapshot: each is read once, none may occur twice.

Who calls it: `Builder` is fed items by `fairstow.cluster.dump` and by `fairstow.kube`; `assemble`
makes a snapshot of what `reading` made of objects, here and for `live.LiveCluster`.
"""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from fairstow.cluster import storage
from fairstow.cluster.errors import InputError, printable
from fairstow.cluster.items import FETCH, Item
from fairstow.cluster.model import Budget, EngineDrain, EnginePool, Node, Pod
from fairstow.cluster.reading import Read, Reader
from fairstow.cluster.snapshot import Snapshot

T = TypeVar("T", bound=Hashable)

_TWICE = "Leave one of the two out; dumps taken at two moments can't be put together."
_KINDS_NOTED = 50


class Builder:
    """Collects objects one at a time and makes a `Snapshot` of them.

    Args:
        live: the objects come from a running cluster, read kind after kind, so a pod on a node
            that is gone by now is left out and a node that reports no room yet takes nothing.
            In a dump both are damage.
    """

    def __init__(self, *, live: bool = False) -> None:
        self._live = live
        self._nodes: dict[str, Node] = {}
        self._pods: dict[str, Pod] = {}
        self._budgets: dict[str, Budget] = {}
        self._others: dict[str, list[Any]] = {}
        self._where: dict[str, str] = {}
        self._newest: int | None = None
        self._found: set[str] = set()
        self._interned: dict[Hashable, Any] = {}
        self._reader = Reader(live=live, intern=self._intern)

    def add(self, item: Item) -> None:
        """Take one object in; kinds that placement doesn't depend on are only noted.

        Raises:
            InputError: the object is malformed; names object and field.
        """
        if not item.kind:
            raise InputError(
                item.where, "field kind: missing", f"Fetch a cluster's state with:\n  {FETCH}"
            )
        kind, wanted = self._reader.kind_of(item)
        if len(self._found) < _KINDS_NOTED:
            self._found.add(kind)
        if not wanted:
            return
        read = self._reader.read(item)
        if read.uid:
            self._claim(read, item)
        if read.moment is not None:
            self._newest = read.moment if self._newest is None else max(self._newest, read.moment)
        match read.value:
            case Node():
                _put_once(self._nodes, read, item)
            case Pod():
                _put_once(self._pods, read, item)
            case Budget():
                _put_once(self._budgets, read, item)
            case None:
                pass
            case other:
                self._others.setdefault(kind, []).append(other)

    def build(self) -> Snapshot:
        """Return the snapshot of everything added.

        Raises:
            InputError: there are no nodes, or a pod stands on a node that isn't there.
        """
        if not self._nodes:
            found = printable(", ".join(sorted(self._found))) or "nothing"
            raise InputError(
                "cluster" if self._live else "input",
                f"holds no Node (found: {found})",
                f"Fetch a cluster's state with:\n  {FETCH}",
            )
        if not self._live:
            self._refuse_lost_pods()
        return assemble(
            self._nodes,
            self._pods.values(),
            self._budgets.values(),
            self._others,
            known=frozenset(self._found & self._reader.kinds),
            taken_at=self._newest,
        )

    def _refuse_lost_pods(self) -> None:
        # What terminates on a node that is gone holds room nowhere.
        lost = [
            pod
            for _, pod in sorted(self._pods.items())
            if pod.node and pod.node not in self._nodes and not pod.terminating
        ]
        if lost:
            raise InputError(
                self._where[lost[0].uid],
                f"field spec.nodeName: no Node {printable(lost[0].node)} in the input"
                + (f" ({len(lost)} pods are like this)" if len(lost) > 1 else ""),
                "Nodes and pods must come from one moment. Fetch both together:\n  " + FETCH,
            )

    def _intern(self, value: T) -> T:
        shared: T = self._interned.setdefault(value, value)
        return shared

    def _claim(self, read: Read, item: Item) -> None:
        """Note an object's UID, which must be nobody else's."""
        where = item.named(read.name)
        if read.uid in self._where:
            raise InputError(where, f"field metadata.uid: {printable(read.uid)} is also that of "
                f"{self._where[read.uid]}", _TWICE)  # fmt: skip
        self._where[read.uid] = where


def _put_once(table: dict[str, Any], read: Read, item: Item) -> None:
    if read.name in table:
        name = read.name.rpartition("/")[2]
        raise InputError(item.where, f"field metadata.name: {name} occurs twice", _TWICE)
    table[read.name] = read.value


def assemble(
    nodes: Mapping[str, Node],
    pods: Iterable[Pod],
    budgets: Iterable[Budget],
    others: Mapping[str, list[Any]],
    *,
    known: frozenset[str],
    taken_at: int | None,
) -> Snapshot:
    """Return the snapshot of records; pods on nodes that aren't there are left out.

    `others` holds by kind what `reading` made of each object of the remaining kinds.
    """
    classes: dict[int, str] = {}
    for value, name in others.get("PriorityClass", ()):
        classes[value] = min(name, classes.get(value, name))
    gang_sizes: dict[str, int] = {}
    for name, least in others.get("PodGroup", ()):
        gang_sizes[name] = max(least, gang_sizes.get(name, 0))
    settled = (
        msgspec.structs.replace(p, nominated="") if p.nominated and p.nominated not in nodes else p
        for p in pods
        if not p.node or p.node in nodes
    )
    return Snapshot(
        nodes=tuple(sorted(nodes.values(), key=lambda n: n.name)),
        pods=tuple(sorted(settled, key=_by_name)),
        budgets=tuple(sorted(budgets, key=_by_name)),
        disruptable_jobs=frozenset(others.get("Job", ())),
        priority_classes=dict(sorted(classes.items())),
        namespaces=dict(sorted(dict(others.get("Namespace", ())).items())),
        known=known,
        storage=storage.assemble(others),
        gang_sizes=dict(sorted(gang_sizes.items())),
        engine_pools=tuple(sorted(others.get("ServingPool", ()), key=_by_name)),
        engine_drains=tuple(sorted(others.get("InstanceDrain", ()), key=_by_name)),
        kept=tuple(room for rooms in others.get("SparkAdmission", ()) for room in rooms),
        taken_at=taken_at,
    )


def _by_name(record: Pod | Budget | EnginePool | EngineDrain) -> tuple[str, str]:
    return record.namespace, record.name


def build(items: Iterable[Item]) -> Snapshot:
    """Return the snapshot of a dump's items."""
    builder = Builder()
    for item in items:
        builder.add(item)
    return builder.build()
