"""Pods that nobody has submitted yet, beside those of a cluster: "what if I submitted these".

Called by the command line (`--with`). `NewPods` reads the manifests first, then looks at each
object of the cluster (names that are taken, priority classes), then yields the pods, ready for
`project.Builder` and for the plan checker. Equal input gives equal names and UIDs, so that a plan
can be checked later.
"""

import copy
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from fairstow.cluster import wire
from fairstow.cluster.admission import Json, PriorityClasses, admit, check_quantities
from fairstow.cluster.errors import InputError
from fairstow.cluster.items import Item
from fairstow.cluster.manifests import (
    ADVICE,
    KINDS,
    Metadata,
    Workload,
    decoded,
    read_workload,
    uid,
    unknown,
)

MOST_PODS = 5_000
"""Most pods that manifests may ask for together."""

_CLAIM = "PersistentVolumeClaim"
_BESIDE = frozenset({_CLAIM, "PodGroup"})
"""Kinds that decide about new pods, and come with their manifests."""

_CLASS = "PriorityClass"
_NO_PODS = frozenset(
    {"ClusterRole", "ClusterRoleBinding", "ConfigMap", "Endpoints", "HorizontalPodAutoscaler",
     "Ingress", "LimitRange", "Namespace", "NetworkPolicy", "PodDisruptionBudget", "PodMonitor",
     "ResourceClaim", "ResourceClaimTemplate", "ResourceQuota", "Role", "RoleBinding", "Secret",
     "Service", "ServiceAccount", "ServiceMonitor"}
)  # fmt: skip
"""Kinds that often stand beside workloads and make no pods themselves."""


class _Named(wire.Wire):
    metadata: Metadata


