"""A plan as text: evidence, what it does, what it means, one command to run next.

Called by `plan`. Pure: `plan_text` turns a checked plan into a string.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fairstow.cli import blocks
from fairstow.cli.evidence import waiting
from fairstow.cli.layout import count, listed, one_line, table, wrapped
from fairstow.cli.making import Made
from fairstow.cli.terminal import Look
from fairstow.cli.waiting import Group, reasons, still_waiting
from fairstow.cluster.model import Pod
from fairstow.cluster.pools import over_all
from fairstow.cluster.snapshot import Snapshot
from fairstow.cluster.times import duration
from fairstow.packing.model import Decision, Goal, Order, Proof, Step, Tier

_FETCH_BUDGETS = "kubectl get --raw /apis/policy/v1/poddisruptionbudgets > budgets.json"
"""Unlike `kubectl get`, says of what kind a list is even where it is empty."""

_SCREEN = 8
"""Lines of a section, unless everything is asked for."""


@dataclass(frozen=True)
class Page:
    """What is to be shown, and how.

    Attributes:
        flags: what names the source on a command line, such as `-f cluster.json --with job.yaml`.
        cluster: the same without what is only supposed.
        program: as the user calls it.
        wide: everything, instead of a screen.
        namespace: show the pods of this one only.
        report: the file that the picture was written to, if it was.
        heading: lines that say what is supposed, if anything is.
    """

    made: Made
    flags: str
    cluster: str
    program: str
    look: Look
    wide: bool = False
    namespace: str | None = None
    report: str | None = None
    heading: tuple[str, ...] = ()

    @property
    def decision(self) -> Decision:
        """What was decided."""
        return self.made.decision

    @property
    def snapshot(self) -> Snapshot:
        """The cluster it was decided on."""
        return self.decision.request.snapshot

    @property
    def defragments(self) -> bool:
        """Whether the plan is for blocks, not for pending pods."""
        return self.decision.request.goal is Goal.DEFRAGMENT

    def shows(self, pod: Pod) -> bool:
        """Whether a pod is to be shown."""
        return self.namespace in (None, pod.namespace)

    def command(self, words: str) -> str:
        """Return a command line that reads the same source."""
        return f"  {self.program} {words} {self.flags}".rstrip()


def plan_text(page: Page) -> str:
    """Return the text of a plan."""
    return "\n".join(
        [
            *page.heading,
            *_unknown_budgets(page),
            *(_opening_of_blocks(page) if page.defragments else _opening(page)),
            *_placements(page),
            *_moves(page),
            *_evictions(page),
            *_steps(page),
            *(() if page.defragments else _waiting(page)),
            *_not_considered(page),
            "",
            *(blocks.next_step(page) if page.defragments else _next(page)),
        ]
    )


def _opening(page: Page) -> tuple[str, ...]:
    return (*_summary(page), *_tiers(page), *_meaning(page))


def _opening_of_blocks(page: Page) -> tuple[str, ...]:
    return (*blocks.summary(page), *blocks.tallies(page), *blocks.meaning(page))


def unknown_budgets(flags: str) -> tuple[str, str]:
    """Return what it means that budgets aren't known, and what to do about it."""
    means = (
        "PodDisruptionBudgets are unknown, so this plan can't be approved: a move might break one."
    )
    if flags.startswith("-f"):
        ways = (
            "kubectl's lists don't tell none from unknown: read the cluster with `fairstow "
            "snapshot -o cluster.json.gz`, or add what this writes as another -f:"
        )
        return f"{means} {ways}", f"  {_FETCH_BUDGETS}"
    return (
        f"{means} Check the permission with:",
        "  kubectl auth can-i list poddisruptionbudgets -A",
    )


def _unknown_budgets(page: Page) -> Iterator[str]:
    if not page.decision.budgets_known:
        means, command = unknown_budgets(page.flags)
        yield from (wrapped(f"Warning: {means}", page.look.width), command, "")


def _summary(page: Page) -> Iterator[str]:
    decision, snapshot, width = page.decision, page.snapshot, page.look.width
    pods = len(snapshot.pending)
    nodes = count(len(snapshot.nodes), "node")
    rooms = [f"{p.free} of {p.total} {p.resource}" for p in over_all(snapshot)]
    free = f"; {', '.join(rooms)} are free" if rooms else ""
    if not pods:
        yield wrapped(f"No pod is pending on {nodes}{free}. Nothing to plan.", width)
        return
    yield wrapped(f"{_are(pods, 'pod')} pending on {nodes}{free}.", width)
    if decision.placements:
        yield wrapped(_does(page), width)
    elif all(tier.proof is Proof.OPTIMAL for tier in decision.tiers):
        yield wrapped(_nothing(page, pods), width)
    else:
        gap = sum(tier.gap for tier in decision.tiers)
        yield wrapped(
            f"No better placement was found within {_window(page)}; that {count(gap, 'more pod')} "
            f"could be placed isn't ruled out. More {_flag(page)} may find one.",
            width,
        )


