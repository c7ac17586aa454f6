"""The page: evidence, outcome and proofs, the picture, the steps, who still waits, what next.

The order is that of every report: evidence → what it means, and what it doesn't claim → one
command to run → before you do → how to stop it happening again.
"""

from collections.abc import Sequence

from fairstow.api import PackingPlan
from fairstow.cluster.pools import over_all, pools
from fairstow.packing.explain import Explanation
from fairstow.packing.model import Decision, Goal
from fairstow.report.advice import advice
from fairstow.report.blocks import blocks_section, freed_blocks
from fairstow.report.markup import bullets, count, esc, table
from fairstow.report.picture import figure
from fairstow.report.style import DRAWING, PAGE, variables
from fairstow.report.tables import pools_table, steps_table, tiers_section
from fairstow.report.waits import waits


def page(
    decision: Decision,
    plan: PackingPlan,
    explanations: Sequence[Explanation],
    *,
    title: str,
    source: str = "",
) -> str:
    """Return the report as one HTML file.

    Args:
        decision: the planner's answer.
        plan: the same as an object people run commands on.
        explanations: for pods of interest; usually those that still wait.
        title: the page's heading.
        source: arguments that make a command read the same input, such as `-f dump.json`.
    """
    freed = decision.request.goal is Goal.DEFRAGMENT
    achieved = blocks_section(decision) if freed else tiers_section(decision)
    waiting = () if freed else (("What waits, and why", waits(decision, explanations)),)
    sections = (
        ("The cluster now", _evidence(decision)),
        ("What the plan achieves", achieved),
        ("Nodes before and after", figure(decision)),
        ("Steps, in order", steps_table(decision)),
        *waiting,
        ("Not considered", _not_considered(decision)),
        ("What to do", advice(decision, plan, source)),
    )
    body = "".join(f"<section><h2>{esc(head)}</h2>{inner}</section>" for head, inner in sections)
    name = plan.metadata.name
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{esc(title)}</title><style>{variables()}{DRAWING}{PAGE}</style></head><body>"
        f'<header><h1>{esc(title)}</h1><p class="from">Plan {esc(name)}, from snapshot '
        f"{esc(decision.request.snapshot.hash[:12])}</p>{_lead(decision)}{_facts(decision)}"
        f"</header><main>{body}</main><footer>Made by Fairstow. The page is one file: it loads "
        "nothing and sends nothing.</footer></body></html>\n"
    )


def _lead(decision: Decision) -> str:
    """Say the outcome in two sentences."""
    if decision.request.goal is Goal.DEFRAGMENT:
        return f'<p class="lead">{esc(freed_blocks(decision))}</p>'
    waiting = len(decision.request.snapshot.pending)
    placed, moved, lost = (
        len(decision.placements), len(decision.moves), len(decision.evictions)
    )  # fmt: skip
    if not waiting:
        said = "No pod waits for a node. There is nothing to plan."
    elif not placed:
        said = f"{count(waiting, 'pod')} wait{'s' if waiting == 1 else ''}, and the plan changes "
        said += "nothing."
    else:
        said = f"{placed} of {count(waiting, 'waiting pod')} get{'s' if placed == 1 else ''} a node"
        said += f" by moving {count(moved, 'running pod')}" if moved else " with nothing moved"
        said += f" and evicting {lost} for good." if lost else "; none is evicted for good."
    gaps = sum(t.gap for t in decision.tiers)
    if waiting and gaps:
        proof = f" It isn't proved to be the best: up to {count(gaps, 'more pod')} may be possible."
    elif waiting:
        proof = " No plan under the same rules runs more, priority by priority: that is proved."
    else:
        proof = ""
    return f'<p class="lead">{esc(said + proof)}</p>'


def _facts(decision: Decision) -> str:
    snapshot = decision.request.snapshot
    waiting = len(snapshot.pending)
    facts = [
        (f"{len(decision.placements)} <small>of {waiting:,}</small>", "waiting pods get a node"),
        (f"{len(decision.moves):,}", "running pods move"),
        (f"{len(decision.evictions):,}", "evicted for good"),
        (f"{len(decision.steps):,}", "steps"),
    ]
    if decision.request.goal is Goal.DEFRAGMENT:
        facts[:1] = [
            (f"{b.before:,} → {b.after:,}", f"free blocks of {b.size} {esc(b.resource)}")
            for b in decision.blocks[:2]
        ]
    for free in over_all(snapshot)[:2]:
        gained = _asked(decision, free.resource)
        allocated = f"{free.allocated:,}" + (f" → {free.allocated + gained:,}" if gained else "")
        facts.append((f"{allocated} <small>of {free.total:,}</small>",
                      f"{esc(free.resource)} in use"))  # fmt: skip
    return bullets((f"<b>{number}</b><span>{said}</span>" for number, said in facts), "facts")


def _asked(decision: Decision, resource: str) -> int:
    """What the plan adds to a resource's use."""
    come = sum(dict(p.pod.shape.requests).get(resource, 0) for p in decision.placements)
    return come - sum(dict(e.pod.shape.requests).get(resource, 0) for e in decision.evictions)


def _evidence(decision: Decision) -> str:
    snapshot = decision.request.snapshot
    shut = sum(1 for n in snapshot.nodes if n.closed or n.unschedulable)
    running = sum(1 for p in snapshot.pods if p.node)
    said = (
        f"{count(len(snapshot.nodes), 'node')}"
        + (f", {shut:,} of them taking no pods (cordoned, not Ready or going away)" if shut else "")
        + f". {count(running, 'pod')} on nodes, {len(snapshot.pending):,} waiting."
    )
    summaries = pools(snapshot)
    if not summaries:
        return f"<p>{esc(said)} No node offers an accelerator.</p>"
    found = table(*pools_table(summaries))
    holes = [
        f"{f.free:,} {f.resource} are free, the largest hole on one node is {f.largest:,}"
        for f in over_all(snapshot)
    ]
    return f"<p>{esc(said)} {esc('; '.join(holes))}.</p>{found}"


def _not_considered(decision: Decision) -> str:
    said = bullets(esc(s) for s in decision.not_considered)
    return (
        (said or "<p>Nothing in this cluster was left out.</p>")
        + "<p class=muted>Never considered: preferences (preferred affinity, ScheduleAnyway), "
        "quotas, and what a pod really uses as opposed to what it requests.</p>"
    )
