"""Which pods stand where, and what all of the scheduler's filters say about the next one.

Who calls it: whatever places pods one after the other and takes them back. `Rules` judges what
doesn't change while pods come and go; `State` judges everything. Each arrival or departure costs
what it touches, and is undone by its inverse. Source: the default plugins of kube-scheduler 1.37
but for DynamicResources (KEP-4381).

Stricter than the scheduler: nodes that aren't Ready or are being removed take nothing (`rules`);
pods nominated to a node hold their room there whatever their priority; volumes as in
`attachments`; a rule not modelled refuses.
"""

from collections.abc import Iterator, Mapping

from fairstow.cluster import quantity
from fairstow.cluster.attachments import Attachments
from fairstow.cluster.kept import for_whom
from fairstow.cluster.model import HostPort, Node, Pod, PodTerm
from fairstow.cluster.rules import Deficit, Refusal, Rule, covers, deficits, kept_out, node_refusals
from fairstow.cluster.selectors import selects
from fairstow.cluster.shapes import ANY_ADDRESS
from fairstow.cluster.snapshot import Snapshot
from fairstow.cluster.tallies import AffinityTally, Kind, SpreadTally, Tallies, TermTally, add

JUDGED = frozenset(
    {
        "required pod affinity",
        "required pod anti-affinity",
        "topology spread (DoNotSchedule)",
        "host ports",
        "features that its node must declare",
        "persistentVolumeClaim volume",
        "ephemeral volume",
        "csi volume",  # inline: no filter asks about it
    }
)
"""Of `Shape.unmodelled`, what a `State` judges, and plans therefore place and move pods by."""

Guard = tuple[PodTerm, str]
"""A term of a placed pod's anti-affinity, and that pod's namespace."""


