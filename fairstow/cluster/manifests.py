"""Manifests of workloads, read as the pods that controllers would make of them.

Called by `what_if`. A manifest is what people hand to `kubectl apply -f`: nothing in it is
defaulted yet, and anything may be wrong with it.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated, Any

import msgspec

from fairstow.cluster import wire, wire_storage
from fairstow.cluster.admission import Json
from fairstow.cluster.errors import InputError, printable
from fairstow.cluster.items import Item, sentence
from fairstow.cluster.selectors import selects
from fairstow.cluster.shapes import read_selector

MARK = "what-if"
"""In the names and UIDs of pods and owners that don't exist."""

KINDS = {
    "Pod": "v1",
    "ReplicationController": "v1",
    "Deployment": "apps/v1",
    "ReplicaSet": "apps/v1",
    "StatefulSet": "apps/v1",
    "Job": "batch/v1",
    "CronJob": "batch/v1",
}
"""Kinds that make pods here, with the API version they come in."""

ADVICE = (
    f"Pods are made of: {', '.join(KINDS)}. Of anything else, write the pod template out as a "
    "Job with as many pods (parallelism)."
)

_Count = Annotated[int, msgspec.Meta(ge=0)]


class Metadata(wire.Wire):
    """metav1.ObjectMeta, whose name may be generated."""

    name: wire.Name | None = None
    generate_name: str | None = None
    namespace: wire.Name | None = None
    labels: wire.Strings = None
    annotations: wire.Strings = None
    owner_references: list[wire.OwnerReference] | None = None


class _Template(wire.Wire):
    spec: wire.PodSpec
    metadata: Metadata | None = None


class _Spec(wire.Wire):
    template: _Template
    replicas: _Count | None = None
    parallelism: _Count | None = None
    completions: _Count | None = None
    selector: Any = None
    volume_claim_templates: list[wire_storage.Claim] | None = None


class _Controller(wire.Wire):
    spec: _Spec
    metadata: Metadata | None = None


class _JobTemplate(wire.Wire):
    spec: _Spec


class _CronSpec(wire.Wire):
    job_template: _JobTemplate


class _CronJob(wire.Wire):
    spec: _CronSpec
    metadata: Metadata | None = None


class _Pod(wire.Wire):
    spec: wire.PodSpec
    metadata: Metadata | None = None


@dataclass(frozen=True)
class Workload:
    """Equal pods of one manifest, but for their names.

    Attributes:
        name: the manifest's; of generateName without the dash that it ends in.
        made_up: the name is no whole name, as that of pods whose controller adds to it.
        path: of the pods' spec within the manifest.
        metadata: the pods', as written, with the labels that controllers add.
        spec: the pods', as written.
        owner: the reference to what would recreate them, or None.
        claims: a StatefulSet's claim templates, as written.
        suspended: no pod would be made before somebody resumes it.
    """

    item: Item
    namespace: str
    name: str
    path: str
    metadata: Json
    spec: Json
    made_up: bool = True
    count: int = 1
    owner: Json | None = None
    claims: tuple[Json, ...] = ()
    suspended: bool = False

    @property
    def where(self) -> str:
        """How an error names the manifest."""
        return self.item.named(f"{self.namespace}/{self.name}")

    def pod_name(self, index: int) -> str:
        """Return a pod's name: as its controller would make it, or one that tells it isn't real."""
        if not self.made_up:
            return self.name
        if self.item.kind == "StatefulSet":
            return f"{self.name}-{index}"
        ending = f"-{MARK}-{index}"
        return self.name[: 253 - len(ending)].rstrip("-.") + ending


def read_workload(item: Item) -> Workload:
    """Return the pods that an object of `KINDS` would have.

    Raises:
        InputError: it is malformed, or the API server would refuse it; names object and field.
    """
    if item.api_version not in ("", KINDS.get(item.kind)):
        raise unknown(item)
    raw = decoded(item, dict[str, Any])
    if item.kind == "Pod":
        pod = decoded(item, _Pod)
        meta = pod.metadata or Metadata()
        return Workload(
            item,
            *_names(item, meta),
            path="spec",
            metadata=raw.get("metadata") or {},
            spec=raw["spec"],
            made_up=not meta.name,
        )
    if item.kind == "CronJob":
        job = decoded(item, _CronJob)
        spec, path = raw["spec"]["jobTemplate"]["spec"], "spec.jobTemplate.spec"
        return _controller(item, job.metadata, job.spec.job_template.spec, spec, path)
    read = decoded(item, _Controller)
    return _controller(item, read.metadata, read.spec, raw["spec"], "spec")


