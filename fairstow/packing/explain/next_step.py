"""The one command to run next, by where a pod stands and what is in the way."""

import shlex

from fairstow.cluster.model import Pod
from fairstow.cluster.rules import Rule
from fairstow.packing.explain.funnel import last_rule
from fairstow.packing.explain.model import Change, PlanFix, Relaxation, State
from fairstow.packing.explain.survey import Survey
from fairstow.packing.explain.words import equalities

Step = tuple[str, str]
"""A command and what it is for."""


def next_step(
    pod: Pod,
    state: State,
    survey: Survey | None,
    offers: tuple[Relaxation, ...],
    fix: PlanFix | None,
    *,
    tried: bool,
) -> Step:
    """Return one command and what it is for; `tried` as in `plan_fix`."""
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
            return _unblock(survey, offers, fix, tried=tried)
        case _:
            return f"kubectl describe pod {one}", "its events say what happened last"


def _unblock(
    survey: Survey, offers: tuple[Relaxation, ...], fix: PlanFix | None, *, tried: bool
) -> Step:
    if fix is not None and fix.node:
        return "fairstow plan -o yaml", "writes the plan out, for a person to read and check"
    if fix is None and tried and survey.plan_may_help:
        return "fairstow plan", "looks for moves that make room"
    cordoned = next((o.key for o in offers if o.change is Change.UNCORDON), "")
    if cordoned:
        return f"kubectl uncordon {shlex.quote(cordoned)}", "if it was cordoned by oversight"
    if not survey.open:
        return _look(survey.pod, last_rule(survey))
    return "fairstow pools", "shows where there is capacity, and how large its holes are"


def _look(pod: Pod, rule: Rule) -> Step:
    """Return the command that shows what the last rule in the way is about."""
    match rule:
        case Rule.AFFINITY:
            keys = {key for key, _ in pod.shape.node_selector}
            keys |= {r.key for term in pod.shape.node_affinity or () for r in term.labels}
            return _labels(keys)
        case Rule.TAINT:
            return _nodes("TAINTS:.spec.taints[*].key"), "shows which nodes are tainted"
        case Rule.FEATURES:
            columns = "FEATURES:.status.declaredFeatures"
            return _nodes(columns), "shows which features nodes declare"
        case Rule.SPREAD:
            (selector, *_) = (r.selector for r in pod.shape.spread)
            return _pods(equalities(selector), f"-n {shlex.quote(pod.namespace)}")
        case Rule.POD_AFFINITY:
            return _pods(equalities(pod.shape.affinity[0].selector), "-A")
        case Rule.OWN_ANTI_AFFINITY:
            return _pods(equalities(pod.shape.anti_affinity[0].selector), "-A")
        case Rule.ANTI_AFFINITY | Rule.PORTS:
            return _pods("", "-A")
        case Rule.CLAIM | Rule.VOLUME_NODE | Rule.VOLUME_LIMIT:
            names = (c.claim_of(pod.name) for c in pod.shape.claims)
            asked = " ".join(map(shlex.quote, names))
            where = f"-n {shlex.quote(pod.namespace)}"
            return f"kubectl describe pvc {where} {asked}", "shows what its claims wait for"
        case _:
            return "kubectl get nodes", "shows which nodes are cordoned or not Ready"


def _labels(keys: set[str]) -> Step:
    columns = f"-L {shlex.quote(','.join(sorted(keys)))}" if keys else "--show-labels"
    return f"kubectl get nodes {columns}", "shows the labels that nodes carry"


def _nodes(column: str) -> str:
    return f"kubectl get nodes -o custom-columns='NAME:.metadata.name,{column}'"


def _pods(labels: str, where: str) -> Step:
    chosen = f" -l {shlex.quote(labels)}" if labels else ""
    return f"kubectl get pods {where} -o wide{chosen}", "shows which pods run where"
