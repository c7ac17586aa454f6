"""`explain`: one pod, why it waits and what would help; as text and as an object."""

import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from fairstow.cli import terminal
from fairstow.cli.finding import find_pod
from fairstow.cli.installed import installed, under_way_object, under_way_text
from fairstow.cli.layout import listed, one_line, wrapped
from fairstow.cli.live import Live
from fairstow.cli.making import make
from fairstow.cli.options import Output
from fairstow.cli.planning import Question
from fairstow.cli.progress import Progress
from fairstow.cli.serialise import as_json
from fairstow.cli.sources import Source, WhatIf, load
from fairstow.cli.supposing import Outcome, heading, new_pods, outcome_object, suppose
from fairstow.cli.terminal import Look
from fairstow.cli.text import tier_name
from fairstow.cluster.model import Pod
from fairstow.cluster.quantity import render
from fairstow.cluster.snapshot import Snapshot
from fairstow.packing import explain as explanations
from fairstow.packing.explain.underway import Installed, UnderWay, under_way
from fairstow.packing.worker import Worker

_MOVES = 8
_MESSAGE = 1000
"""Most characters shown of a scheduler's message."""


def explain(
    what: Sequence[str],
    namespace: str | None,
    files: Sequence[str],
    live: Live,
    question: Question | None,
    output: Output,
    manifests: Sequence[str] = (),
) -> None:
    """Explain a pod, or those of the manifests; `question` None looks for no plan."""
    supposed: Outcome = ()
    with _solver(question) as worker, Progress() as progress:
        source = load(
            files, live, keep=worker is not None, progress=progress.say, manifests=manifests
        )
        pods = _asked(source, what, namespace)
        decision = None
        if worker is not None and question is not None and any(pod.pending for pod in pods):
            progress.say("looking for a plan", question.window)
            request = question.of(source)
            decision = make(source, request, worker).decision
            supposed = suppose(source, request, decision, worker)
    explained = explanations.explain_all(source.snapshot, pods, decision, source=source.flags)
    there, more = (Installed(), []) if files else installed(live)
    for warning in (*source.warnings, *more):
        terminal.warn(warning)
    now = time.time()
    does = [under_way(e.pod, source.snapshot, there, now) for e in explained]
    said = [_told(_submitting(e, source), doing) for e, doing in zip(explained, does, strict=True)]
    if output is Output.JSON:
        terminal.write(as_json(_object(said, does, source.what_if, supposed)))
        return
    look, program = terminal.look(), terminal.program()
    texts = [
        explanation_text(e, source.snapshot, look, program, tuple(under_way_text(doing, look)))
        for e, doing in zip(said, does, strict=True)
    ]
    texts[0] = "\n".join((*heading(source, supposed, decision, look, wide=True), texts[0]))
    terminal.write("\n\n\n".join(texts))


@contextmanager
def _solver(question: Question | None) -> Iterator[Worker | None]:
    """Start the solver where a plan is asked for."""
    if question is None:
        yield None
    else:
        with Worker() as worker:
            yield worker


def _asked(source: Source, what: Sequence[str], namespace: str | None) -> tuple[Pod, ...]:
    """Return the pod that is meant, or of the new ones one of each workload."""
    if what or source.what_if is None:
        return (find_pod(source.snapshot, what, namespace),)
    kinds: dict[object, Pod] = {}
    for pod in new_pods(source):
        kinds.setdefault((pod.namespace, pod.owner.uid if pod.owner else pod.uid, pod.shape), pod)
    return tuple(kinds.values())


def _submitting(said: explanations.Explanation, source: Source) -> explanations.Explanation:
    """Return an explanation whose next step fits pods that nobody has submitted."""
    what_if = source.what_if
    if what_if is None:
        return said
    if said.next_step.startswith("fairstow pools"):
        return replace(said, next_step=f"fairstow pools {source.cluster}".rstrip())
    if said.pod.uid not in what_if.uids or said.next_step.startswith("fairstow"):
        return said
    files = " ".join(f"-f {shlex.quote(f)}" for f in what_if.files)
    return replace(said, next_step=f"kubectl create {files}", next_why="submits it")


def _told(said: explanations.Explanation, doing: UnderWay) -> explanations.Explanation:
    """Return an explanation whose next step is that of a plan which serves the pod already."""
    if not doing.next_step:
        return said
    return replace(said, next_step=doing.next_step, next_why=doing.next_why)


def explanation_text(
    said: explanations.Explanation,
    snapshot: Snapshot,
    look: Look,
    program: str,
    under_way: Sequence[str] = (),
) -> str:
    """Return an explanation as a person reads it; `under_way` are lines for beside it."""
    return "\n".join(
        [
            *_head(said, snapshot, look),
            *under_way,
            *_bullets("Nodes left, rule by rule", [str(line) for line in said.funnel], look),
            *_bullets("Nearest nodes", [str(near) for near in said.nearest], look),
            *_bullets("Any one of these would let it run now", map(str, said.relaxations), look),
            *_plan(said, look),
            *_bullets("Not considered", said.not_considered, look),
            "",
            *_next(said, look, program),
        ]
    )


