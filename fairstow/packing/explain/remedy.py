"""What a plan does for one pod: places it, after which moves; moves it; or why it still waits."""

from collections.abc import Iterable, Mapping

from fairstow.cluster.model import Pod
from fairstow.packing.between import unplanned
from fairstow.packing.explain.model import PlanFix
from fairstow.packing.model import Decision, Eviction, Move, Order, Proof, RuleSet


def plan_fix(decision: Decision, pod: Pod, *, tried: bool) -> PlanFix | None:
    """Return what the plan does to a pod; None for a pod that has its node and keeps it.

    `tried` says whether the planner considers the pod, if it is pending.
    """
    placement = next((p for p in decision.placements if p.pod.uid == pod.uid), None)
    if placement is not None:
        return _placed(decision, pod, placement.node)
    move = next((m for m in decision.moves if m.pod.uid == pod.uid), None)
    if move is not None:
        text = (
            f"The plan moves it from {move.source} to {move.target}{_when(decision, pod)}: it is "
            "evicted there and recreated here."
        )
        return PlanFix(text, move.target, (move,))
    eviction = next((e for e in decision.evictions if e.pod.uid == pod.uid), None)
    if eviction is not None:
        text = f"The plan evicts it from {eviction.source} for good{_when(decision, pod)}."
        return PlanFix(text, "", (), (eviction,))
    if not pod.pending:
        return None
    if tried:
        return PlanFix(waiting(decision, pod))
    return PlanFix(f"The plan doesn't try it: {untried(pod)}.")


def untried(pod: Pod) -> str:
    """Say why the planner doesn't consider a pending pod (`formulate.left_out`)."""
    if rules := unplanned(pod):
        return f"it uses {rules}, which the planner doesn't model yet"
    if pod.gang:
        return f"too few pods of gang {pod.gang} can be placed"
    return "what decides about its claims isn't modelled, or isn't in the input"


def waiting(decision: Decision, pod: Pod) -> str:
    """Say why a plan that tries a pending pod leaves it waiting, as far as it is proved."""
    tier = next((t for t in decision.tiers if t.priority == pod.shape.priority), None)
    if tier is None:
        return "The plan leaves it waiting."
    name = decision.request.snapshot.priority_name(tier.priority)
    if tier.proof is Proof.GAP:
        more = f"up to {tier.gap} more {'pod' if tier.gap == 1 else 'pods'} of priority"
        return (
            f"The plan leaves it waiting. It isn't proved that it must: {more} "
            f"{name} may be possible; a longer window may find them, or prove there is none."
        )
    given = "" if tier is decision.tiers[0] else _given(decision)
    return (
        f"The plan leaves it waiting. Proved: with {allowed(decision)}{given}, no plan runs more "
        f"pods of priority {name} than this one ({tier.after})."
    )


def allowed(decision: Decision) -> str:
    """Say what a plan was allowed to do, as it goes into its proofs."""
    request = decision.request
    if request.rules is RuleSet.PAPER:
        return "moves and evictions, by the rules of the paper,"
    moves = (
        "moves" if request.max_moves is None else f"at most {_some_of(request.max_moves, 'move')}"
    )
    if request.max_evictions:
        return f"{moves} and at most {_some_of(request.max_evictions, 'eviction')} for good"
    return f"{moves} only"


def needed(
    decision: Decision, placed: Iterable[tuple[Pod, str]]
) -> tuple[list[Move], list[Eviction]]:
    """Return a part of the plan's departures that makes room for some of its placements together.

    Room counts as it is now, so what others of the plan take isn't charged to these pods: on each
    node departures are added, the most helpful first, until the arrivals this needs fit; a move
    added is itself an arrival elsewhere.
    """
    leaving: dict[str, list[Move | Eviction]] = {}
    departures: list[Move | Eviction] = [*decision.moves, *decision.evictions]
    for departure in departures:
        leaving.setdefault(departure.source, []).append(departure)
    snapshot = decision.request.snapshot
    room: dict[str, dict[str, int]] = {}
    arrivals, chosen = list(placed), set[str]()
    while arrivals:
        arriving, target = arrivals.pop()
        if target not in room:
            room[target] = snapshot.free(snapshot.node_by_name[target])
        free = room[target]
        for resource, amount in arriving.shape.requests:
            free[resource] = free.get(resource, 0) - amount
        asked = [r for r, _ in arriving.shape.requests]
        while (short := {r: -free[r] for r in asked if free[r] < 0}) and leaving.get(target):
            best = max(leaving[target], key=lambda d: _help(d.pod, short))
            leaving[target].remove(best)
            for resource, amount in best.pod.shape.requests:
                free[resource] = free.get(resource, 0) + amount
            chosen.add(best.pod.uid)
            if isinstance(best, Move):
                arrivals.append((best.pod, best.target))
    return (
        [m for m in decision.moves if m.pod.uid in chosen],
        [e for e in decision.evictions if e.pod.uid in chosen],
    )


def _help(pod: Pod, short: Mapping[str, int]) -> float:
    return sum(min(a, short[r]) / short[r] for r, a in pod.shape.requests if r in short)


def _placed(decision: Decision, pod: Pod, node: str) -> PlanFix:
    moves, evictions = needed(decision, [(pod, node)])
    snapshot = decision.request.snapshot
    told = [f"{m.pod.ref}: {m.source} → {m.target}" for m in moves]
    gone = [f"{e.pod.ref} from {e.source}" for e in evictions]
    text = f"The plan places it on {node}{_when(decision, pod)}"
    if moves:
        text += f" after moving {_count(moves, 'pod')} ({_some(told)})"
    if evictions:
        text += f"{' and' if moves else ' after'} evicting {_count(evictions, 'pod')} for good "
        text += f"({_some(gone)})"
    if not moves and not evictions:
        text += "; nothing has to move for it"
    leaving = [*(m.pod for m in moves), *(e.pod for e in evictions)]
    if engines := [pod.ref for pod in leaving if snapshot.engines.pools(pod)]:
        text += f"; LLM engines hand their requests over first: {_some(engines)}"
    return PlanFix(text + ".", node, tuple(moves), tuple(evictions))


def _when(decision: Decision, pod: Pod) -> str:
    for number, step in enumerate(decision.steps, 1):
        if any(p.uid == pod.uid for p in (*step.evict, *(p for p, _ in step.bind))):
            return f" in step {number} of {len(decision.steps)}"
    return ""


def _given(decision: Decision) -> str:
    """What a tier's proof takes as given."""
    if decision.request.order is Order.TIER_BY_TIER:
        return ", once higher priorities have their places with the fewest moves"
    return ", and no place taken from a higher priority"


def _count(entries: list[Move] | list[Eviction], noun: str) -> str:
    return _some_of(len(entries), noun)


def _some_of(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _some(told: list[str]) -> str:
    more = f" and {len(told) - 3} more" if len(told) > 3 else ""
    return ", ".join(told[:3]) + more