def decoded(item: Item, into: Any) -> Any:
    """Return an object in a wire form.

    Raises:
        InputError: it hasn't that form.
    """
    try:
        return item.decode(into)
    except (ValueError, RecursionError) as error:
        raise InputError(item.where, sentence(error)) from error


def unknown(item: Item) -> InputError:
    """Return the error for an object of which nobody here knows what pods it would have."""
    said = f"{item.api_version} {item.kind}".strip()
    problem = f"{printable(said)} makes no pods that are known here" if item.kind else "missing"
    return InputError(item.where, f"field kind: {problem}", ADVICE)


def uid(kind: str, namespace: str, name: str) -> str:
    """Return the UID of something that doesn't exist; equal for equal names."""
    digest = blake2b(f"{kind}/{namespace}/{name}".encode(), digest_size=8).hexdigest()
    return f"{MARK}-{digest}"


def _names(item: Item, meta: Metadata) -> tuple[str, str]:
    name = meta.name or (meta.generate_name or "").rstrip("-.")
    if not name:
        raise InputError(item.where, "field metadata.name: missing, and so is generateName")
    return meta.namespace or "default", name


def _controller(item: Item, meta: Metadata | None, read: _Spec, spec: Json, path: str) -> Workload:
    """Return the pods of a controller's spec: read, and as written."""
    namespace, name = _names(item, meta or Metadata())
    template = spec["template"]
    metadata = template.get("metadata") or {}
    labels = metadata.get("labels") or {}
    _check(item, read, template, labels)
    owner, added = _owner(item.kind, namespace, name)
    return Workload(
        item,
        namespace,
        name,
        path=f"{path}.template.spec",
        metadata={**metadata, "labels": labels | added},
        spec=template["spec"],
        count=_count(read),
        owner=owner,
        claims=tuple(spec.get("volumeClaimTemplates") or ()),
        suspended=bool(spec.get("suspend")) and item.kind == "Job",
    )


def _count(spec: _Spec) -> int:
    """Return how many pods there would be at once; of a Job no more than it has to complete."""
    wanted = (spec.replicas, spec.parallelism)
    count = next((n for n in wanted if n is not None), 1)
    return count if spec.completions is None else min(count, spec.completions)


def _check(item: Item, spec: _Spec, template: Json, labels: dict[str, str]) -> None:
    """Check what the API server asks of a template beyond what it asks of a pod."""
    if item.kind in ("Job", "CronJob"):
        if template["spec"].get("restartPolicy") not in ("OnFailure", "Never"):
            problem = "field template.spec.restartPolicy: must be OnFailure or Never in a Job"
            raise InputError(item.where, problem)
    elif item.kind != "ReplicationController" and not _selects(item, spec, labels):
        problem = "field spec.selector: doesn't select the labels of spec.template"
        raise InputError(item.where, problem)


def _selects(item: Item, spec: _Spec, labels: dict[str, str]) -> bool:
    try:
        selector = read_selector(msgspec.convert(spec.selector, wire.LabelSelector | None))
    except ValueError as error:
        raise InputError(item.where, f"field spec.selector: {error}") from error
    return selector is not None and bool(selector.requirements) and selects(selector, labels)


def _owner(kind: str, namespace: str, name: str) -> tuple[Json, dict[str, str]]:
    """Return the reference to what recreates a workload's pods, and the labels it adds."""
    added: dict[str, str] = {}
    if kind == "Deployment":
        kind, name, added = "ReplicaSet", f"{name}-{MARK}", {"pod-template-hash": MARK}
    if kind == "CronJob":
        kind, name = "Job", f"{name}-{MARK}"
    own = uid(kind, namespace, name)
    if kind == "Job":
        added = {
            f"{prefix}{key}": value
            for prefix in ("", "batch.kubernetes.io/")
            for key, value in (("job-name", name), ("controller-uid", own))
        }
    reference = {"apiVersion": KINDS[kind], "kind": kind, "name": name, "uid": own}
    return reference | {"controller": True}, added
