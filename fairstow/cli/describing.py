"""`describe plan/X`: one plan on a page, where it stands, what it waits for, step by step.

Called by `verbs`. The page is a pure function of the plan and a clock.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import msgspec

from fairstow.cli import terminal
from fairstow.cli.layout import count, listed, table, wrapped
from fairstow.cli.live import Live
from fairstow.cli.objects import PLAN_WORDS, PLANS, named, objects, read
from fairstow.cli.options import DescribeOutput
from fairstow.cli.seen import Plan, PodEntry, Standing, Step, age, standing
from fairstow.cli.serialise import as_json, as_yaml

_STEPS = 20


def describe(what: Sequence[str], live: Live, output: DescribeOutput) -> None:
    """Show a plan."""
    with objects(live) as api:
        raw = api.get(PLANS, named(what, PLAN_WORDS))
    if output is DescribeOutput.JSON:
        terminal.write(as_json(msgspec.json.decode(raw)))
    elif output is DescribeOutput.YAML:
        terminal.write(as_yaml(msgspec.json.decode(raw)))
    else:
        wide = output is DescribeOutput.WIDE
        lines = page(read(raw, Plan), time.time(), terminal.look().width, wide=wide)
        terminal.write("\n".join(lines))


def page(plan: Plan, now: float, width: int | None, *, wide: bool = False) -> Iterator[str]:
    """Yield a plan's page: evidence, what it means, one command."""
    stands, spec = standing(plan), plan.spec
    yield f"plan/{plan.name}: {stands.state}{f' ({stands.reason})' if stands.reason else ''}"
    if stands.message:
        yield wrapped(stands.message, width)
    yield ""
    yield from _facts(plan, now)
    conditions = [
        [c.type, c.status, c.reason, f"{age(c.last_transition_time, now)} ago", c.message]
        for c in plan.status.conditions
    ]
    if conditions:
        yield from ("", "Conditions")
        heads = ["TYPE", "STATUS", "REASON", "SINCE", "SAYS"]
        yield from (f"  {line}" for line in table(heads, conditions, width and width - 2))
    yield from ("", f"Steps ({len(spec.steps)})")
    most = None if wide else _STEPS
    yield from listed([_step(plan, i, s) for i, s in enumerate(spec.steps)], most, "-o wide")
    yield from _kept(plan, stands)
    yield from ("", *_next(plan, stands))


def _facts(plan: Plan, now: float) -> Iterator[str]:
    spec = plan.spec
    decided = "nobody yet"
    if spec.approval:
        decided = f"{spec.approval.decision.lower()} by {spec.approval.by}"
    if spec.abort:
        decided += f", stopped by {spec.abort.by}"
    what = (
        f"{count(len(spec.placements), 'pod')} placed, {len(spec.moves)} moved, "
        f"{len(spec.evictions)} evicted for good; cost {spec.cost}"
    )
    rows = [
        ("Made", f"{age(plan.metadata.creation_timestamp, now)} ago, "
                 + (f"under policy {spec.policy}" if spec.policy else "by hand")),
        ("Goal", f"{spec.goal}: {what}"),
        ("Decided", decided),
        ("Progress", _progress(plan, now)),
    ]  # fmt: skip
    yield from (f"  {name:<10}{text}" for name, text in rows)


def _progress(plan: Plan, now: float) -> str:
    status, total = plan.status, len(plan.spec.steps)
    done = f"{status.steps_done} of {count(total, 'step')} done"
    if status.step and not standing(plan).finished:
        since = age(status.step.started_at, now)
        return f"{done}, step {status.step.index + 1} under way for {since}"
    return done


def _step(plan: Plan, index: int, step: Step) -> str:
    status = plan.status
    mark = "done" if index < status.steps_done else "-"
    if index == status.steps_done and not standing(plan).finished:
        mark = "now" if status.step and status.step.index == index else "next"
    return f"  {index + 1:>3}. {mark:<4}  {_words(step, plan)}"


def _words(step: Step, plan: Plan) -> str:
    source = {p.uid: p.from_ for p in (*plan.spec.moves, *plan.spec.evictions)}
    target = {p.uid: p.node for p in step.bind}
    parts = []
    for pod in step.evict:
        if pod.uid in target:
            parts.append(f"move {pod.ref} {source.get(pod.uid, '?')} → {target[pod.uid]}")
        else:
            parts.append(f"evict {pod.ref} from {source.get(pod.uid, '?')}")
    moved = {p.uid for p in step.evict}
    parts += [f"place {pod.ref} on {pod.node}" for pod in step.bind if pod.uid not in moved]
    return ", ".join(parts)


def _kept(plan: Plan, stands: Standing) -> Iterator[str]:
    """Yield the room that the plan keeps while it is carried out."""
    if stands.state != "Executing":
        return
    owners = {p.uid: p.owner for p in (*plan.spec.placements, *plan.spec.moves)}
    kept: dict[tuple[str, str], int] = {}
    for step in plan.spec.steps[plan.status.steps_done :]:
        for pod in step.bind:
            who = _who(pod, owners.get(pod.uid, ""))
            kept[pod.node, who] = kept.get((pod.node, who), 0) + 1
    yield from ("", "Room kept meanwhile")
    lines = [
        f"  {node}: for {count(number, 'pod')} of {who}"
        for (node, who), number in sorted(kept.items())
    ]
    yield from listed(lines, _STEPS, "kubectl get -o yaml shows all")


def _who(pod: PodEntry, owner: str) -> str:
    return f"{pod.namespace}/{owner}" if owner else f"pod {pod.ref}"


def _next(plan: Plan, stands: Standing) -> Iterator[str]:
    program = terminal.program()
    if stands.state == "New":
        yield "The operator hasn't looked at it yet. Next: see whether it runs."
        yield f"  {program} doctor"
    elif stands.state == "Waiting" and not plan.spec.approval:
        yield "Next: decide."
        yield f"  {program} approve plan/{plan.name}"
    elif not stands.finished:
        yield "Next: follow it; to stop it between two steps: abort."
        yield f"  {program} plans -w"
    elif stands.state == "Succeeded":
        yield "Next: see what earlier plans came to."
        yield f"  {program} history"
    else:
        yield "Next: make a new plan from the cluster as it is now."
        yield f"  {program} plan --apply"
