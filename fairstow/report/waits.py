"""Explanations in the page: pods that still wait first, equal ones told once."""

from collections.abc import Sequence

from fairstow.cluster.model import Pod
from fairstow.packing.explain import Explanation
from fairstow.packing.model import Decision
from fairstow.report.markup import bullets, count, esc

_NAMED = 12


def waits(decision: Decision, explanations: Sequence[Explanation]) -> str:
    """Return the section on waiting pods; those the plan places come last."""
    placed = {p.pod.uid for p in decision.placements}
    left = [p for p in decision.request.snapshot.pending if p.uid not in placed]
    left += [e.pod for e in decision.evictions]
    still = [e for e in explanations if e.pod.uid not in placed]
    served = [e for e in explanations if e.pod.uid in placed]
    parts = []
    if left:
        parts.append(f"<p>{count(len(left), 'pod')} still wait{'s' if len(left) == 1 else ''} "
                     "after the plan.</p>")  # fmt: skip
    elif decision.request.snapshot.pending:
        parts.append("<p>With the plan, none.</p>")
    else:
        parts.append("<p>None.</p>")
    told = {e.pod.uid for e in still}
    kinds = {_kind(e.pod) for e in still}
    untold = [p for p in left if p.uid not in told]
    alike = [p for p in untold if _kind(p) in kinds]
    parts += [_told(group, alike) for group in _grouped(still)]
    if untold := [p for p in untold if _kind(p) not in kinds]:
        parts.append(
            f"<p>Not explained here: {_names([p.ref for p in untold])}. Ask with "
            "<code>fairstow explain pod/NAME -n NAMESPACE</code>.</p>"
        )
    if served:
        inner = "".join(_told(group) for group in _grouped(served))
        one = count(len(served), "pod")
        parts.append(f"<details><summary>Why {one} waited that the plan places</summary>"
                     f"{inner}</details>")  # fmt: skip
    return "".join(parts)


def _grouped(explanations: Sequence[Explanation]) -> list[list[Explanation]]:
    """Put explanations together that say the same of pods of one owner and shape."""
    groups: dict[tuple[object, ...], list[Explanation]] = {}
    for e in explanations:
        plan = str(e.plan_fixes) if e.plan_fixes else ""
        key = (e.pod.namespace, e.pod.owner, e.verdict, e.funnel, e.nearest, e.relaxations, plan)
        groups.setdefault(key, []).append(e)
    return list(groups.values())


def _kind(pod: Pod) -> tuple[object, ...]:
    """What pods share that no rule tells apart."""
    return (pod.namespace, pod.owner, pod.labels, pod.shape)


def _told(group: list[Explanation], alike: Sequence[Pod] = ()) -> str:
    """Return what holds for a group, and for pods alike that weren't explained themselves."""
    first = group[0]
    name = esc(first.pod.ref)
    same = [e.pod.ref for e in group[1:]]
    same += [p.ref for p in alike if _kind(p) == _kind(first.pod)]
    more = len(same)
    others = f"<p>The same holds for {_names(same)}.</p>" if more else ""
    parts = [
        _part("What is in the way", bullets((esc(line) for line in first.funnel), "funnel")),
        _part("Nearest nodes", bullets(esc(n) for n in first.nearest)),
        _part("What alone would let it run now", bullets(esc(r) for r in first.relaxations)),
        _part("The plan", esc(first.plan_fixes) if first.plan_fixes else ""),
        _part("Not considered for it", bullets(esc(s) for s in first.not_considered)),
        _part(
            "The scheduler's own last message",
            f"<blockquote>{esc(first.scheduler_says)}</blockquote>" if first.scheduler_says else "",
        ),
        _part(
            "Next",
            f"<code>{esc(first.next_step)}</code> {esc(first.next_why)}" if first.next_step else "",
        ),
    ]
    plus = f" and {count(more, 'more pod')}" if more else ""
    return (
        f'<div class="why"><h3>{name}{plus}</h3><p>{esc(first.verdict)}</p>{others}'
        f"<dl>{''.join(parts)}</dl></div>"
    )


def _part(head: str, inner: str) -> str:
    return f"<dt>{esc(head)}</dt><dd>{inner}</dd>" if inner else ""


def _names(refs: list[str]) -> str:
    more = f" and {len(refs) - _NAMED:,} more" if len(refs) > _NAMED else ""
    return esc(", ".join(refs[:_NAMED]) + more)
