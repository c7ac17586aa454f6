"""Effective requests of a pod: what the scheduler counts against a node.

Source: k8s.io/component-helpers/resource `PodRequests`; KEP-753 (sidecars), KEP-1287 (in-place
resize), KEP-2837 (pod-level resources). With app containers A, init containers I in order and
sidecars (init containers with restartPolicy Always) S:

    running  = Σ A + Σ S
    starting = max over i in I of (i + Σ sidecars before i), a sidecar counting itself
    effective = max(running, starting), then the pod-level value where given, plus overhead

A container under resize counts max(spec, allocated, actual). A limit without a request is its
request, as the API server defaults it.
"""

from collections.abc import Mapping

from fairstow.cluster import quantity, wire
from fairstow.cluster.model import Resources

PODS = "pods"
_POD_LEVEL = ("cpu", "memory")


def effective(pod: wire.Pod) -> Resources:
    """Return the pod's effective requests, `pods` = 1 included, zero amounts left out.

    Raises:
        ValueError: a quantity is malformed; the message names the field.
    """
    spec, status = pod.spec, pod.status
    granted = {s.name: s for s in (status.container_statuses or ())} if status else {}
    granted |= {s.name: s for s in (status.init_container_statuses or ())} if status else {}
    running: dict[str, int] = {}
    for index, container in enumerate(spec.containers):
        _add(running, _container(container, granted, f"spec.containers[{index}]"))
    sidecars: dict[str, int] = {}
    starting: dict[str, int] = {}
    for index, container in enumerate(spec.init_containers or ()):
        wanted = _container(container, granted, f"spec.initContainers[{index}]")
        if container.restart_policy == "Always":
            _add(running, wanted)
            _add(sidecars, wanted)
            _raise_to(starting, sidecars)
        else:
            _add(wanted, sidecars)
            _raise_to(starting, wanted)
    _raise_to(running, starting)
    running |= {
        name: amount
        for name, amount in _resources(spec.resources, "spec.resources").items()
        if name in _POD_LEVEL or name.startswith("hugepages-")
    }
    _add(running, parse_all(spec.overhead, "spec.overhead"))
    running[PODS] = 1
    return tuple(sorted((name, amount) for name, amount in running.items() if amount))


def parse_all(quantities: wire.Quantities, field: str) -> dict[str, int]:
    """Parse a resource list; the error names `field` and the resource."""
    parsed = {}
    for name, value in (quantities or {}).items():
        try:
            parsed[name] = quantity.parse(name, str(value))
        except ValueError as error:
            raise ValueError(f"{field}.{name}: {error}") from None
    return parsed


def _container(
    container: wire.Container, granted: Mapping[str, wire.ContainerStatus], field: str
) -> dict[str, int]:
    wanted = _resources(container.resources, f"{field}.resources")
    status = granted.get(container.name)
    if status is not None:
        where = f"status of container {container.name}"
        _raise_to(wanted, parse_all(status.allocated_resources, where))
        if status.resources is not None:
            _raise_to(wanted, parse_all(status.resources.requests, where))
    return wanted


def _resources(resources: wire.ResourceRequirements | None, field: str) -> dict[str, int]:
    if resources is None:
        return {}
    limits = parse_all(resources.limits, f"{field}.limits")
    return limits | parse_all(resources.requests, f"{field}.requests")


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


def _raise_to(floor: dict[str, int], other: Mapping[str, int]) -> None:
    for name, amount in other.items():
        floor[name] = max(floor.get(name, 0), amount)
