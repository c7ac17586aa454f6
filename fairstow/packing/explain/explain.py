"""Puts an explanation together: where the pod stands, a sentence on it, and what comes next."""

import shlex
from collections.abc import Iterable

from fairstow.cluster.model import Pod
from fairstow.cluster.quantity import render
from fairstow.cluster.rules import Rule, Rules
from fairstow.cluster.snapshot import ESSENTIAL, Snapshot
from fairstow.packing.explain.model import Change, Explanation, PlanFix, Relaxation, State
from fairstow.packing.explain.remedy import plan_fix
from fairstow.packing.explain.survey import Survey, names, pair
from fairstow.packing.model import Decision

DEFAULT_SCHEDULER = "default-scheduler"


def explain(
    snapshot: Snapshot, pod: Pod, decision: Decision | None, *, source: str = ""
) -> Explanation:
    """Explain why a pod is where it is.

    Args:
        snapshot: the cluster.
        pod: one of its pods.
        decision: the planner's answer on this snapshot, if there is one.
        source: arguments that make a command read the same input, such as `-f dump.json`.
    """
    return explain_all(snapshot, (pod,), decision, source=source)[0]


def explain_all(
    snapshot: Snapshot, pods: Iterable[Pod], decision: Decision | None, *, source: str = ""
) -> tuple[Explanation, ...]:
    """Explain several pods; looks at the nodes once for pods that the rules can't tell apart."""
    rules = Rules(snapshot)
    surveys: dict[tuple[object, ...], Survey] = {}
    told = []
    for pod in pods:
        survey = None
        if not _settled(pod):
            key = (pod.namespace, pod.labels, pod.shape)
            survey = surveys.get(key) or Survey(snapshot, rules, pod)
            surveys[key] = survey
        told.append(_explain(snapshot, pod, survey, decision, source))
    return tuple(told)


def _settled(pod: Pod) -> bool:
    """Whether a pod has its room or gives it up: there is nothing to look for."""
    return bool(pod.home) or pod.terminating


def _explain(
    snapshot: Snapshot, pod: Pod, survey: Survey | None, decision: Decision | None, source: str
) -> Explanation:
    state = _state(pod, survey)
    blocked = survey is not None and state in (State.BLOCKED, State.GATED)
    # What would help is known only where all of the pod's rules are.
    offers = survey.relaxations() if survey and blocked and not pod.shape.unmodelled else ()
    fix = _fix(decision, pod, survey)
    command, why = _next(pod, state, survey, offers, fix)
    return Explanation(
        pod=pod,
        state=state,
        verdict=_verdict(snapshot, pod, state, survey),
        scheduler_says=pod.unschedulable if survey else "",
        funnel=survey.funnel() if survey else (),
        nearest=survey.nearest() if survey and not survey.fitting else (),
        relaxations=offers,
        plan_fixes=fix,
        not_considered=_not_considered(snapshot, pod, decision) if survey else (),
        next_step=f"{command} {source}".rstrip() if command.startswith("fairstow") else command,
        next_why=why,
    )


def _state(pod: Pod, survey: Survey | None) -> State:
    if pod.terminating:
        return State.TERMINATING
    if pod.node:
        return State.RUNNING
    if pod.nominated:
        return State.NOMINATED
    if pod.gated:
        return State.GATED
    if survey is None or not survey.fitting:
        return State.BLOCKED
    return State.UNKNOWN if pod.shape.unmodelled else State.FITS


def _fix(decision: Decision | None, pod: Pod, survey: Survey | None) -> PlanFix | None:
    if decision is None:
        return None
    fix = plan_fix(decision, pod)
    if fix is None or fix.node or survey is None or pod.shape.unmodelled:
        return fix
    if not survey.open:
        return PlanFix("No plan can help: plans move pods, not labels, taints or cordons.")
    if not survey.large_enough:
        return PlanFix("No plan can help: no node it may use is large enough even when empty.")
    return fix


# The verdict


def _verdict(snapshot: Snapshot, pod: Pod, state: State, survey: Survey | None) -> str:
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
            return _waiting(snapshot, pod, state, survey)


def _waiting(snapshot: Snapshot, pod: Pod, state: State, survey: Survey) -> str:
    fits, rules = survey.fitting, ", ".join(pod.shape.unmodelled)
    have = f"{_nodes(len(fits))} {'has' if len(fits) == 1 else 'have'} room ({names(fits)})"
    match state:
        case State.GATED:
            now = have if fits else "no node would take it now either"
            rest = "" if not (fits and rules) else f", as far as known without its {rules}"
            return (
                "Is held by a scheduling gate: no scheduler looks at it until the gate is "
                f"removed; {now}{rest}."
            )
        case State.UNKNOWN:
            return (
                f"Waits, and uses {rules}, which isn't modelled here: by every other rule {have}, "
                "so whether it fits isn't known."
            )
        case State.FITS:
            own = pod.shape.scheduler
            who = "the scheduler" if own == DEFAULT_SCHEDULER else f"its scheduler ({own})"
            return f"Waits, but fits: {have}, so {who} should place it at its next attempt."
        case _:
            also = f"; it also uses {rules}, which isn't modelled here" if rules else ""
            return f"Waits: {_obstacle(snapshot, pod, survey)}{also}."