class NewPods:
    """What `--with` names.

    Attributes:
        uids: of the pods, once all of `items` has been read.
        notes: what was passed over or can't be known, a sentence each; likewise.

    Raises:
        InputError: a manifest is malformed, or there is no pod in them.
    """

    def __init__(self, manifests: Iterable[Item]) -> None:
        self.uids: frozenset[str] = frozenset()
        self.notes: tuple[str, ...] = ()
        self._classes = PriorityClasses()
        self._own_classes: list[Item] = []
        self._beside: list[Item] = []
        self._known: set[str] = set()
        self._taken: set[tuple[str, str, str]] = set()
        self._passed_over = Counter[str]()
        self._workloads = [w for item in manifests if (w := self._read(item)) is not None]
        asked = sum(w.count for w in self._workloads)
        if not asked:
            kinds = [*(w.item.kind for w in self._workloads), *self._passed_over]
            found = ", ".join(sorted(set(kinds))) or "nothing"
            raise InputError("--with", f"asks for no pods (found: {found})", ADVICE)
        if asked > MOST_PODS:
            raise InputError("--with", f"asks for {asked:,} pods; at most {MOST_PODS:,} are tried")

    def see(self, item: Item) -> None:
        """Look at an object of the cluster.

        Raises:
            InputError: it is malformed.
        """
        kind = item.kind.removesuffix("List")
        if kind == _CLASS:
            self._classes.known = True
        if kind in _BESIDE:
            self._known.add(kind)
        if item.kind == _CLASS:
            self._classes.add(decoded(item, wire.PriorityClass))
        elif item.kind in KINDS:
            meta = decoded(item, _Named).metadata
            namespace = meta.namespace or "default"
            self._taken.add((item.kind, namespace, meta.name or ""))
            self._taken.update((o.kind, namespace, o.name) for o in meta.owner_references or ())

    def items(self) -> Iterator[Item]:
        """Yield the pods, each as the API server would hand it to a scheduler, and what is beside.

        Raises:
            InputError: a pod would be refused, or a name is taken.
        """
        uids, beside = set[str](), list(self._beside)
        notes: list[str] = []
        for item in self._own_classes:
            self._add_class(item)
        for workload in self._workloads:
            spec = self._admitted(workload)
            notes += _doubts(workload, spec)
            for number in range(workload.count):
                pod = self._pod(workload, number, spec)
                uids.add(pod["metadata"]["uid"])
                yield _item(workload, "Pod", pod)
                beside += _claims(workload, pod["metadata"]["name"])
        # Of a kind the input doesn't hold, these would pass for all there are.
        yield from (item for item in beside if item.kind in self._known)
        if self._passed_over:
            said = ", ".join(f"{n} {kind}" for kind, n in sorted(self._passed_over.items()))
            notes.append(f"in the manifests, since they make no pods: {said}")
        self.uids, self.notes = frozenset(uids), tuple(notes)

    def _read(self, item: Item) -> Workload | None:
        if item.kind in KINDS:
            return read_workload(item)
        if item.kind == _CLASS:
            self._own_classes.append(item)
        elif item.kind in _BESIDE:
            self._beside.append(item)
        elif item.kind in _NO_PODS or item.kind.removesuffix("List") in KINDS:
            self._passed_over[item.kind] += 1
        else:
            raise unknown(item)
        return None

    def _add_class(self, item: Item) -> None:
        read = decoded(item, wire.PriorityClass)
        if read.metadata.name in self._classes.by_name:
            raise _exists(item.where)
        self._classes.add(read)

    def _admitted(self, workload: Workload) -> Json:
        """Return the pods' spec, checked and with its defaults."""
        own = (workload.item.kind, workload.namespace, workload.name)
        if own[0] != "Pod" and own in self._taken:
            raise _exists(workload.where)
        spec = copy.deepcopy(workload.spec)
        try:
            admit(workload.metadata, spec, self._classes)
            check_quantities(msgspec.convert({"metadata": {"name": "pod"}, "spec": spec}, wire.Pod))
        except ValueError as error:
            field = str(error).removeprefix("spec.")
            raise InputError(workload.where, f"field {workload.path}.{field}") from error
        return spec

    def _pod(self, workload: Workload, number: int, spec: Json) -> Json:
        """Return one of the pods."""
        namespace, name = workload.namespace, workload.pod_name(number)
        kind, metadata = workload.item.kind, workload.metadata
        while kind == "Pod" and workload.made_up and ("Pod", namespace, name) in self._taken:
            number += 1  # several manifests may generate names from one beginning
            name = workload.pod_name(number)
        if ("Pod", namespace, name) in self._taken:
            raise _exists(f"{workload.item.source}: Pod {namespace}/{name}")
        self._taken.add(("Pod", namespace, name))
        own = {"statefulset.kubernetes.io/pod-name": name,
               "apps.kubernetes.io/pod-index": str(number)}  # fmt: skip
        owners = [workload.owner] if workload.owner else metadata.get("ownerReferences") or []
        return {
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": uid("Pod", namespace, name),
                "labels": (metadata.get("labels") or {}) | (own if kind == "StatefulSet" else {}),
                "annotations": metadata.get("annotations") or {},
                "ownerReferences": owners,
            },
            "spec": _with_claims(spec, workload, name),
            "status": {"phase": "Pending"},
        }


def _doubts(workload: Workload, spec: Json) -> Iterator[str]:
    if spec.get("runtimeClassName") and not spec.get("overhead"):
        yield f"what the RuntimeClass of {workload.where} adds as overhead"
    if workload.suspended:
        yield f"that {workload.where} is suspended"


def _exists(where: str) -> InputError:
    return InputError(
        where,
        "exists already, in the cluster or in another manifest",
        "What if is about something new: give it another name, or generateName.",
    )


def _item(workload: Workload, kind: str, content: Json) -> Item:
    return Item(workload.item.source, workload.item.index, kind, content, "v1")


def _claims(workload: Workload, pod: str) -> list[Item]:
    """Return the claims that a StatefulSet makes for one of its pods."""
    return [
        _item(
            workload,
            _CLAIM,
            {
                "metadata": {
                    "name": f"{template['metadata']['name']}-{pod}",
                    "namespace": workload.namespace,
                },
                "spec": template["spec"],
                "status": {"phase": "Pending"},
            },
        )
        for template in workload.claims
    ]


def _with_claims(spec: Json, workload: Workload, pod: str) -> Json:
    """Return the spec with the volumes that a StatefulSet's claim templates stand for."""
    names = [template["metadata"]["name"] for template in workload.claims]
    if not names:
        return spec
    own = [{"name": n, "persistentVolumeClaim": {"claimName": f"{n}-{pod}"}} for n in names]
    rest = [v for v in spec.get("volumes") or () if v.get("name") not in names]
    return spec | {"volumes": [*rest, *own]}
