"""What every node says to one pod: the funnel, the nearest nodes, the smallest changes.

One pass over the nodes asks the rules as they are. A node refused by a rule is asked once more
with that one rule lifted: if it takes the pod then, the rule was the only thing in the way. So
each relaxation has been tried by the time it is offered.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from fairstow.cluster.model import Node, Pod, Taint, Toleration
from fairstow.cluster.quantity import parse, render
from fairstow.cluster.requests import PODS
from fairstow.cluster.rules import Deficit, Refusal, Rule, Rules, deficits
from fairstow.cluster.snapshot import Snapshot
from fairstow.packing.explain.amounts import exact, in_bytes
from fairstow.packing.explain.model import Change, FunnelLine, Near, Relaxation

CORDON_TAINT = "node.kubernetes.io/unschedulable"
_SYSTEM_TAINTS = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")
_NEAREST = 3
_MIB = 1 << 20

Key = tuple[Change, str, str]


@dataclass(frozen=True, slots=True)
class Lifted:
    """A node whose one refusal has been lifted: what is still missing, and by which change."""

    node: Node
    refusal: Refusal
    change: Key | None
    deficits: tuple[Deficit, ...]


class Survey:
    """All nodes' answers to one pod.

    Attributes:
        open: nodes that no static rule closes to the pod, with what they are short of.
        refused: the others, with the first rule that refuses.
        lifted: those of the others that a single rule refuses.
    """

    def __init__(self, snapshot: Snapshot, rules: Rules, pod: Pod) -> None:
        self._snapshot, self._pod, self._rules = snapshot, pod, rules
        self._untolerated: dict[Taint, bool] = {}
        self._changed: dict[Key, Pod] = {}
        self.open: list[tuple[Node, tuple[Deficit, ...]]] = []
        self.refused: list[tuple[Node, Refusal]] = []
        for node in snapshot.nodes:
            refusal = self._rules.static_refusal(pod, node)
            if refusal is None:
                self.open.append((node, self._short(node)))
            else:
                self.refused.append((node, refusal))
        self.lifted = [
            lifted for node, refusal in self.refused if (lifted := self._lift(node, refusal))
        ]

    @property
    def fitting(self) -> tuple[str, ...]:
        """Nodes that have room now, by name."""
        return tuple(node.name for node, short in self.open if not short)

    @property
    def large_enough(self) -> bool:
        """Whether an open node would have room if nothing else stood on it."""
        return any(not deficits(self._pod.shape, node.allocatable) for node, _ in self.open)

    def _short(self, node: Node) -> tuple[Deficit, ...]:
        return deficits(self._pod.shape, self._snapshot.free(node))

    # One rule lifted

    def _lift(self, node: Node, refusal: Refusal) -> Lifted | None:
        pod, other, key = self._without(node, refusal)
        if refusal.rule is not Rule.ANTI_AFFINITY and self._rules.static_refusal(pod, other):
            return None  # anti-affinity is asked last, so all else has been passed
        return Lifted(node, refusal, key, self._short(node))

    def _without(self, node: Node, refusal: Refusal) -> tuple[Pod, Node, Key | None]:
        """Return pod and node with the rule lifted, and the change a person could make."""
        match refusal.rule:
            case Rule.CLOSED:
                return self._pod, replace(node, closed=""), None
            case Rule.CORDONED:
                return self._pod, uncordoned(node), (Change.UNCORDON, node.name, "")
            case Rule.TAINT:
                taint = next(t for t in node.taints if self._is_untolerated(t))
                if taint.key == CORDON_TAINT:
                    return self._pod, uncordoned(node), (Change.UNCORDON, node.name, "")
                key = (Change.TOLERATE, taint.key, taint.value)
                offered = not taint.key.startswith(_SYSTEM_TAINTS)
                return self._with(key), node, key if offered else None
            case Rule.AFFINITY:
                wrong = [p for p in self._pod.shape.node_selector if not _has(node, p)]
                key = (Change.SELECTOR, *wrong[0]) if wrong else (Change.AFFINITY, "", "")
                return self._with(key), node, key
            case _:
                return self._pod, node, None

    def _with(self, key: Key) -> Pod:
        if key not in self._changed:
            self._changed[key] = changed(self._pod, *key)
        return self._changed[key]

    def _is_untolerated(self, taint: Taint) -> bool:
        """Ask the rules about a bare node with this taint alone."""
        if taint not in self._untolerated:
            bare = Node("", {}, (taint,), {}, unschedulable=False, closed="")
            refusal = self._rules.static_refusal(self._pod, bare)
            self._untolerated[taint] = refusal is not None and refusal.rule is Rule.TAINT
        return self._untolerated[taint]

    # What people read

    def funnel(self) -> tuple[FunnelLine, ...]:
        """Return the filters in the scheduler's order, those that removed nodes."""
        left = len(self._snapshot.nodes)
        lines = [FunnelLine("node" if left == 1 else "nodes", left)]
        for label, _, refusals in self._stages():
            left -= len(refusals)
            lines.append(FunnelLine(label, left, _why(refusals)))
        if self.open:
            lines.append(FunnelLine("with room", len(self.fitting), self._room()))
        return tuple(lines)

    def dead_end(self) -> str:
        """Say where the last nodes are lost, for a pod that no node may take."""
        stages = list(self._stages())
        before = len(self._snapshot.nodes) - sum(len(refusals) for *_, refusals in stages[:-1])
        return stages[-1][1] if len(stages) == 1 else f"of the last {before}, {stages[-1][1]}"

    def _stages(self) -> Iterable[tuple[str, str, list[str]]]:
        """Yield each static rule that removes nodes.

        As (which nodes are left, what it means if none is, the details of those it removes).
        """
        return (stage for stage in self._all_stages() if stage[2])

    def _all_stages(self) -> Iterable[tuple[str, str, list[str]]]:
        said: dict[Rule, list[tuple[Node, str]]] = {}
        for node, refusal in self.refused:
            said.setdefault(refusal.rule, []).append((node, refusal.detail))
        yield (
            "Ready and staying",
            "all are not Ready or going away",
            [d for _, d in said.get(Rule.CLOSED, ())],
        )
        yield "not cordoned", "all are cordoned", [d for _, d in said.get(Rule.CORDONED, ())]
        yield (
            "tolerated",
            "all have a taint it doesn't tolerate",
            [d for _, d in said.get(Rule.TAINT, ())],
        )
        wrong = said.get(Rule.AFFINITY, [])
        for key, value in self._pod.shape.node_selector:
            lost = [d for node, d in wrong if not _has(node, (key, value))]
            wrong = [(node, d) for node, d in wrong if _has(node, (key, value))]
            label = f"the label {key}={value}"
            yield f"with {label}", f"none has {label}", [""] * len(lost)
        affinity = "its required node affinity"
        yield f"matching {affinity}", f"none matches {affinity}", [""] * len(wrong)
        kept_out = [""] * len(said.get(Rule.ANTI_AFFINITY, ()))
        anti = "running pods' anti-affinity"
        yield f"where {anti} allows it", f"{anti} keeps it out of all", kept_out

    def _room(self) -> str:
        """Say what the open nodes without room lack."""
        short = [s for _, s in self.open if s]
        if not short:
            return ""
        lacking = Counter(d.resource for s in short for d in s)
        if self.fitting:
            others = ", ".join(f"{n} of {r}" for r, n in lacking.most_common())
            return f"the others are short: {others}"
        if holes := self.largest_holes():
            return "largest hole " + ", ".join(
                f"{free} of {asked} {resource}" for resource, free, asked in holes
            )
        return self.apart()

    def apart(self) -> str:
        """Say what keeps apart what the pod needs, where each resource is free somewhere."""
        lacking = Counter(d.resource for _, s in self.open for d in s)
        scarce = lacking.most_common(1)[0][0]
        having = [s for _, s in self.open if all(d.resource != scarce for d in s)]
        missing = Counter(d.resource for s in having for d in s).most_common()
        rest = ", ".join(f"{resource} on {n}" for resource, n in missing)
        have = f"{len(having)} have" if len(having) > 1 else "1 has"
        return f"{have} enough {scarce}, but too little else: {rest}"

    def largest_holes(self) -> list[tuple[str, str, str]]:
        """Return (resource, largest free, asked) for what no open node has enough of."""
        holes = []
        for resource, _ in self._pod.shape.requests:
            short = [d for _, s in self.open for d in s if d.resource == resource]
            if short and len(short) == len(self.open):
                best = max(max(d.free, 0) for d in short)
                holes.append((resource, *pair(resource, best, short[0].wanted)))
        return holes

    def nearest(self) -> tuple[Near, ...]:
        """Return the open nodes that lack least, then those with room that one rule refuses."""
        ranked = sorted(
            ((node.name, short) for node, short in self.open if short),
            key=lambda entry: (_distance(entry[1]), entry[0]),
        )
        near = [Near(name, short, None) for name, short in ranked[:_NEAREST]]
        ready = [Near(x.node.name, (), x.refusal) for x in self.lifted if not x.deficits]
        return tuple([*near, *ready][:_NEAREST])

    # Changes

    def relaxations(self) -> tuple[Relaxation, ...]:
        """Return single changes that would let the pod run now, the smallest first."""
        if self.fitting:
            return ()
        nodes: dict[Key, list[str]] = {}
        for x in self.lifted:
            if x.change is not None and not x.deficits:
                nodes.setdefault(x.change, []).append(x.node.name)
        by_kind: dict[Change, list[Relaxation]] = {}
        for key, names in sorted(nodes.items(), key=lambda e: (-len(e[1]), e[0][1:])):
            by_kind.setdefault(key[0], []).append(_relaxation(*key, tuple(names)))
        return (
            *self._smaller_requests(),
            *(r for change in Change for r in by_kind.get(change, ())[:1]),
        )

    def _smaller_requests(self) -> list[Relaxation]:
        """Return, for each resource, the largest amount that would fit, the least cut first."""
        single = [(node, s[0]) for node, s in self.open if len(s) == 1 and s[0].resource != PODS]
        offers: dict[str, list[tuple[int, str, int]]] = {}
        for node, short in single:
            if amount := _rounded_down(short.resource, short.free):
                offers.setdefault(short.resource, []).append((amount, node.name, short.wanted))
        found = []
        for resource, options in offers.items():
            amount, _, wanted = max(options)
            names = tuple(name for a, name, _ in options if a == amount)
            found.append((1 - amount / wanted, resource, amount, wanted, names))
        return [
            Relaxation(
                Change.REQUEST,
                resource,
                str(amount),
                names,
                f"ask for {exact(resource, amount)} instead of {exact(resource, wanted)} "
                f"{resource} → {_have_room(names)}",
            )
            for _, resource, amount, wanted, names in sorted(found)
        ]


