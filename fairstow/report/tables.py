"""The page's tables: pools, tiers with their proofs, steps."""

from collections.abc import Iterable, Sequence

from fairstow.cluster.model import Pod
from fairstow.cluster.pools import Pool
from fairstow.packing.explain.remedy import allowed
from fairstow.packing.model import Decision, Order, Proof, Tier
from fairstow.report.markup import bullets, count, esc, table
from fairstow.report.scene import letters

MOST_STEPS = 500

Table = tuple[str, Sequence[str], Iterable[Sequence[str]], Iterable[int]]


def pools_table(summaries: Sequence[Pool]) -> Table:
    """Return the arguments of the pools table."""
    heads = ("Product", "Nodes", "Total", "In use", "Free", "Largest hole", "Wait")
    rows = [
        (
            f"{esc(p.product or 'no product label')}<br><small>{esc(p.resource)}</small>",
            f"{p.nodes:,}",
            f"{p.total:,}",
            f"{p.allocated:,}",
            f"{p.free:,}" + (f" (and {p.shut:,} shut)" if p.shut else ""),
            f"{p.largest:,}",
            f"{p.pending_pods:,}",
        )
        for p in summaries
    ]
    caption = (
        "Accelerators by product. Largest hole: the most that is free on one node, so the largest "
        "pod that can start. Wait: pods that could use the pool; one may count in several."
    )
    return caption, heads, rows, range(1, 7)


def tiers_section(decision: Decision) -> str:
    """Return the outcome by priority, and what it does and doesn't claim."""
    name = decision.request.snapshot.priority_name
    rows = [
        (
            esc(name(t.priority))
            + ("" if name(t.priority) == str(t.priority) else f" <small>({t.priority})</small>"),
            f"{t.before:,}",
            f"{t.after:,}"
            + (f" <small>+{t.after - t.before:,}</small>" if t.after > t.before else ""),
            f"{t.pending:,}",
            f"{t.bound:,}",
            _proof(t),
        )
        for t in decision.tiers
    ]
    heads = ("Priority", "Before", "After", "Wait", "At most", "Proof")
    caption = (
        "Pods that have a node, by priority, before and after. Wait: those that still do. At most: "
        "what no plan can exceed. ✓ proved: the plan reaches it; △ gap: how far below it is."
    )
    return table(caption, heads, rows, range(1, 5)) + bullets(esc(s) for s in _claims(decision))


def _proof(tier: Tier) -> str:
    left_out = f" <small>{tier.left_out:,} not considered</small>" if tier.left_out else ""
    if tier.proof is Proof.OPTIMAL:
        return f'<span class="good">✓ proved</span>{left_out}'
    return f'<span class="warn">△ gap {tier.gap:,}</span>{left_out}'


def _claims(decision: Decision) -> list[str]:
    """What the proofs mean, and what they don't."""
    request = decision.request
    by_tier = request.order is Order.TIER_BY_TIER
    first = (
        "Each priority is settled, placements and then moves, before the next one is looked at"
        if by_tier
        else "Places come first, priority by priority; then as few moves as possible over all"
    )
    cost = (
        "The number of disturbances is proved to be the least for these placements."
        if decision.proved_least_cost
        else "It isn't proved that these placements need this many moves: fewer may do."
    )
    said = [
        f"{first}. A bound holds given what the priorities above it got.",
        f"The proofs are for plans with {allowed(decision)}, by the rules modelled here.",
        "They don't say that no other configuration, node or eviction would help.",
    ]
    if decision.placements or decision.moves:
        said.insert(1, cost)
    if any(t.left_out for t in decision.tiers):
        said.append("Pods that are not considered count as waiting, and not in the bounds.")
    return said


def steps_table(decision: Decision) -> str:
    """Return the steps as a table, each pod tagged as in the picture."""
    if not decision.steps:
        return "<p>None.</p>"
    tags = {m.pod.uid: letters(i) for i, m in enumerate(decision.moves)}
    tags |= {p.pod.uid: str(i) for i, p in enumerate(decision.placements, 1)}
    tags |= {e.pod.uid: "×" for e in decision.evictions}
    sources = {m.pod.uid: m.source for m in decision.moves}
    sources |= {e.pod.uid: e.source for e in decision.evictions}
    rows = [
        (
            str(number),
            "<br>".join(f"{_pod(p, tags)} from {esc(sources[p.uid])}" for p in step.evict) or "–",
            "<br>".join(f"{_pod(p, tags)} on {esc(node)}" for p, node in step.bind) or "–",
        )
        for number, step in enumerate(decision.steps[:MOST_STEPS], 1)
    ]
    caption = (
        "Pods of one step go down together, then the arrivals start in order. Every step fits in "
        "the state that the steps before it leave, so the plan can stop between any two."
    )
    more = len(decision.steps) - MOST_STEPS
    rest = f"<p>and {count(more, 'more step')}: see the plan itself</p>" if more > 0 else ""
    return table(caption, ("Step", "Goes down", "Starts"), rows, kind="pods") + rest


def _pod(pod: Pod, tags: dict[str, str]) -> str:
    return f'<span class="key">{tags.get(pod.uid, "")}</span> {esc(pod.ref)}'
