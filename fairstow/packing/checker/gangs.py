"""Gangs: pods that run together or not at all.

What names a gang is read by `pod_rules.read_gang`; that its running members stay is judged by
`movable`. Here, after the replay: a plan that places members of a gang must leave it with as many
running as it needs. Sources: coscheduling's and Volcano's PodGroup, Kueue's plain pod groups.
"""

from collections.abc import Mapping

from fairstow.packing.checker.cluster import Cluster
from fairstow.packing.checker.plan import Plan
from fairstow.packing.checker.pods import Pod
from fairstow.packing.checker.verdict import Report, Rule

_TOTAL_COUNT = "kueue.x-k8s.io/pod-group-total-count"


def check_gangs(cluster: Cluster, plan: Plan, homes: Mapping[str, str], report: Report) -> None:
    """Check every gang of which the plan places somebody, in the state it ends with."""
    placed: dict[str, list[Pod]] = {}
    for change in plan.changes:
        pod = cluster.pods.get(change.pod.key)
        if change.role == "placement" and pod is not None and pod.gang:
            placed.setdefault(pod.gang, []).append(pod)
    if not placed:
        return
    members: dict[str, list[Pod]] = {gang: [] for gang in placed}
    for pod in cluster.pods.values():
        if pod.gang in members and not pod.finished:
            members[pod.gang].append(pod)
    for gang, pods in placed.items():
        needed, why = _needed(cluster, gang, members[gang])
        running = sum(pod.key in homes and not pod.terminating for pod in members[gang])
        if running < needed:
            message = (
                f"gang {gang}: {running} of its pods would run, {len(pods)} of them by this plan, "
                f"and {needed} must ({why})"
            )
            report.add(Rule.GANG_SPLIT, message, pod=pods[0].key)


def _needed(cluster: Cluster, gang: str, members: list[Pod]) -> tuple[int, str]:
    """Return how many must run, and who says so."""
    if gang in cluster.gangs:
        return cluster.gangs[gang], "minMember of its PodGroup"
    counts = [pod.annotations.get(_TOTAL_COUNT, "") for pod in members]
    numbers = [int(count) for count in counts if count.isascii() and count.isdigit()]
    if numbers:
        return max(numbers), f"annotation {_TOTAL_COUNT}"
    return len(members), "all that there are, since nothing says how many"
