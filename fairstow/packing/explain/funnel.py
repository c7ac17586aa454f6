"""The funnel: how many nodes each rule leaves, in the order in which the rules are asked.

Room comes last, whatever the scheduler's order, since it is what plans change.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fairstow.cluster.model import Labels, Node, Pod, PodTerm, Shape
from fairstow.cluster.rules import Refusal, Rule
from fairstow.packing.explain import words
from fairstow.packing.explain.model import FunnelLine
from fairstow.packing.explain.survey import Survey

_DOMAINS = 3
"""Most domains of a rule between pods that are told one by one."""

Lost = Sequence[tuple[Node, Refusal]]
"""The nodes that a rule removes."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A rule that removes nodes.

    Attributes:
        label: which nodes are left.
        none: what it means if none is.
        lost: how many it removes.
        detail: what those lack, or "".
    """

    label: str
    none: str
    lost: int
    detail: str = ""


def funnel(survey: Survey) -> tuple[FunnelLine, ...]:
    """Return the rules that removed nodes."""
    left = len(survey.answers)
    lines = [FunnelLine("node" if left == 1 else "nodes", left)]
    for stage in _stages(survey):
        left -= stage.lost
        lines.append(FunnelLine(stage.label, left, stage.detail))
    if survey.open:
        doubted = survey.unsure
        having = len(survey.fitting) + len(doubted)
        lines.append(FunnelLine("with room", having, _room(survey, having)))
        if doubted:
            why = words.counted(a.doubts[0].detail for a in doubted)
            lines.append(FunnelLine("known to take it", len(survey.fitting), why))
    return tuple(lines)


def dead_end(survey: Survey) -> str:
    """Say where the last nodes are lost, for a pod that no node may take."""
    stages = list(_stages(survey))
    last = stages[-1]
    return last.none if len(stages) == 1 else f"of the last {last.lost}, {last.none}"


def last_rule(survey: Survey) -> Rule:
    """Return the rule that loses the last nodes, for a pod that no node may take."""
    return max((a.refusals[0].rule for a in survey.answers), key=_ORDER.index)


def _stages(survey: Survey) -> Iterator[Stage]:
    found: dict[Rule, list[tuple[Node, Refusal]]] = {}
    for answer in survey.answers:
        if answer.refusals:
            first = answer.refusals[0]
            found.setdefault(first.rule, []).append((answer.node, first))
    for rule in _ORDER:
        if lost := found.get(rule):
            yield from _of(rule, survey.pod, lost)


_ORDER = (
    Rule.CLOSED,
    Rule.CORDONED,
    Rule.TAINT,
    Rule.AFFINITY,
    Rule.FEATURES,
    Rule.PORTS,
    Rule.CLAIM,
    Rule.VOLUME_NODE,
    Rule.VOLUME_LIMIT,
    Rule.SPREAD,
    Rule.POD_AFFINITY,
    Rule.OWN_ANTI_AFFINITY,
    Rule.ANTI_AFFINITY,
)


def _of(rule: Rule, pod: Pod, lost: Lost) -> Iterator[Stage]:
    """Yield the stages of one rule; only a node selector has several."""
    why = words.counted(refusal.detail for _, refusal in lost)
    match rule:
        case Rule.AFFINITY:
            yield from _labels(pod.shape.node_selector, [node for node, _ in lost])
        case Rule.SPREAD:
            yield _spread(pod, lost)
        case Rule.CLAIM:
            none = "none " + lost[0][1].detail.replace("can't", "can", 1)
            yield Stage("that can give it its claims", none, len(lost), why)
        case _:
            label, none, detailed = _phrases(rule, pod.shape)
            yield Stage(label, none, len(lost), why if detailed else "")


def _phrases(rule: Rule, shape: Shape) -> tuple[str, str, bool]:
    """Return which nodes a rule leaves, what it means if that is none, and are details of use."""
    ports = words.ports(shape.host_ports)
    features = ", ".join(shape.features)
    near, apart = _near(shape.affinity), _near(shape.anti_affinity)
    others = "running pods' anti-affinity"
    phrases = {
        Rule.CLOSED: ("Ready and staying", "all are not Ready or going away", True),
        Rule.CORDONED: ("not cordoned", "all are cordoned", True),
        Rule.TAINT: ("tolerated", "all have a taint it doesn't tolerate", True),
        Rule.FEATURES: (f"declaring {features}", f"none declares {features}", False),
        Rule.PORTS: (f"with {ports} free", f"none has {ports} free", len(shape.host_ports) > 1),
        Rule.VOLUME_NODE: ("that its volumes reach", "its volumes reach none", True),
        Rule.VOLUME_LIMIT: ("that can attach its volumes", "none can attach its volumes", True),
        Rule.POD_AFFINITY: (f"with {near}", f"none has {near}", False),
        Rule.OWN_ANTI_AFFINITY: (f"without {apart}", f"all have {apart}", False),
        Rule.ANTI_AFFINITY: (f"where {others} allows it", f"{others} keeps it out of all", False),
    }
    return phrases[rule]


def _labels(selector: Labels, lost: Sequence[Node]) -> Iterator[Stage]:
    for key, value in selector:
        lacking = [node for node in lost if node.labels.get(key) != value]
        lost = [node for node in lost if node.labels.get(key) == value]
        if lacking:
            label = f"the label {key}={value}"
            yield Stage(f"with {label}", f"none has {label}", len(lacking))
    if lost:
        affinity = "its required node affinity"
        yield Stage(f"matching {affinity}", f"none matches {affinity}", len(lost))


def _spread(pod: Pod, lost: Lost) -> Stage:
    rules = pod.shape.spread
    said = f"topology spread ({'; '.join(map(words.spread, rules))}) allows one more"
    places = {words.places(rule.topology_key) for rule in rules}
    where = f"in {places.pop()} where" if places != {""} and len(places) == 1 else "where"
    details = [refusal.detail for _, refusal in lost]
    why = words.counted(details) if len(set(details)) <= _DOMAINS else ""
    return Stage(f"{where} {said}", f"{said} on none", len(lost), why)


def _near(of: Sequence[PodTerm]) -> str:
    if len(of) == 1:
        return f"{words.some_pod(of[0])} nearby, by {of[0].topology_key}"
    return f"pods nearby ({words.terms(of)})"


def _room(survey: Survey, having: int) -> str:
    """Say what the open nodes without room lack."""
    lacking = Counter(d.resource for a in survey.open for d in a.short)
    if not lacking:
        return ""
    if having:
        return "the others are short: " + ", ".join(f"{n} of {r}" for r, n in lacking.most_common())
    if holes := survey.largest_holes():
        return "largest hole " + ", ".join(
            f"{free} of {asked} {resource}" for resource, free, asked in holes
        )
    return survey.apart()