def _nothing(page: Page, pods: int) -> str:
    """Say that it is proved that nothing can be placed, and of which pods that holds."""
    left_out = sum(tier.left_out for tier in page.decision.tiers)
    if left_out == pods:
        return "No plan can be made: these pods aren't considered, for reasons given below."
    said = "Nothing to improve: no plan under these rules places any of them"
    return said + (f" ({left_out} of them not considered)." if left_out else ".")


def _does(page: Page) -> str:
    decision = page.decision
    costs = [
        f"moving {count(len(decision.moves), 'running pod')}" if decision.moves else "",
        f"evicting {count(len(decision.evictions), 'pod')} of lower priority for good"
        if decision.evictions
        else "",
    ]
    by = " and ".join(filter(None, costs))
    how = f"by {by}" if by else "without disturbing any running pod"
    steps = count(page.made.verdict.steps_replayed, "step")
    return (
        f"This plan places {_part(len(decision.placements), len(page.snapshot.pending))} {how} "
        f"(checked: {steps}, every one feasible)."
    )


def _part(some: int, everything: int) -> str:
    if some < everything:
        return f"{some} of them"
    return "it" if everything == 1 else f"all {everything} of them"


def _are(number: int, noun: str) -> str:
    return f"{count(number, noun)} {'is' if number == 1 else 'are'}"


def _window(page: Page) -> str:
    """What the search was given: time, or so much work."""
    spec = page.made.wire["spec"]
    window: str = spec["window"]
    return f"an effort of {spec['effort']}" if spec.get("effort") else window


def _flag(page: Page) -> str:
    return "--effort" if page.made.wire["spec"].get("effort") else "--window"


def _tiers(page: Page) -> Iterator[str]:
    """Yield a line per priority; those that the plan is not about only where all is shown."""
    snapshot = page.snapshot
    every = page.decision.tiers
    tiers = [t for t in every if page.wide or t.pending or t.before != t.after]
    if not tiers:
        return
    before = waiting(snapshot)
    rows = [
        (
            tier_name(snapshot, tier.priority),
            str(before[tier.priority]),
            str(tier.before),
            str(tier.after),
            str(tier.pending),
            _proof(tier),
        )
        for tier in tiers
    ]
    headers = ("PRIORITY", "PENDING", "PLACED NOW", "WITH PLAN", "STILL PENDING", "PROOF")
    yield ""
    yield from table(headers, rows, page.look.width, "lrrrrl")
    if len(tiers) < len(every):
        others = count(len(every) - len(tiers), "other priority")
        yield f"({others.replace('ritys', 'rities')} with nothing pending)"


def tier_name(snapshot: Snapshot, priority: int) -> str:
    """Return a tier as people know it: `prod 1000`, or the number."""
    name = snapshot.priority_name(priority)
    return name if name == str(priority) else f"{name} {priority}"


def _proof(tier: Tier) -> str:
    proof = "optimal" if tier.proof is Proof.OPTIMAL else f"gap: {tier.gap} more not ruled out"
    return proof + (f"; {tier.left_out} not considered" if tier.left_out else "")


def _meaning(page: Page) -> Iterator[str]:
    decision = page.decision
    sentences = []
    if not page.snapshot.pending:
        return
    yield ""
    if any(tier.proof is Proof.OPTIMAL for tier in decision.tiers):
        sentences.append(
            "optimal: no plan under these rules places more pods of that priority, given what "
            "those above it get."
        )
    if decision.moves or decision.evictions:
        least = (
            f"It is proved that no plan with these placements disturbs less (cost {decision.cost})."
            if decision.proved_least_cost
            else f"That less disturbance would do isn't ruled out within {_window(page)}."
        )
        sentences.append(least)
    sentences.append(_rules(page))
    if decision.moves or decision.evictions:
        counted = count(decision.work_lost, "GPU-hour")
        lost = f" (counted as {counted})" if decision.work_lost else ""
        sentences.append(
            "Nothing has been changed. A pod that moves is evicted and started anew by its owner; "
            f"what it hasn't saved is lost{lost}."
        )
    for sentence in sentences:
        yield wrapped(sentence, page.look.width)


def _rules(page: Page) -> str:
    request = page.decision.request
    evictions = (
        f"at most {count(request.max_evictions, 'eviction')} for good (of lower priority only)"
        if request.max_evictions
        else "moves only, no eviction for good"
    )
    young = f", no pod younger than {duration(request.min_age)}" if request.min_age else ""
    most = f", at most {count(request.max_moves, 'move')}" if request.max_moves is not None else ""
    order = (
        "place first: every priority's placements, highest first, then the least disturbance"
        if request.order is Order.PLACE_FIRST
        else "tier by tier: no pod moves for the sake of a lower priority"
    )
    return f"Rules: {evictions}{most}{young}. Order: {order}."


def _section(page: Page, title: str, total: int, lines: Sequence[str]) -> Iterator[str]:
    if total:
        yield ""
        yield f"{title} ({total})"
        yield from listed(lines, None if page.wide else _SCREEN, "-o wide shows all")