def changed(pod: Pod, change: Change, key: str, value: str) -> Pod:
    """Return the pod with one change made to it; `Change.UNCORDON` is a node's."""
    shape = pod.shape
    match change:
        case Change.REQUEST:
            requests = tuple((r, int(value) if r == key else a) for r, a in shape.requests)
            shape = replace(shape, requests=requests)
        case Change.TOLERATE:
            toleration = Toleration(key, "Equal", value, "")
            shape = replace(shape, tolerations=(*shape.tolerations, toleration))
        case Change.SELECTOR:
            kept = tuple(pair for pair in shape.node_selector if pair[0] != key)
            shape = replace(shape, node_selector=kept)
        case Change.AFFINITY:
            shape = replace(shape, node_affinity=None)
        case Change.UNCORDON:
            pass
    return replace(pod, shape=shape)


def uncordoned(node: Node) -> Node:
    """Return the node as `kubectl uncordon` leaves it."""
    taints = tuple(t for t in node.taints if t.key != CORDON_TAINT)
    return replace(node, unschedulable=False, taints=taints)


def pair(resource: str, less: int, more: int) -> tuple[str, str]:
    """Write two amounts so that rounding doesn't make them look equal."""
    written = (render(resource, less), render(resource, more))
    if written[0] == written[1]:
        return exact(resource, less), exact(resource, more)
    return written


