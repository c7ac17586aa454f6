"""What the API server would make of a pod's manifest before a scheduler sees it.

Called by `what_if`, for pods that nobody has submitted yet. Only what placement depends on:
priority (plugin Priority), requests from limits, tolerations (plugin DefaultTolerationSeconds),
label keys in affinity (KEP-3633), and what would be refused outright. LimitRanges, quotas and
webhooks may change or refuse pods too: whoever shows a result says that they aren't considered.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fairstow.cluster import wire
from fairstow.cluster.errors import printable
from fairstow.cluster.quantity import CPU, parse
from fairstow.cluster.requests import effective

Json = dict[str, Any]

_BUILT_IN = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
_PREEMPT = "PreemptLowerPriority"
_NATIVE = ("cpu", "memory", "ephemeral-storage")
_POD_LEVEL = ("cpu", "memory")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_LABEL_KEYS = (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn"))
_LASTING = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


@dataclass(frozen=True)
class _Class:
    value: int
    policy: str


@dataclass
class PriorityClasses:
    """The priority classes of a cluster. Attributes: known: whether all of them were seen."""

    known: bool = False
    by_name: dict[str, _Class] = field(
        default_factory=lambda: {n: _Class(v, _PREEMPT) for n, v in _BUILT_IN.items()}
    )
    default: tuple[int, str] | None = None

    def add(self, raw: wire.PriorityClass) -> None:
        """Take a class in; of several global defaults the lowest counts, as in the plugin."""
        name = raw.metadata.name
        self.by_name[name] = _Class(raw.value, raw.preemption_policy or _PREEMPT)
        if raw.global_default:
            self.default = min(self.default or (raw.value, name), (raw.value, name))

    def admit(self, spec: Json) -> None:
        """Set priority and preemptionPolicy.

        Raises:
            ValueError: no such class, or the pod contradicts it; the message names the field.
        """
        name = spec.get("priorityClassName") or (self.default[1] if self.default else "")
        if name and name not in self.by_name:
            there = ", ".join(sorted(self.by_name.keys() - _BUILT_IN))
            raise ValueError(
                f"priorityClassName: there is no PriorityClass {printable(name)} "
                + (f"(there are: {printable(there)})" if there else "in the input")
                + ("" if self.known else "; the input holds no PriorityClasses at all: add them")
            )
        found = self.by_name[name] if name else _Class(0, _PREEMPT)
        for key, value in (("priority", found.value), ("preemptionPolicy", found.policy)):
            if spec.get(key) not in (None, value):
                of = f"its class {name}" if name else "a pod without priorityClassName"
                raise ValueError(
                    f"{key}: {spec[key]} isn't that of {of} ({value}); the API server refuses that"
                )
            spec[key] = value
        if name:
            spec["priorityClassName"] = name


def admit(metadata: Json, spec: Json, classes: PriorityClasses) -> None:
    """Check a pod's spec (of the right types) and fill in defaults, in place.

    Raises:
        ValueError: the API server would refuse the pod, or nobody would schedule it; the message
            begins with the field's path within the spec.
    """
    if not spec.get("containers"):
        raise ValueError("containers: empty; a pod has at least one")
    if spec.get("nodeName"):
        raise ValueError("nodeName: set, so no scheduler decides where the pod runs; leave it out")
    classes.admit(spec)
    for where, container in _containers(spec):
        _admit_resources(container.get("resources") or {}, f"{where}.resources", in_pod=False)
        _default_requests(container)
    _admit_resources(spec.get("resources") or {}, "resources", in_pod=True)
    _default_pod_requests(spec)
    _default_tolerations(spec)
    _merge_label_keys(metadata.get("labels") or {}, spec)


def check_quantities(pod: wire.Pod) -> None:
    """Check what `admit` doesn't look at: overhead, and that the sum can be stored.

    Raises:
        ValueError: as `requests.effective`.
    """
    effective(pod)


def _containers(spec: Json) -> Iterator[tuple[str, Json]]:
    for key in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(key) or ()):
            yield f"{key}[{index}]", container


def _admit_resources(resources: Json, where: str, *, in_pod: bool) -> None:
    """Check names, amounts, and requests against limits (apis/core/validation)."""
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    exact = {}
    for kind, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            at = f"{where}.{kind}.{printable(name)}"
            exact[kind, name] = _amount(name, amount, at)
            huge = name.startswith("hugepages-")
            if not (name in (_POD_LEVEL if in_pod else _NATIVE) or huge) and (
                in_pod or "/" not in name
            ):
                raise ValueError(f"{at}: there is no such resource; GPUs are nvidia.com/gpu")
    for name in requests:
        at, asked = f"{where}.requests.{printable(name)}", exact["requests", name]
        limit = exact.get(("limits", name))
        if _never_overcommitted(name) and limit != asked:
            raise ValueError(f"{at}: this resource needs a limit, and an equal one")
        if limit is not None and asked > limit:
            raise ValueError(f"{at}: {requests[name]} is more than its limit {limits[name]}")


def _never_overcommitted(name: str) -> bool:
    return name.startswith("hugepages-") or ("/" in name and "kubernetes.io/" not in name)


def _amount(name: str, amount: Any, at: str) -> int:
    """Return an amount to compare by: the scheduler's units."""
    try:
        value = parse(name, str(amount))
        if "/" in name and parse(CPU, str(amount)) % 1000:
            raise ValueError(f"{amount} isn't a whole number, as this resource is counted")
    except ValueError as error:
        raise ValueError(f"{at}: {error}") from None
    return value


def _default_requests(container: Json) -> None:
    resources = container.get("resources") or {}
    if resources.get("limits"):
        asked = dict(resources["limits"]) | (resources.get("requests") or {})
        container["resources"] = {**resources, "requests": asked}


def _default_pod_requests(spec: Json) -> None:
    """KEP-2837: a pod-level limit is the request of what no container asks for."""
    resources = spec.get("resources") or {}
    asked = {
        name
        for _, container in _containers(spec)
        for name in (container.get("resources") or {}).get("requests") or ()
        if not name.startswith("hugepages-")
    }
    more = {n: a for n, a in (resources.get("limits") or {}).items() if n not in asked}
    if more:
        spec["resources"] = {**resources, "requests": more | (resources.get("requests") or {})}


def _default_tolerations(spec: Json) -> None:
    given = list(spec.get("tolerations") or ())
    for key in _LASTING:
        if not any(
            t.get("key") in (key, None, "") and t.get("effect") in ("NoExecute", None, "")
            for t in given
        ):
            given.append(
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            )
    spec["tolerations"] = given


def _merge_label_keys(labels: Json, spec: Json) -> None:
    affinity = spec.get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        for term in (affinity.get(kind) or {}).get(_REQUIRED) or ():
            lines = [
                {"key": key, "operator": operator, "values": [labels[key]]}
                for field_name, operator in _LABEL_KEYS
                for key in term.get(field_name) or ()
                if key in labels
            ]
            if lines and term.get("labelSelector") is not None:
                selector = term["labelSelector"]
                selector["matchExpressions"] = [*(selector.get("matchExpressions") or ()), *lines]
