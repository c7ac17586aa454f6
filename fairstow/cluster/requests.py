"""Effective requests of a pod: what the scheduler counts against a node.

Source: k8s.io/component-helpers/resource `PodRequests`; KEP-753 (sidecars), KEP-1287 (in-place
resize), KEP-2837 (pod-level resources). With app containers A, init containers I in order and
sidecars (init containers with restartPolicy Always) S:

    running  = Σ A + Σ S
    starting = max over i in I of (i + Σ sidecars before i), a sidecar counting itself
    total    = max(running, starting)

under each of three views of a container: what the spec asks for, what the kubelet has allocated
and what is in force. They differ during an in-place resize; the largest counts, without the
spec's where the node has called the resize infeasible. Then the pod-level value where given,
plus overhead. A limit without a request is its request, as the API server defaults it.
"""

from collections.abc import Iterable, Mapping

from fairstow.cluster import quantity, wire
from fairstow.cluster.model import Resources

PODS = "pods"
_POD_LEVEL = ("cpu", "memory")
Amounts = dict[str, int]


def effective(pod: wire.Pod) -> Resources:
    """Return the pod's effective requests, `pods` = 1 included, zero amounts left out.

    Raises:
        ValueError: a quantity is malformed or their sum absurd; the message names the field.
    """
    spec, status = pod.spec, pod.status or wire.PodStatus()
    infeasible = _resize_is_infeasible(status)
    total = {} if infeasible else _aggregate(spec, [_asked(c, w) for c, w in _containers(spec)])
    if infeasible or _is_resized(spec, status):
        _raise_to(total, _granted(spec, status, infeasible))
    level = _pod_level(spec, status, infeasible)
    total |= {n: a for n, a in level.items() if n in _POD_LEVEL or n.startswith("hugepages-")}
    _add(total, parse_all(spec.overhead, "spec.overhead"))
    total[PODS] = 1
    for name, amount in total.items():
        if amount > quantity.MAX:
            raise ValueError(f"spec.containers: requests of {name} sum up beyond int64")
    return tuple(sorted((name, amount) for name, amount in total.items() if amount))


def resized(pod: wire.Pod) -> bool:
    """Whether an in-place resize under way makes it hold something else than its spec asks for.

    What a replacement would ask for is then unknown.

    Raises:
        ValueError: as `effective`.
    """
    spec, status = pod.spec, pod.status
    if status is None or not (
        status.resources is not None or _resize_is_infeasible(status) or _is_resized(spec, status)
    ):
        return False
    return effective(pod) != effective(wire.Pod(pod.metadata, spec))


def parse_all(quantities: wire.Quantities, field: str) -> Amounts:
    """Parse a resource list; the error names `field` and the resource."""
    parsed = {}
    for name, value in (quantities or {}).items():
        try:
            parsed[name] = quantity.parse(name, str(value))
        except ValueError as error:
            raise ValueError(f"{field}.{name}: {error}") from None
    return parsed


def _containers(spec: wire.PodSpec) -> Iterable[tuple[wire.Container, str]]:
    """Yield app containers, then init containers, each with the field it is found at."""
    for index, container in enumerate(spec.containers):
        yield container, f"spec.containers[{index}]"
    for index, container in enumerate(spec.init_containers or ()):
        yield container, f"spec.initContainers[{index}]"


def _aggregate(spec: wire.PodSpec, amounts: list[Amounts]) -> Amounts:
    """Return max(running, starting) of containers in the order of `_containers`."""
    apps = len(spec.containers)
    running: Amounts = {}
    for wanted in amounts[:apps]:
        _add(running, wanted)
    sidecars: Amounts = {}
    starting: Amounts = {}
    for container, wanted in zip(spec.init_containers or (), amounts[apps:], strict=True):
        if container.restart_policy == "Always":
            _add(running, wanted)
            _add(sidecars, wanted)
            _raise_to(starting, sidecars)
        else:
            together = dict(wanted)
            _add(together, sidecars)
            _raise_to(starting, together)
    _raise_to(running, starting)
    return running


def _asked(container: wire.Container, field: str) -> Amounts:
    resources = container.resources
    if resources is None:
        return {}
    requests = parse_all(resources.requests, f"{field}.resources.requests")
    if resources.limits is None:
        return requests
    return parse_all(resources.limits, f"{field}.resources.limits") | requests


def _resize_is_infeasible(status: wire.PodStatus) -> bool:
    return any(
        c.type == "PodResizePending" and c.reason == "Infeasible" for c in status.conditions or ()
    )


def _statuses(status: wire.PodStatus) -> Iterable[wire.ContainerStatus]:
    yield from status.init_container_statuses or ()
    yield from status.container_statuses or ()


def _is_resized(spec: wire.PodSpec, status: wire.PodStatus) -> bool:
    """Whether any container's status says something else than its spec."""
    asked = {c.name: c.resources.requests if c.resources else None for c, _ in _containers(spec)}
    return status.allocated_resources is not None or any(
        granted is not None and granted != (asked.get(s.name) or {})
        for s in _statuses(status)
        for granted in (s.allocated_resources, s.resources.requests if s.resources else None)
    )


def _granted(spec: wire.PodSpec, status: wire.PodStatus, infeasible: bool) -> Amounts:
    """Return the larger of what is allocated and what is in force; each falls back on the next."""
    whole = status.resources.requests if status.resources else None
    if status.allocated_resources is not None and whole is not None:
        total = parse_all(status.allocated_resources, "status.allocatedResources")
        _raise_to(total, parse_all(whole, "status.resources.requests"))
        return total
    by_name = {s.name: s for s in _statuses(status)}
    allocated: list[Amounts] = []
    actual: list[Amounts] = []
    for container, field in _containers(spec):
        found = by_name.get(container.name, wire.ContainerStatus())
        where = f"status of container {container.name}"
        asked = {} if infeasible else _asked(container, field)
        grant = found.allocated_resources
        allocated.append(asked if grant is None else parse_all(grant, where))
        force = found.resources.requests if found.resources else None
        actual.append(allocated[-1] if force is None else parse_all(force, where))
    total = _aggregate(spec, allocated)
    _raise_to(total, _aggregate(spec, actual))
    return total


def _pod_level(spec: wire.PodSpec, status: wire.PodStatus, infeasible: bool) -> Amounts:
    if spec.resources is None or not spec.resources.requests:
        return {}
    asked = parse_all(spec.resources.requests, "spec.resources.requests")
    if status.resources is None:
        return asked
    total = {} if infeasible else asked
    _raise_to(total, parse_all(status.resources.requests, "status.resources.requests"))
    _raise_to(total, parse_all(status.allocated_resources, "status.allocatedResources"))
    return total


def _add(total: Amounts, more: Mapping[str, int]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


def _raise_to(floor: Amounts, other: Mapping[str, int]) -> None:
    for name, amount in other.items():
        floor[name] = max(floor.get(name, 0), amount)