def names(nodes: tuple[str, ...]) -> str:
    """Name up to three nodes."""
    more = f" and {len(nodes) - 3} more" if len(nodes) > 3 else ""
    return ", ".join(nodes[:3]) + more


def _distance(short: tuple[Deficit, ...]) -> tuple[float, float]:
    """How far a node is from taking the pod: the worst shortage as a share, then all of them."""
    shares = [d.missing / d.wanted for d in short]
    return max(shares), sum(shares)


def _has(node: Node, label: tuple[str, str]) -> bool:
    return node.labels.get(label[0]) == label[1]


def _rounded_down(resource: str, free: int) -> int:
    """Return an amount a person would write, at most `free`; 0 if there is none."""
    if free <= 0 or not in_bytes(resource):
        return max(free, 0)
    step = _MIB
    if resource.startswith("hugepages-"):
        step = parse(resource, resource.removeprefix("hugepages-"))
    return free - free % step


def _relaxation(change: Change, key: str, value: str, nodes: tuple[str, ...]) -> Relaxation:
    pair = f"{key}={value}" if value else key
    match change:
        case Change.UNCORDON:
            text = f"uncordon {key} → it has room"
        case Change.TOLERATE:
            text = f"tolerate the taint {pair} → {_have_room(nodes)}"
        case Change.SELECTOR:
            text = f"drop the nodeSelector {pair} → {_have_room(nodes)}"
        case _:
            text = f"drop the required node affinity → {_have_room(nodes)}"
    return Relaxation(change, key, value, nodes, text)


def _have_room(nodes: tuple[str, ...]) -> str:
    if len(nodes) == 1:
        return f"fits on {nodes[0]}"
    return f"{len(nodes)} nodes have room ({names(nodes)})"


def _why(details: list[str]) -> str:
    """Count equal reasons: `28 have the taint x:NoSchedule, 2 are cordoned`."""
    counted = Counter(d for d in details if d).most_common(4)
    said = [f"{n} {_plural(d, n)}" for d, n in counted[:3]]
    if len(counted) > 3:
        said.append("others for other reasons")
    return ", ".join(said)


def _plural(phrase: str, count: int) -> str:
    """Turn a phrase that follows one node's name into one that follows a number."""
    for single, plural in (("is ", "are "), ("has ", "have "), ("reports ", "report ")):
        if count > 1 and phrase.startswith(single):
            return plural + phrase.removeprefix(single)
    return phrase