def _obstacle(snapshot: Snapshot, pod: Pod, survey: Survey) -> str:
    """Say in a clause why no node takes a pod."""
    if not survey.open:
        return f"none of {_nodes(len(snapshot.nodes))} may take it: {survey.dead_end()}"
    count = len(survey.open)
    may = "1 node may take it" if count == 1 else f"{count} nodes may take it"
    if not survey.large_enough:
        return f"{may}, none is large enough even when empty{_too_small(pod, survey)}"
    holes = survey.largest_holes()
    if not holes:
        return f"{may}, but none has all it asks for: {survey.apart()}"
    resource, largest, asked = min(holes, key=lambda h: _ordinary(h[0]))
    free = sum(max(snapshot.free(node).get(resource, 0), 0) for node, _ in survey.open)
    together = f" and {'has' if count == 1 else 'have'} {render(resource, free)} {resource} free"
    together += " together" if count > 1 else ""
    return f"{may}{together}, but the largest hole is {largest} of the {asked} it asks for"


def _too_small(pod: Pod, survey: Survey) -> str:
    for resource, asked in sorted(pod.shape.requests, key=lambda r: _ordinary(r[0])):
        largest = max(node.allocatable.get(resource, 0) for node, _ in survey.open)
        if not largest:
            return f": none offers {resource}"
        if largest < asked:
            most, wanted = pair(resource, largest, asked)
            return f": it asks for {wanted} {resource}, the largest has {most}"
    return ": none has enough of everything it asks for"


def _ordinary(resource: str) -> bool:
    """Sort accelerators and other extended resources before what every node has."""
    return "/" not in resource


def _nodes(count: int) -> str:
    return f"{count} node{'' if count == 1 else 's'}"


def _not_considered(snapshot: Snapshot, pod: Pod, decision: Decision | None) -> tuple[str, ...]:
    said = [f"{rule}: used by this pod, not modelled yet" for rule in pod.shape.unmodelled]
    if pod.shape.scheduler != DEFAULT_SCHEDULER:
        said.append(f"rules that its own scheduler ({pod.shape.scheduler}) may add")
    if decision is not None:
        return (*said, *snapshot.unknowns)
    if "Namespace" not in snapshot.known:
        said.append(ESSENTIAL["Namespace"])
    return tuple(said)


# What to do next


def _next(
    pod: Pod,
    state: State,
    survey: Survey | None,
    offers: tuple[Relaxation, ...],
    fix: PlanFix | None,
) -> tuple[str, str]:
    """Return one command and what it is for."""
    one = f"-n {shlex.quote(pod.namespace)} {shlex.quote(pod.name)}"
    match state:
        case State.TERMINATING:
            path = "{.metadata.deletionTimestamp} {.metadata.finalizers}"
            return f"kubectl get pod {one} -o jsonpath='{path}'", "shows what still holds it"
        case State.NOMINATED:
            on = shlex.quote(f"spec.nodeName={pod.nominated}")
            return f"kubectl get pods -A --field-selector {on}", "shows who is still there"
        case State.GATED:
            path = "{.spec.schedulingGates[*].name}"
            return f"kubectl get pod {one} -o jsonpath='{path}'", "names the gates"
        case State.BLOCKED if survey is not None:
            return _unblock(pod, survey, offers, fix)
        case _:
            return f"kubectl describe pod {one}", "its events say what happened last"


def _unblock(
    pod: Pod, survey: Survey, offers: tuple[Relaxation, ...], fix: PlanFix | None
) -> tuple[str, str]:
    if fix is not None and fix.node:
        return "fairstow plan -o yaml", "writes the plan out, for a person to read and check"
    movable = survey.open and survey.large_enough and not pod.shape.unmodelled
    if fix is None and movable:
        return "fairstow plan", "looks for moves that make room"
    cordoned = next((o.key for o in offers if o.change is Change.UNCORDON), "")
    if cordoned:
        return f"kubectl uncordon {shlex.quote(cordoned)}", "if it was cordoned by oversight"
    if not survey.open:
        return _look(pod, survey)
    return "fairstow pools", "shows where there is capacity, and how large its holes are"


def _look(pod: Pod, survey: Survey) -> tuple[str, str]:
    """Return the command that shows what the last rule in the way is about."""
    rule = max((refusal.rule for _, refusal in survey.refused), key=list(Rule).index)
    if rule is Rule.AFFINITY:
        keys = {key for key, _ in pod.shape.node_selector}
        keys |= {r.key for term in pod.shape.node_affinity or () for r in term.labels}
        labels = f"-L {shlex.quote(','.join(sorted(keys)))}" if keys else "--show-labels"
        return f"kubectl get nodes {labels}", "shows the labels that nodes carry"
    if rule is Rule.TAINT:
        columns = "NAME:.metadata.name,TAINTS:.spec.taints[*].key"
        return f"kubectl get nodes -o custom-columns='{columns}'", "shows which nodes are tainted"
    if rule is Rule.ANTI_AFFINITY:
        return "kubectl get pods -A -o wide", "shows which pods run where"
    return "kubectl get nodes", "shows which nodes are cordoned or not Ready"
