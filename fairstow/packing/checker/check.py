"""The check of a whole plan, as one page of numbered steps."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from fairstow.packing.checker.blocks import check_blocks
from fairstow.packing.checker.bookkeeping import check_changes, check_steps
from fairstow.packing.checker.cluster import Cluster, read_cluster
from fairstow.packing.checker.costs import check_ages, check_cost
from fairstow.packing.checker.gangs import check_gangs
from fairstow.packing.checker.plan import Plan, read_plan
from fairstow.packing.checker.replay import Replay
from fairstow.packing.checker.verdict import Report, Rule, TierCount, Verdict


def check(
    objects: Iterable[Mapping[str, Any]],
    plan: Mapping[str, Any],
    *,
    budgets_known: bool,
    kinds_known: Iterable[str] = (),
) -> Verdict:
    """Judge a plan against the cluster it was made for.

    Args:
        objects: raw Kubernetes objects, as the items of `kubectl get -o json`. Read are Node,
            Pod, PodDisruptionBudget, Job, Namespace, PodGroup, PersistentVolume,
            PersistentVolumeClaim, StorageClass, CSINode, CSIDriver, VolumeAttachment, ServingPool
            and InstanceDrain.
        plan: a PackingPlan as parsed JSON or YAML.
        budgets_known: whether the input says what PodDisruptionBudgets there are.
        kinds_known: kinds of which the input says all there is, even if that is nothing. Other
            kinds without an object are unknown.

    Raises:
        CheckError: the objects can't be read. Whatever is wrong with the plan is a violation.
    """
    # 1. Read both, independently of everything else in Fairstow.
    cluster = read_cluster(objects, kinds_known)
    report = Report()
    read = read_plan(plan, report)
    if read is None:
        return Verdict(False, tuple(report.violations), omitted=report.omitted)
    # 2. What the plan says of the pods, and that the steps do exactly that.
    _check_budgets(read, budgets_known, report)
    check_changes(cluster, read, report)
    check_steps(read, report)
    # 3. Every step in the state the ones before it left.
    homes = Replay(cluster, read, report).run()
    check_gangs(cluster, read, homes, report)
    check_blocks(cluster, read, homes, report)
    # 4. The figures, from the state before and after.
    tiers = _count(cluster, homes)
    _check_tiers(read, tiers, report)
    _check_progress(tiers, report)
    cost = check_cost(cluster, read, report)
    check_ages(cluster, read, report)
    roles = Counter(change.role for change in read.changes)
    return Verdict(
        accepted=not report.violations,
        violations=tuple(report.violations),
        steps_replayed=len(read.steps),
        omitted=report.omitted,
        placements=roles["placement"],
        moves=roles["move"],
        evictions=roles["eviction"],
        cost=cost,
        tiers=tiers,
        notes=tuple(report.notes),
    )


def _check_budgets(plan: Plan, known: bool, report: Report) -> None:
    if plan.budgets_known != known:
        says, is_ = ("Known", "unknown") if plan.budgets_known else ("Unknown", "known")
        message = f"the plan says budgets: {says}, but the input's disruption budgets are {is_}"
        report.add(Rule.BUDGETS_MISMATCH, message)
    reasons = {
        "its rules are the paper's": plan.paper,
        "the disruption budgets are unknown": not plan.budgets_known,
        "it supposes pods that nobody has submitted": plan.what_if,
    }
    why = next((said for said, so in reasons.items() if so), "")
    if plan.approved and why:
        report.add(Rule.NOT_APPROVABLE, f"the plan is approved although {why}")


def _count(cluster: Cluster, homes: Mapping[str, str]) -> tuple[TierCount, ...]:
    """Count the considered pods per priority; one evicted for good is pending again."""
    before, after, total = Counter[int](), Counter[int](), Counter[int]()
    for pod in cluster.pods.values():
        if pod.considered:
            total[pod.priority] += 1
            before[pod.priority] += bool(pod.home)
            after[pod.priority] += pod.key in homes
    return tuple(
        TierCount(p, before[p], after[p], total[p] - after[p]) for p in sorted(total, reverse=True)
    )


def _check_tiers(plan: Plan, counted: tuple[TierCount, ...], report: Report) -> None:
    claimed, actual = [t.priority for t in plan.tiers], [c.priority for c in counted]
    if claimed != actual:
        message = f"the tiers are {_listed(claimed)}, the cluster's priorities {_listed(actual)}"
        report.add(Rule.TIER_LIST_MISMATCH, message)
    by_priority = {count.priority: count for count in counted}
    for tier in plan.tiers:
        count = by_priority.get(tier.priority)
        figures = (
            ()
            if count is None
            else (
                ("placedBefore", tier.placed_before, count.placed_before),
                ("placedAfter", tier.placed_after, count.placed_after),
                ("pending", tier.pending, count.pending),
            )
        )
        for name, claim, fact in figures:
            if claim != fact:
                message = f"tier {tier.priority}: {name} is {claim}, the replay gives {fact}"
                report.add(Rule.TIER_COUNT_MISMATCH, message)
        if tier.bound < tier.placed_after:
            message = f"tier {tier.priority}: bound {tier.bound} < placedAfter {tier.placed_after}"
            report.add(Rule.BOUND_TOO_LOW, message)
        gap = tier.bound - tier.placed_after
        proof = "Gap" if gap else "Optimal"
        if gap >= 0 and (tier.proof, tier.gap_pods) != (proof, gap):
            message = (
                f"tier {tier.priority}: {tier.proof} with gapPods {tier.gap_pods}, "
                f"but bound - placedAfter is {gap}"
            )
            report.add(Rule.PROOF_INCONSISTENT, message)


def _listed(priorities: list[int]) -> str:
    shown = ", ".join(map(str, priorities[:10]))
    return f"[{shown}, ...]" if len(priorities) > 10 else f"[{shown}]"


def _check_progress(tiers: tuple[TierCount, ...], report: Report) -> None:
    for tier in tiers:
        if tier.placed_after > tier.placed_before:
            return
        if tier.placed_after < tier.placed_before:
            message = (
                f"tier {tier.priority}: {tier.placed_after} pods placed instead of "
                f"{tier.placed_before}, and no higher tier gains"
            )
            report.add(Rule.WORSE_THAN_BEFORE, message)
            return
