"""Puts an explanation together: where the pod stands, a sentence on it, and what comes next."""

from collections.abc import Iterable

from fairstow.cluster.model import Pod
from fairstow.cluster.rules import Rule
from fairstow.cluster.snapshot import ESSENTIAL, Snapshot
from fairstow.packing.explain.funnel import funnel, last_rule
from fairstow.packing.explain.model import Explanation, PlanFix, State
from fairstow.packing.explain.next_step import next_step
from fairstow.packing.explain.remedy import plan_fix
from fairstow.packing.explain.survey import Cluster, Survey
from fairstow.packing.explain.verdict import DEFAULT_SCHEDULER, unjudged, verdict
from fairstow.packing.formulate import left_out
from fairstow.packing.model import Decision, Request

_STORAGE = "persistentvolumeclaims,persistentvolumes,storageclasses,csinodes,csidrivers"
_OF_PODS = (Rule.PORTS, Rule.POD_AFFINITY, Rule.OWN_ANTI_AFFINITY, Rule.ANTI_AFFINITY)


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
    asked = tuple(pods)
    request = None if decision is None else decision.request
    cluster = Cluster(snapshot, request) if any(not _settled(p) for p in asked) else None
    alike: dict[tuple[object, ...], list[Pod]] = {}
    for pod in asked:
        alike.setdefault(_kind(pod), []).append(pod)
    reasons = left_out(snapshot)[1] if any(p.pending for p in asked) else {}
    told = {}
    for kind in alike.values():
        some = kind[0]
        survey = None if cluster is None or _settled(some) else Survey(cluster, some)
        tried = some.uid not in reasons
        for pod in kind:
            told[pod.uid] = _explain(pod, survey, decision, source, tried=tried)
    return tuple(told[pod.uid] for pod in asked)


def _settled(pod: Pod) -> bool:
    """Whether a pod has its room or gives it up: there is nothing to look for."""
    return bool(pod.home) or pod.terminating


def _kind(pod: Pod) -> tuple[object, ...]:
    """What pods share that nodes answer alike; ephemeral claims belong to one pod each."""
    own = any(claim.ephemeral for claim in pod.shape.claims)
    uid = pod.uid if own or _settled(pod) else ""
    return (pod.namespace, pod.labels, pod.shape, pod.gang, uid)


def _explain(
    pod: Pod, survey: Survey | None, decision: Decision | None, source: str, *, tried: bool
) -> Explanation:
    state = _state(pod, survey)
    blocked = survey is not None and state in (State.BLOCKED, State.GATED)
    offers = survey.relaxations() if survey and blocked else ()
    fix = _fix(decision, pod, survey, tried=tried)
    command, why = next_step(pod, state, survey, offers, fix, tried=tried)
    return Explanation(
        pod=pod,
        state=state,
        verdict=verdict(pod, state, survey),
        scheduler_says=pod.unschedulable if survey else "",
        funnel=funnel(survey) if survey else (),
        nearest=survey.nearest() if survey and blocked else (),
        relaxations=offers,
        plan_fixes=fix,
        not_considered=_not_considered(survey, decision) if survey else (),
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
    if survey is not None and survey.fitting:
        return State.UNKNOWN if pod.gang else State.FITS
    return State.UNKNOWN if survey is not None and survey.unsure else State.BLOCKED


def _fix(
    decision: Decision | None, pod: Pod, survey: Survey | None, *, tried: bool
) -> PlanFix | None:
    if decision is None:
        return None
    fix = plan_fix(decision, pod, tried=tried)
    if fix is None or fix.node or survey is None or not tried or survey.plan_may_help:
        return fix
    if survey.in_reach:
        return PlanFix("No plan can help: no node it may use is large enough even when empty.")
    if last_rule(survey) in _OF_PODS:
        return PlanFix(f"No plan can help: the pods in its way {_unmoved(decision.request)}.")
    return PlanFix("No plan can help: plans move pods, not labels, taints or cordons.")


def _unmoved(request: Request) -> str:
    """Say why a plan leaves pods where they are."""
    kinds = "are of kinds that plans don't move"
    return f"{kinds}, or left alone for now" if request.min_age or request.cooling else kinds


def _not_considered(survey: Survey, decision: Decision | None) -> tuple[str, ...]:
    snapshot, shape = survey.cluster.snapshot, survey.pod.shape
    said = [f"{rule}: used by this pod, not judged yet" for rule in unjudged(survey.pod)]
    if survey.pod.gang:
        said.append(f"whether all of gang {survey.pod.gang} has room at once: only a plan tells")
    if shape.claims and survey.cluster.blind:
        said.append(
            f"whether its claims can be had: the input holds no {survey.cluster.blind[0]}s "
            f"(fetch them too: kubectl get {_STORAGE},volumeattachments -A -o json)"
        )
    if shape.scheduler != DEFAULT_SCHEDULER:
        said.append(f"rules that its own scheduler ({shape.scheduler}) may add")
    if decision is not None:
        return (*said, *snapshot.unknowns)
    if "Namespace" not in snapshot.known:
        said.append(ESSENTIAL["Namespace"])
    return tuple(said)