def _placements(page: Page) -> Iterator[str]:
    by_owner: dict[tuple[str, str], dict[str, int]] = {}
    for p in page.decision.placements:
        if page.shows(p.pod):
            nodes = by_owner.setdefault((p.pod.namespace, owner_name(p.pod)), {})
            nodes[p.node] = nodes.get(p.node, 0) + 1
    shown = sum(sum(nodes.values()) for nodes in by_owner.values())
    rows = [
        (f"  {namespace}/{owner}", count(sum(nodes.values()), "pod"), "→", _on(nodes))
        for (namespace, owner), nodes in by_owner.items()
    ]
    yield from _section(page, "Placements", shown, _aligned(page, rows))


def owner_name(pod: Pod) -> str:
    """Return what people know a pod by: its owner, or itself where it has none."""
    return one_line(str(pod.owner)) if pod.owner else pod.name


def _on(nodes: dict[str, int]) -> str:
    return ", ".join(f"{node} ({n})" if n > 1 else node for node, n in nodes.items())


def _moves(page: Page) -> Iterator[str]:
    moves = [m for m in page.decision.moves if page.shows(m.pod)]
    rows = [
        (f"  {m.pod.ref}", _of(m.pod), m.source, f"→ {m.target}{_drained(page, m.pod)}")
        for m in moves
    ]
    yield from _section(page, "Moves", len(moves), _aligned(page, rows))


def _evictions(page: Page) -> Iterator[str]:
    evictions = [e for e in page.decision.evictions if page.shows(e.pod)]
    rows = [
        (f"  {e.pod.ref}", _of(e.pod), f"off {e.source}{_drained(page, e.pod)}") for e in evictions
    ]
    yield from _section(page, "Evictions for good", len(evictions), _aligned(page, rows))


def _drained(page: Page, pod: Pod) -> str:
    """Say of an LLM engine that its requests go elsewhere first."""
    return " (drained first)" if page.snapshot.engines.pools(pod) else ""


def _of(pod: Pod) -> str:
    return f"({owner_name(pod)})" if pod.owner else "(no owner)"


def _aligned(page: Page, rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows in columns; where that is too wide, a row's last part on a line of its own."""
    if not rows:
        return []
    lines = table(rows[0], rows[1:], None)
    width = page.look.width
    if width is None or max(map(len, lines)) <= width:
        return lines
    return [f"{row[0]}\n      {' '.join(row[1:])}" for row in rows]


def _steps(page: Page) -> Iterator[str]:
    if page.wide:
        lines = [f"  {n}. {_step(step)}" for n, step in enumerate(page.decision.steps, 1)]
        yield from _section(page, "Steps", len(lines), lines)


def _step(step: Step) -> str:
    """Return a step as a sentence: most are one move or one placement."""
    if [p.uid for p in step.evict] == [p.uid for p, _ in step.bind] and len(step.bind) == 1:
        return f"move {step.bind[0][0].ref} to {step.bind[0][1]}"
    parts = []
    if step.evict:
        parts.append(f"evict {', '.join(p.ref for p in step.evict)}")
    if step.bind:
        parts.append(f"bind {', '.join(f'{p.ref} on {node}' for p, node in step.bind)}")
    return ", then ".join(parts)


def _waiting(page: Page) -> Iterator[str]:
    groups = [g for g in still_waiting(page.decision) if page.shows(g.pods[0])]
    total = sum(len(g.pods) for g in groups)
    most = len(groups) if page.wide else _SCREEN // 2
    why = reasons(page.decision, groups[:most])
    lines = [_waits(page, g, said) for g, said in zip(groups[:most], why, strict=True)]
    yield from _section(page, "Still pending", total, lines)
    left = sum(len(g.pods) for g in groups[most:])
    if left:
        yield f"  ... and {left} more (-o wide shows all)"


def _waits(page: Page, group: Group, why: str) -> str:
    first = group.pods[0]
    who = f"  {first.namespace}/{owner_name(first)}, {count(len(group.pods), 'pod')}"
    tier = tier_name(page.snapshot, first.shape.priority)
    return f"{who} of {tier}:\n" + wrapped(why, page.look.width, "      ")


def _not_considered(page: Page) -> Iterator[str]:
    said = page.decision.not_considered
    yield from _section(page, "Not considered", len(said), _bullets(page, said))


def _bullets(page: Page, sentences: Iterable[str]) -> list[str]:
    return [wrapped(s, page.look.width, "  - ", "    ") for s in sentences]


def _next(page: Page) -> Iterator[str]:
    groups = still_waiting(page.decision)
    if page.decision.placements and page.report is None:
        yield "Next: see the nodes before and after."
        yield page.command("plan --report plan.html")
    elif groups:
        yield "Next: see what would let one of them run."
        yield page.command(f"explain pod/{groups[0].pods[0].ref}")
    elif page.decision.placements:
        yield "Next: keep the plan, so that it can be checked again later (plan --check)."
        yield page.command("plan -o json") + " > plan.json"
    else:
        yield "Next: see where the free room is."
        yield f"  {page.program} pools {page.cluster}".rstrip()
