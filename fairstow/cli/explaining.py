"""`explain`: one pod, why it waits and what would help; as text and as an object."""

from collections.abc import Iterator, Sequence
from typing import Any

from fairstow.cli import terminal
from fairstow.cli.finding import find_pod
from fairstow.cli.layout import listed, one_line, wrapped
from fairstow.cli.live import Live
from fairstow.cli.making import make
from fairstow.cli.options import Output
from fairstow.cli.planning import Question
from fairstow.cli.progress import Progress
from fairstow.cli.serialise import as_json
from fairstow.cli.sources import load
from fairstow.cli.terminal import Look
from fairstow.cli.text import tier_name
from fairstow.cluster.model import Pod
from fairstow.cluster.quantity import render
from fairstow.cluster.snapshot import Snapshot
from fairstow.packing import explain as explanations
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
) -> None:
    """Explain a pod; `question` None looks for no plan."""
    if question is None:
        with Progress() as progress:
            source = load(files, live, keep=False, progress=progress.say)
        pod, decision = find_pod(source.snapshot, what, namespace), None
    else:
        with Worker() as worker, Progress() as progress:
            source = load(files, live, keep=True, progress=progress.say)
            pod = find_pod(source.snapshot, what, namespace)
            decision = None
            if pod.pending:
                progress.say("looking for a plan", question.window)
                decision = make(source, question.of(source), worker).decision
    said = explanations.explain(source.snapshot, pod, decision, source=source.flags)
    for warning in source.warnings:
        terminal.warn(warning)
    if output is Output.JSON:
        terminal.write(as_json(explanation_object(said)))
    else:
        look = terminal.look()
        text = explanation_text(said, source.snapshot, look, terminal.program())
        terminal.write(text)


def explanation_text(
    said: explanations.Explanation,
    snapshot: Snapshot,
    look: Look,
    program: str,
) -> str:
    """Return an explanation as a person reads it."""
    return "\n".join(
        [
            *_head(said, snapshot, look),
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
