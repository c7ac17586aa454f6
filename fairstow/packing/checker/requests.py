"""Effective requests: the room a pod takes on its node.

Source: PodRequests in k8s.io/component-helpers/resource (1.37); sidecars KEP-753, in-place
resize KEP-1287, pod-level resources KEP-2837.
"""

from collections.abc import Callable
from fractions import Fraction

from fairstow.packing.checker.fields import Fields
from fairstow.packing.checker.quantity import Amounts, in_scheduler_units, read_amounts


def effective_requests(spec: Fields, status: Fields, *, arriving: bool) -> dict[str, int]:
    """Return what a pod asks for, per resource in the scheduler's units; zeros are left out.

    A running pod holds the largest of what it declares, was allocated and actually has, without
    the first if the kubelet found its resize infeasible. A pod that arrives (again) asks for what
    it declares in any case.
    """
    declares = arriving or not resize_infeasible(status)
    statuses = {
        each.text("name"): each
        for key in ("initContainerStatuses", "containerStatuses")
        for each in status.maps(key)
    }

    def declared(container: Fields) -> Amounts:
        # The API server's default: a limit without a request is also the request.
        resources = container.map("resources")
        found = read_amounts(resources, "limits") | read_amounts(resources, "requests")
        return found if declares else {}

    def allocated(container: Fields) -> Amounts:
        seen = statuses.get(container.text("name"))
        if seen is not None and seen.has("allocatedResources"):
            return read_amounts(seen, "allocatedResources")
        return declared(container)

    def actual(container: Fields) -> Amounts:
        seen = statuses.get(container.text("name"))
        if seen is not None and seen.map("resources").has("requests"):
            return read_amounts(seen.map("resources"), "requests")
        return allocated(container)

    of_pod = _largest(
        read_amounts(status, "allocatedResources"),
        read_amounts(status.map("resources"), "requests"),
    )
    total = _largest(*(_aggregate(spec, each) for each in (declared, allocated, actual)), of_pod)
    declared_of_pod = read_amounts(spec.map("resources"), "requests")
    limit = _largest(of_pod, declared_of_pod if declares or not of_pod else {})
    total |= {n: limit[n] for n in declared_of_pod if n in limit and _counts_at_pod_level(n)}
    total = _sum(total, read_amounts(spec, "overhead"))
    return {name: amount for name, amount in in_scheduler_units(total).items() if amount}


def resize_infeasible(status: Fields) -> bool:
    """Whether the kubelet found that the pod's resize can't be had on its node."""
    return any(
        (c.text("type"), c.text("reason")) == ("PodResizePending", "Infeasible")
        for c in status.maps("conditions")
    )


def _aggregate(spec: Fields, amounts_of: Callable[[Fields], Amounts]) -> Amounts:
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
