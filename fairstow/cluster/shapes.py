"""A pod's spec as the `Shape` that decides where it may run.

Who calls it: `reading.Reader`, once a pod. Selectors are read into one form, so that equal rules
are equal records however they were written.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fairstow.cluster import wire
from fairstow.cluster.model import (
    HostPort,
    NodeTerm,
    PodTerm,
    Requirement,
    Selector,
    Shape,
    Spread,
    Toleration,
)
from fairstow.cluster.requests import effective, resized
from fairstow.cluster.selectors import LABEL_OPERATORS, NODE_OPERATORS
from fairstow.cluster.volumes import read_volumes

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - a host port's address, nothing binds to it
# Gangs that aren't modelled; those that are: `gangs`.
_GANG_LABELS = (
    "pod-group-name",  # KAI
    "yunikorn.apache.org/task-group-name",
    "leaderworkerset.sigs.k8s.io/name",
)
_POLICIES = {"Honor": True, "Ignore": False}


def read_shape(raw: wire.Pod, intern: Callable[[Any], Any]) -> Shape:
    """Return the shape of a pod; `intern` returns the shared one of equal parts.

    Raises:
        ValueError: a field is malformed; the message names it.
    """
    spec = raw.spec
    affinity = spec.affinity or wire.Affinity()
    wanted = (
        affinity.node_affinity or wire.NodeAffinity()
    ).required_during_scheduling_ignored_during_execution
    volumes = read_volumes(spec.volumes or ())
    near, apart = _pod_terms(affinity.pod_affinity), _pod_terms(affinity.pod_anti_affinity)
    spread = tuple(_spread(spec, dict(raw.metadata.labels or {})))
    ports, features = _host_ports(spec), _features(spec)
    uses = {
        "required pod affinity": near,
        "required pod anti-affinity": apart,
        "topology spread (DoNotSchedule)": spread,
        "host ports": any(p.host_port for c in _containers(spec) for p in c.ports or ()) or ports,
        "features that its node must declare": features,
        "resource claims (DRA)": spec.resource_claims,
        "an unfinished in-place resize": resized(raw),
        "gang scheduling": _in_gang(raw),
    }
    return Shape(
        requests=intern(effective(raw)),
        node_selector=intern(tuple(sorted((spec.node_selector or {}).items()))),
        node_affinity=None if wanted is None else read_node_terms(wanted),
        tolerations=tuple(intern(_toleration(t)) for t in spec.tolerations or ()),
        anti_affinity=apart,
        unmodelled=(*(name for name, used in uses.items() if used), *volumes.unmodelled),
        local_storage=volumes.local,
        priority=spec.priority or 0,
        preempts=spec.preemption_policy != "Never",
        scheduler=spec.scheduler_name or "default-scheduler",
        affinity=near,
        spread=spread,
        host_ports=ports,
        claims=volumes.claims,
        features=features,
    )


def read_selector(raw: wire.LabelSelector | None) -> Selector | None:
    """Return a label selector in one form: `matchLabels` are `In` requirements."""
    if raw is None:
        return None
    equal = [Requirement(k, "In", (v,)) for k, v in sorted((raw.match_labels or {}).items())]
    return Selector(
        (*equal, *_requirements(raw.match_expressions, "matchExpressions", LABEL_OPERATORS))
    )


def read_node_terms(raw: wire.NodeSelector) -> tuple[NodeTerm, ...]:
    """Return a node selector's terms, of which one must match."""
    return tuple(
        NodeTerm(
            _requirements(t.match_expressions, "nodeSelectorTerms.matchExpressions"),
            _requirements(t.match_fields, "nodeSelectorTerms.matchFields"),
        )
        for t in raw.node_selector_terms or ()
    )


def _requirements(
    raw: Iterable[wire.Requirement] | None,
    field: str,
    operators: frozenset[str] = NODE_OPERATORS,
) -> tuple[Requirement, ...]:
    read = []
    for requirement in raw or ():
        if requirement.operator not in operators:
            known = ", ".join(sorted(operators))
            raise ValueError(f"{field}.operator: {requirement.operator!r} is none of {known}")
        read.append(
            Requirement(requirement.key, requirement.operator, tuple(requirement.values or ()))
        )
    return tuple(read)


def _toleration(raw: wire.Toleration) -> Toleration:
    return Toleration(raw.key or "", raw.operator or "Equal", raw.value or "", raw.effect or "")


def _pod_terms(raw: wire.PodAffinity | None) -> tuple[PodTerm, ...]:
    terms = raw.required_during_scheduling_ignored_during_execution if raw else None
    return tuple(
        PodTerm(
            selector=read_selector(term.label_selector),
            topology_key=term.topology_key,
            namespaces=tuple(term.namespaces or ()),
            namespace_selector=read_selector(term.namespace_selector),
        )
        for term in terms or ()
    )


def _spread(spec: wire.PodSpec, labels: Mapping[str, str]) -> Iterable[Spread]:
    for constraint in spec.topology_spread_constraints or ():
        if constraint.when_unsatisfiable != "DoNotSchedule":
            continue
        selector = read_selector(constraint.label_selector)
        if selector is not None:
            same = [
                Requirement(key, "In", (labels[key],))
                for key in constraint.match_label_keys or ()
                if key in labels
            ]
            # The API server has merged them already, unless its version is older than 1.34.
            added = [r for r in same if r not in selector.requirements]
            selector = Selector((*selector.requirements, *added))
        yield Spread(
            topology_key=constraint.topology_key,
            selector=selector,
            max_skew=constraint.max_skew,
            min_domains=constraint.min_domains or 1,
            honor_affinity=_POLICIES.get(constraint.node_affinity_policy or "", True),
            honor_taints=_POLICIES.get(constraint.node_taints_policy or "", False),
        )


def _containers(spec: wire.PodSpec) -> tuple[wire.Container, ...]:
    return (*spec.containers, *(spec.init_containers or ()))


def _host_ports(spec: wire.PodSpec) -> tuple[HostPort, ...]:
    """Return the node's ports that a pod takes while it runs: of containers and of sidecars."""
    lasting = [
        *spec.containers,
        *(c for c in spec.init_containers or () if c.restart_policy == "Always"),
    ]
    found = {
        HostPort(p.host_ip or ANY_ADDRESS, p.protocol or "TCP", port)
        for c in lasting
        for p in c.ports or ()
        if (port := p.host_port or (p.container_port if spec.host_network else 0) or 0) > 0
    }
    return tuple(sorted(found, key=lambda p: (p.port, p.protocol, p.address)))


def _features(spec: wire.PodSpec) -> tuple[str, ...]:
    """Return what a node must declare to run the pod (component-helpers/nodedeclaredfeatures)."""
    containers = _containers(spec)
    needs = {
        "RestartAllContainersOnContainerExits": any(
            rule.action == "RestartAllContainers"
            for c in containers
            for rule in c.restart_policy_rules or ()
        ),
        "UserNamespacesHostNetworkSupport": spec.host_network and spec.host_users is False,
        "VolumeBindMountOptions": any(
            mount.bind_mount_options for c in containers for mount in c.volume_mounts or ()
        ),
    }
    return tuple(name for name, needed in needs.items() if needed)


def _in_gang(raw: wire.Pod) -> bool:
    spec, meta = raw.spec, raw.metadata
    return bool(spec.workload_ref or spec.scheduling_group) or any(
        key in _GANG_LABELS for key in (*(meta.labels or ()), *(meta.annotations or ()))
    )
