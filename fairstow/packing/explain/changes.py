"""Changes that lift one rule: which there are for a refusal, how they are made, how they are told.

Used by `survey`, which asks the rules again after each, so that none is offered untried.
"""

from collections.abc import Callable, Iterator, Sequence

from msgspec.structs import replace

from fairstow.cluster.model import Node, Pod, PodTerm, Shape, Toleration
from fairstow.cluster.rules import Refusal, Rule, untolerated
from fairstow.packing.explain.amounts import exact
from fairstow.packing.explain.model import Change, Relaxation
from fairstow.packing.explain.words import all_pods, names, port

CORDON_TAINT = "node.kubernetes.io/unschedulable"
_SYSTEM_TAINTS = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")

Key = tuple[Change, str, str]
"""A change with its key and value, as in `Relaxation`."""

Skew = Callable[[int, Node], int]
"""To what skew a pod would bring a node's domain, by the constraint with that number."""


def changes(pod: Pod, node: Node, refusal: Refusal, skew: Skew) -> Iterator[Key]:
    """Yield changes of which one may lift a node's one refusal."""
    shape = pod.shape
    match refusal.rule:
        case Rule.CORDONED:
            yield Change.UNCORDON, node.name, ""
        case Rule.TAINT if (taint := untolerated(shape, node)) is not None:
            if taint.key == CORDON_TAINT:
                yield Change.UNCORDON, node.name, ""
            else:
                yield Change.TOLERATE, taint.key, taint.value
        case Rule.AFFINITY:
            wrong = [p for p in shape.node_selector if node.labels.get(p[0]) != p[1]]
            yield (Change.SELECTOR, *wrong[0]) if wrong else (Change.AFFINITY, "", "")
        case Rule.PORTS:
            yield from ((Change.PORT, port(p), "") for p in shape.host_ports)
        case Rule.SPREAD:
            yield from _spread(shape, node, skew)
        case Rule.POD_AFFINITY:
            yield from _terms(Change.NEAR, shape.affinity)
        case Rule.OWN_ANTI_AFFINITY:
            yield from _terms(Change.APART, shape.anti_affinity)
        case _:
            pass


def _spread(shape: Shape, node: Node, skew: Skew) -> Iterator[Key]:
    for index, rule in enumerate(shape.spread):
        if rule.topology_key not in node.labels:
            yield Change.SPREAD, rule.topology_key, ""
        elif (needed := skew(index, node)) > rule.max_skew:
            yield Change.SKEW, rule.topology_key, str(needed)


def _terms(change: Change, of: Sequence[PodTerm]) -> Iterator[Key]:
    return ((change, term.topology_key, str(index)) for index, term in enumerate(of))


def sensible(pod: Pod, key: Key) -> bool:
    """Whether to offer a change to people, beyond showing the rule that it would lift.

    Not the toleration of a node in trouble; not a cordon where the pod's spread counts nodes by
    their taints, so that uncordoning changes what is asked of all nodes.
    """
    if key[0] is Change.UNCORDON:
        return not any(rule.honor_taints for rule in pod.shape.spread)
    return key[0] is not Change.TOLERATE or not key[1].startswith(_SYSTEM_TAINTS)


def changed(pod: Pod, change: Change, key: str, value: str) -> Pod:
    """Return the pod with one change made to it; `Change.UNCORDON` is a node's."""
    return replace(pod, shape=_shape(pod.shape, change, key, value))


def _shape(shape: Shape, change: Change, key: str, value: str) -> Shape:
    match change:
        case Change.REQUEST:
            requests = tuple((r, int(value) if r == key else a) for r, a in shape.requests)
            return replace(shape, requests=requests)
        case Change.TOLERATE:
            toleration = Toleration(key, "Equal", value, "")
            return replace(shape, tolerations=(*shape.tolerations, toleration))
        case Change.SELECTOR:
            kept = tuple(pair for pair in shape.node_selector if pair[0] != key)
            return replace(shape, node_selector=kept)
        case Change.AFFINITY:
            return replace(shape, node_affinity=None)
        case Change.PORT:
            return replace(shape, host_ports=tuple(p for p in shape.host_ports if port(p) != key))
        case Change.SKEW:
            spread = tuple(
                replace(r, max_skew=int(value)) if r.topology_key == key else r
                for r in shape.spread
            )
            return replace(shape, spread=spread)
        case Change.SPREAD:
            return replace(shape, spread=tuple(r for r in shape.spread if r.topology_key != key))
        case Change.NEAR:
            return replace(shape, affinity=_without(shape.affinity, int(value)))
        case Change.APART:
            return replace(shape, anti_affinity=_without(shape.anti_affinity, int(value)))
        case Change.UNCORDON:
            return shape


def _without(of: tuple[PodTerm, ...], index: int) -> tuple[PodTerm, ...]:
    return of[:index] + of[index + 1 :]


def uncordoned(node: Node) -> Node:
    """Return the node as `kubectl uncordon` leaves it."""
    taints = tuple(t for t in node.taints if t.key != CORDON_TAINT)
    return replace(node, unschedulable=False, taints=taints)


def relaxation(shape: Shape, key: Key, nodes: tuple[str, ...]) -> Relaxation:
    """Return a change to a pod of that shape as it is offered."""
    return Relaxation(*key, nodes, f"{_told(shape, *key)} → {_have_room(key, nodes)}")


def _told(shape: Shape, change: Change, key: str, value: str) -> str:
    pair = f"{key}={value}" if value else key
    match change:
        case Change.REQUEST:
            asked = dict(shape.requests)[key]
            return f"ask for {exact(key, int(value))} instead of {exact(key, asked)} {key}"
        case Change.UNCORDON:
            return f"uncordon {key}"
        case Change.TOLERATE:
            return f"tolerate the taint {pair}"
        case Change.SELECTOR:
            return f"drop the nodeSelector {pair}"
        case Change.AFFINITY:
            return "drop the required node affinity"
        case Change.PORT:
            return f"do without host port {key}"
        case Change.SKEW:
            (now,) = {r.max_skew for r in shape.spread if r.topology_key == key}
            return f"raise maxSkew of the topology spread by {key} from {now} to {value}"
        case Change.SPREAD:
            return f"drop the topology spread by {key}"
        case Change.NEAR:
            term = shape.affinity[int(value)]
            return f"drop the required affinity to {all_pods(term)} by {key}"
        case Change.APART:
            term = shape.anti_affinity[int(value)]
            return f"drop the required anti-affinity to {all_pods(term)} by {key}"


def _have_room(key: Key, nodes: tuple[str, ...]) -> str:
    if key[0] is Change.UNCORDON:
        return "it has room"
    if len(nodes) == 1:
        return f"fits on {nodes[0]}"
    return f"{len(nodes)} nodes have room ({names(nodes)})"
