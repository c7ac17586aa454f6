"""Effective requests: the room a pod takes on its node.

Source: PodRequests in k8s.io/component-helpers/resource (1.37); sidecars KEP-753, in-place
resize KEP-1287, pod-level resources KEP-2837. Stricter in one point: a resize the kubelet found
infeasible still counts, since a pod that is recreated asks for its spec.
"""

from collections.abc import Callable
from fractions import Fraction

from fairstow.packing.checker.fields import Fields
from fairstow.packing.checker.quantity import Amounts, in_scheduler_units, read_amounts

_Getter = Callable[[Fields], Amounts]


def effective_requests(spec: Fields, status: Fields) -> dict[str, int]:
    """Return what a pod asks for, per resource in the scheduler's units; zeros are left out."""
    statuses = {
        each.text("name"): each
        for key in ("initContainerStatuses", "containerStatuses")
        for each in status.maps(key)
    }

    def allocated(container: Fields) -> Amounts:
        seen = statuses.get(container.text("name"))
        if seen is not None and seen.has("allocatedResources"):
            return read_amounts(seen, "allocatedResources")
        return _declared(container)

    def actuated(container: Fields) -> Amounts:
        seen = statuses.get(container.text("name"))
        if seen is not None and seen.map("resources").has("requests"):
            return read_amounts(seen.map("resources"), "requests")
        return allocated(container)

    at_pod_level = (
        read_amounts(status, "allocatedResources"),
        read_amounts(status.map("resources"), "requests"),
    )
    getters: tuple[_Getter, ...] = (_declared, allocated, actuated)
    total = _largest(*(_aggregate(spec, getter) for getter in getters), *at_pod_level)
    declared_for_pod = read_amounts(spec.map("resources"), "requests")
    for name, amount in _largest(declared_for_pod, *at_pod_level).items():
        if name in declared_for_pod and _counts_at_pod_level(name):
            total[name] = amount
    total = _sum(total, read_amounts(spec, "overhead"))
    return {name: amount for name, amount in in_scheduler_units(total).items() if amount}


def _declared(container: Fields) -> Amounts:
    """The API server's default: a limit without a request is also the request."""
    resources = container.map("resources")
    return read_amounts(resources, "limits") | read_amounts(resources, "requests")


def _aggregate(spec: Fields, amounts_of: _Getter) -> Amounts:
    """Containers and sidecars together, or the hungriest moment of initialisation if larger."""
    running: Amounts = {}
    for container in spec.maps("containers"):
        running = _sum(running, amounts_of(container))
    sidecars: Amounts = {}
    starting: Amounts = {}
    for container in spec.maps("initContainers"):
        amounts = amounts_of(container)
        if container.text("restartPolicy") == "Always":
            running, sidecars = _sum(running, amounts), _sum(sidecars, amounts)
        else:
            starting = _largest(starting, _sum(sidecars, amounts))
    return _largest(running, starting)


def _counts_at_pod_level(name: str) -> bool:
    return name in ("cpu", "memory") or name.startswith("hugepages-")


def _sum(left: Amounts, right: Amounts) -> Amounts:
    return {
        name: left.get(name, Fraction(0)) + right.get(name, Fraction(0)) for name in left | right
    }


def _largest(*lists: Amounts) -> Amounts:
    found: Amounts = {}
    for amounts in lists:
        for name, amount in amounts.items():
            found[name] = max(found.get(name, amount), amount)
    return found