class State:
    """Pods on nodes, changed by `add` and `remove`.

    Pods of the snapshot are where it says; what terminates holds its room, what is nominated
    waits beside its node: no arrival may need it there, none may need it gone. Room that is kept
    for pods to come (`Snapshot.kept_on`) isn't free.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._namespaces = snapshot.namespaces
        self._nodes = snapshot.node_by_name
        self._home: dict[str, Node] = {}
        self._waiting: dict[str, dict[str, Pod]] = {}
        self._kept = snapshot.kept_on
        self._free = {n.name: dict(n.allocatable) for n in snapshot.nodes}
        for name, rooms in self._kept.items():
            left = self._free.get(name, {})
            for resource, amount in (each for room in rooms for each in room.requests):
                left[resource] = left.get(resource, 0) - amount
        self._ports: dict[str, dict[HostPort, int]] = {n.name: {} for n in snapshot.nodes}
        self._guards: dict[Guard, dict[str, int]] = {}
        self._guarding: dict[Kind, tuple[int, list[Guard]]] = {}
        self._attachments = Attachments(snapshot)
        self._tallies = Tallies()
        for pod in snapshot.pods:
            if pod.home in self._nodes:
                self.add(pod, self._nodes[pod.home])

    def home(self, pod: Pod) -> Node | None:
        """Return the node a pod stands on or is nominated to, None if neither."""
        return self._home.get(pod.uid)

    def free(self, node: Node) -> Mapping[str, int]:
        """Return what is left of each resource, nominated pods not counted; may be below 0."""
        return self._free[node.name]

    def add(self, pod: Pod, node: Node) -> None:
        """Put a pod on a node, whether its rules allow it or not.

        On the node that the snapshot nominates it to, it is nominated again.

        Raises:
            ValueError: it is placed already.
        """
        if pod.uid in self._home:
            raise ValueError(f"pod {pod.ref} is on {self._home[pod.uid].name} already")
        self._home[pod.uid] = node
        if not pod.node and pod.nominated == node.name:
            self._waiting.setdefault(node.name, {})[pod.uid] = pod
        else:
            self._shift(pod, node, 1, bound=True)

    def remove(self, pod: Pod) -> None:
        """Take a pod off its node.

        Raises:
            ValueError: it isn't placed.
        """
        node = self._home.pop(pod.uid, None)
        if node is None:
            raise ValueError(f"pod {pod.ref} is on no node")
        waiting = self._waiting.get(node.name, {})
        if waiting.pop(pod.uid, None) is None:
            self._shift(pod, node, -1, bound=True)
        elif not waiting:
            del self._waiting[node.name]

    def refusal(self, pod: Pod, node: Node) -> Refusal | None:
        """Return the first rule by which a node refuses a pod that isn't placed, or None.

        Raises:
            ValueError: the pod is placed; remove it first.
        """
        return next(self._refusals(pod, node), None)

    def refusals(self, pod: Pod, node: Node) -> tuple[Refusal, ...]:
        """Return every rule by which a node refuses a pod that isn't placed.

        Raises:
            ValueError: the pod is placed; remove it first.
        """
        return tuple(dict.fromkeys(self._refusals(pod, node)))

    def _refusals(self, pod: Pod, node: Node) -> Iterator[Refusal]:
        if pod.uid in self._home:
            raise ValueError(f"pod {pod.ref} is on {self._home[pod.uid].name}: remove it first")
        if unknown := [name for name in pod.shape.unmodelled if name not in JUDGED]:
            yield Refusal(Rule.NOT_CONSIDERED, f"can't be judged: it uses {', '.join(unknown)}")
        yield from node_refusals(pod.shape, node)
        if missing := set(pod.shape.features) - set(node.features):
            yield Refusal(Rule.FEATURES, f"doesn't declare {', '.join(sorted(missing))}")
        if waiting := tuple(self._waiting.get(node.name, {}).values()):
            yield from self._with(waiting, pod, node)
        yield from self._changing(pod, node)

    def _with(self, waiting: tuple[Pod, ...], pod: Pod, node: Node) -> list[Refusal]:
        """Ask the rules that change as if the pods nominated to the node were there."""
        for other in waiting:
            self._shift(other, node, 1, bound=False)
        try:
            return list(self._changing(pod, node))
        finally:
            for other in waiting:
                self._shift(other, node, -1, bound=False)

    def _changing(self, pod: Pod, node: Node) -> Iterator[Refusal]:
        """Yield refusals by the rules that hang on which pods stand where."""
        for port in pod.shape.host_ports:
            if any(_clash(port, taken) for taken in self._ports[node.name]):
                yield Refusal(Rule.PORTS, f"has port {port.port}/{port.protocol} taken")
        if short := deficits(pod.shape, self._free[node.name]):
            kept = self._kept.get(node.name)
            why = f"; room is {for_whom(kept)}" if kept else ""
            yield Refusal(Rule.ROOM, f"lacks {', '.join(_lacking(d) for d in short)}{why}")
        yield from self._attachments.refusals(pod, node)
        yield from self._spread(pod, node)
        yield from self._affinity(pod, node)
        for key, value in sorted(self._guarded(pod, node)):
            yield kept_out(key, value)

    def _spread(self, pod: Pod, node: Node) -> Iterator[Refusal]:
        shape = pod.shape
        for index, rule in enumerate(shape.spread):
            domain = node.labels.get(rule.topology_key)
            if domain is None:
                yield Refusal(Rule.SPREAD, f"lacks the label {rule.topology_key}")
                continue
            skew = self._spread_tally(pod, index).skew(pod, domain)
            if skew > rule.max_skew:
                where = f"{rule.topology_key}={domain}"
                yield Refusal(Rule.SPREAD, f"would bring {where} to a skew of {skew}")

    def _spread_tally(self, pod: Pod, index: int) -> SpreadTally:
        shape, rule = pod.shape, pod.shape.spread[index]
        tolerations = shape.tolerations if rule.honor_taints else ()
        excluding = (shape.node_selector, shape.node_affinity) if rule.honor_affinity else ()
        return self._tallies.get(
            (pod.namespace, shape.spread, index, excluding, tolerations),
            lambda: SpreadTally(shape, rule, pod.namespace, self._nodes.values()),
        )

    def _term_tally(self, term: PodTerm, own: str) -> TermTally:
        return self._tallies.get((term, own), lambda: TermTally(term, own, self._namespaces))

    def _affinity(self, pod: Pod, node: Node) -> Iterator[Refusal]:
        near, own = pod.shape.affinity, pod.namespace
        if near:
            tally = self._tallies.get(
                (near, own), lambda: AffinityTally(near, own, self._namespaces)
            )
            missing = tally.missing(node)
            # The first of its kind may go anywhere that has the labels, if it matches itself.
            first = not tally.any and tally.matches(pod, unknown=False)
            if missing is not None and not (
                first and all(t.topology_key in node.labels for t in near)
            ):
                key = missing.topology_key
                yield Refusal(Rule.POD_AFFINITY, f"has no pod that it must be near, by {key}")
        for term in pod.shape.anti_affinity:
            if self._term_tally(term, own).at(node):
                key = term.topology_key
                yield Refusal(
                    Rule.OWN_ANTI_AFFINITY,
                    f"lies in {key}={node.labels[key]}, where a pod is that it must be apart from",
                )

    def _guarded(self, pod: Pod, node: Node) -> set[tuple[str, str]]:
        """Return the node's domains that placed pods' anti-affinity keeps this one out of."""
        return {
            (term.topology_key, value)
            for term, own in self._guards_against(pod)
            if (value := node.labels.get(term.topology_key)) is not None
            and self._guards[term, own].get(value)
        }

    def _guards_against(self, pod: Pod) -> list[Guard]:
        """Return the anti-affinity terms of placed pods that speak of this one."""
        kind = (pod.namespace, pod.labels)
        known, found = self._guarding.get(kind, (0, []))
        if known < len(self._guards):
            labels = dict(pod.labels)
            found += [
                (term, own)
                for term, own in list(self._guards)[known:]
                if selects(term.selector, labels)
                and covers(term, own, pod.namespace, self._namespaces)
            ]
            self._guarding[kind] = (len(self._guards), found)
        return found

    def _shift(self, pod: Pod, node: Node, step: int, *, bound: bool) -> None:
        """Count a pod on a node, or take it out."""
        free, ports = self._free[node.name], self._ports[node.name]
        for resource, amount in pod.shape.requests:
            free[resource] = free.get(resource, 0) - step * amount
        for port in pod.shape.host_ports:
            add(ports, port, step)
        for term in pod.shape.anti_affinity:
            domains = self._guards.setdefault((term, pod.namespace), {})
            add(domains, node.labels.get(term.topology_key), step)
        self._attachments.shift(pod, node, step)
        self._tallies.shift(pod, node, step, bound=bound)


def _clash(one: HostPort, other: HostPort) -> bool:
    same = (one.port, one.protocol) == (other.port, other.protocol)
    return same and (one.address == other.address or ANY_ADDRESS in (one.address, other.address))


def _lacking(deficit: Deficit) -> str:
    return f"{quantity.render(deficit.resource, deficit.missing)} {deficit.resource}"