def _head(said: explanations.Explanation, snapshot: Snapshot, look: Look) -> Iterator[str]:
    pod = said.pod
    owner = f"{pod.owner}, " if pod.owner else ""
    tier = tier_name(snapshot, pod.shape.priority)
    yield wrapped(f"pod/{pod.ref} ({owner}priority {tier}) asks for {_asks(pod)}.", look.width)
    yield wrapped(said.verdict, look.width)
    if said.scheduler_says:
        words = said.scheduler_says[:_MESSAGE]
        more = "…" if len(said.scheduler_says) > _MESSAGE else ""
        yield wrapped(f"The scheduler's own words: {words}{more}", look.width)


def _asks(pod: Pod) -> str:
    asked = [f"{render(r, n)} {r}" for r, n in pod.shape.requests if r != "pods"]
    return ", ".join(asked) or "nothing in particular"


def _bullets(title: str, sentences: Any, look: Look) -> Iterator[str]:
    lines = [wrapped(s, look.width, "  - ", "    ") for s in sentences]
    if lines:
        yield from ("", title, *lines)


def _plan(said: explanations.Explanation, look: Look) -> Iterator[str]:
    fix = said.plan_fixes
    if fix is None:
        return
    yield from ("", "With a plan", wrapped(fix.text, look.width, "  "))
    moved = [m.pod for m in fix.moves] + [e.pod for e in fix.evictions]
    if all(pod.ref in fix.text for pod in moved):
        return
    lines = [f"  - {m.pod.ref}  {m.source} → {m.target}" for m in fix.moves]
    lines += [f"  - {e.pod.ref}  off {e.source}, for good" for e in fix.evictions]
    yield from listed(lines, _MOVES, "the plan shows all")


def _next(said: explanations.Explanation, look: Look, program: str) -> Iterator[str]:
    if said.next_step:
        step = said.next_step
        if step.startswith("fairstow "):
            step = program + step.removeprefix("fairstow")
        yield wrapped(f"Next ({said.next_why}):", look.width)
        yield f"  {one_line(step)}"


def _object(
    said: Sequence[explanations.Explanation],
    does: Sequence[UnderWay],
    what_if: WhatIf | None,
    supposed: Outcome,
) -> Any:
    """Return explanations as JSON types; several where they are of what is supposed."""
    if what_if is None:
        return explanation_object(said[0]) | {"underWay": under_way_object(does[0])}
    return {
        "whatIf": {
            "manifests": list(what_if.files),
            "pods": len(what_if.uids),
            "notConsidered": list(what_if.notes),
            "workloads": outcome_object(supposed),
        },
        "explanations": [explanation_object(each) for each in said],
    }


def explanation_object(said: explanations.Explanation) -> dict[str, Any]:
    """Return an explanation as JSON types."""
    pod, fix = said.pod, said.plan_fixes
    return {
        "pod": {
            "namespace": pod.namespace,
            "name": pod.name,
            "uid": pod.uid,
            "owner": str(pod.owner) if pod.owner else "",
            "priority": pod.shape.priority,
            "requests": {r: render(r, n) for r, n in pod.shape.requests},
        },
        "state": said.state.value,
        "verdict": said.verdict,
        "schedulerSays": said.scheduler_says,
        "funnel": [
            {"label": f.label, "nodesLeft": f.nodes_left, "detail": f.detail} for f in said.funnel
        ],
        "nearest": [_near(near) for near in said.nearest],
        "relaxations": [
            {"change": r.change.value, "text": r.text, "nodes": list(r.nodes)}
            for r in said.relaxations
        ],
        "plan": None
        if fix is None
        else {
            "text": fix.text,
            "node": fix.node,
            "moves": [{"pod": m.pod.ref, "from": m.source, "to": m.target} for m in fix.moves],
            "evictions": [{"pod": e.pod.ref, "from": e.source} for e in fix.evictions],
        },
        "notConsidered": list(said.not_considered),
        "next": {"command": said.next_step, "why": said.next_why},
    }


def _near(near: explanations.Near) -> dict[str, Any]:
    refusal = near.refusal
    return {
        "node": near.node,
        "deficits": [
            {
                "resource": d.resource,
                "wanted": render(d.resource, d.wanted),
                "free": render(d.resource, d.free),
                "missing": render(d.resource, d.missing),
            }
            for d in near.deficits
        ],
        "refusal": None if refusal is None else {"rule": refusal.rule, "detail": refusal.detail},
    }
