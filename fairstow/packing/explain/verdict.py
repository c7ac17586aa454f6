"""The verdict: one sentence on where a pod stands, and on what is in the way."""

from fairstow.cluster.kept import for_whom
from fairstow.cluster.model import Pod
from fairstow.cluster.quantity import render
from fairstow.cluster.rules import Rule
from fairstow.cluster.state import JUDGED
from fairstow.packing.explain import words
from fairstow.packing.explain.funnel import dead_end
from fairstow.packing.explain.model import State
from fairstow.packing.explain.survey import Survey, pair

DEFAULT_SCHEDULER = "default-scheduler"

_BETWEEN = {
    Rule.SPREAD: "its topology spread rules",
    Rule.POD_AFFINITY: "its pod affinity rules",
    Rule.OWN_ANTI_AFFINITY: "its pod anti-affinity rules",
    Rule.PORTS: "its host ports rule",
    Rule.ANTI_AFFINITY: "running pods' anti-affinity rules",
}
"""What rules a node out, by rule."""


def unjudged(pod: Pod) -> tuple[str, ...]:
    """Return the rules a pod uses that nobody judges here."""
    return tuple(name for name in pod.shape.unmodelled if name not in JUDGED)


def _beside(pod: Pod) -> str:
    """Say in a clause what decides about a pod and isn't judged here, "" if nothing does."""
    if rules := unjudged(pod):
        return f"it uses {', '.join(rules)}, which isn't judged here"
    if pod.gang:
        return f"it is to run with its gang {pod.gang}, and room for all of it isn't judged here"
    return ""


def verdict(pod: Pod, state: State, survey: Survey | None) -> str:
    """Return the verdict; a pod that waits comes with its survey."""
    match state:
        case State.TERMINATING:
            held = f" and holds its room on {pod.home} until it is gone" if pod.home else ""
            return f"Is being deleted{held}."
        case State.RUNNING if pod.ready:
            return f"Runs on {pod.node}."
        case State.RUNNING:
            return (
                f"Has its place on {pod.node} but isn't Ready: scheduling isn't what it waits for."
            )
        case State.NOMINATED:
            return (
                f"Is nominated to {pod.nominated}: room is kept for it there while the pods that "
                "a preemption chose leave."
            )
        case _:
            assert survey is not None
            return _waiting(pod, state, survey)


def _waiting(pod: Pod, state: State, survey: Survey) -> str:
    fits, maybe = survey.fitting, tuple(a.node.name for a in survey.unsure)
    match state:
        case State.GATED:
            now = f"{_have(fits or maybe)}" if fits or maybe else "no node would take it now either"
            rest = f", as far as is known: {_doubt(pod, survey)}" if maybe and not fits else ""
            return (
                "Is held by a scheduling gate: no scheduler looks at it until the gate is "
                f"removed; {now}{rest}."
            )
        case State.UNKNOWN:
            return (
                f"Waits, and it isn't known whether it fits: by all that is judged "
                f"{_have(fits or maybe)}, but {_doubt(pod, survey)}."
            )
        case State.FITS:
            own = pod.shape.scheduler
            who = "the scheduler" if own == DEFAULT_SCHEDULER else f"its scheduler ({own})"
            return f"Waits, but fits: {_have(fits)}, so {who} should place it at its next attempt."
        case _:
            also = _beside(pod).replace("it uses", "it also uses")
            return f"Waits: {_obstacle(survey)}{also and f'; {also}'}."


def _have(nodes: tuple[str, ...]) -> str:
    has = "has" if len(nodes) == 1 else "have"
    return f"{words.nodes(len(nodes))} {has} room ({words.names(nodes)})"


def _doubt(pod: Pod, survey: Survey) -> str:
    """Say in a clause why it can't be told whether nodes with room take a pod."""
    if beside := _beside(pod):
        return beside
    details = {a.doubts[0].detail for a in survey.unsure}
    if len(details) == 1:
        number = len(survey.unsure)
        return f"{'it' if number == 1 else 'they'} {words.plural(details.pop(), number)}"
    return words.counted(a.doubts[0].detail for a in survey.unsure)


def _obstacle(survey: Survey) -> str:
    """Say in clauses why no node takes a pod."""
    if not survey.open:
        return f"none of {words.nodes(len(survey.answers))} may take it: {dead_end(survey)}"
    return _full(survey) + _kept(survey) + _ruled_out(survey)


def _kept(survey: Survey) -> str:
    """Say where a pod would have room, were none kept for others."""
    kept = {a.node.name: a for a in survey.open if a.node.name in survey.cluster.snapshot.kept_on}
    found = [name for name, answer in sorted(kept.items()) if survey.but_for_kept(answer)]
    if not found:
        return ""
    rooms = [room for name in found for room in survey.cluster.snapshot.kept_on[name]]
    return f"; it would fit on {words.names(found)}, whose room is {for_whom(rooms)}"


def _ruled_out(survey: Survey) -> str:
    """Say how many other nodes have room, and which rule between pods alone is in the way there."""
    for rule, what in _BETWEEN.items():
        if number := sum(x.refusal.rule is rule for x in survey.lifted):
            others = "1 other has" if number == 1 else f"{number} others have"
            return f"; {others} room, but {what} {'it' if number == 1 else 'them'} out"
    return ""


def _full(survey: Survey) -> str:
    """Say in a clause what the nodes that may take a pod lack."""
    count = len(survey.open)
    may = "1 node may take it" if count == 1 else f"{count} nodes may take it"
    if not survey.large_enough:
        return f"{may}, none is large enough even when empty{_too_small(survey)}"
    holes = survey.largest_holes()
    if not holes:
        return f"{may}, but none has all it asks for: {survey.apart()}"
    resource, largest, asked = min(holes, key=lambda h: _ordinary(h[0]))
    free = sum(max(survey.cluster.free[a.node.name].get(resource, 0), 0) for a in survey.open)
    together = f" and {'has' if count == 1 else 'have'} {render(resource, free)} {resource} free"
    together += " together" if count > 1 else ""
    return f"{may}{together}, but the largest hole is {largest} of the {asked} it asks for"


def _too_small(survey: Survey) -> str:
    for resource, asked in sorted(survey.pod.shape.requests, key=lambda r: _ordinary(r[0])):
        largest = max(a.node.allocatable.get(resource, 0) for a in survey.open)
        if not largest:
            return f": none offers {resource}"
        if largest < asked:
            most, wanted = pair(resource, largest, asked)
            return f": it asks for {wanted} {resource}, the largest has {most}"
    return ": none has enough of everything it asks for"


def _ordinary(resource: str) -> bool:
    """Sort accelerators and other extended resources before what every node has."""
    return "/" not in resource
