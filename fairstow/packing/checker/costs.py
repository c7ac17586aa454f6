"""What a plan costs, and whether the pods it disturbs are old enough, from the raw objects.

Under the product's rules a move is 1, an eviction for good 100, and each adds the work that the
pod loses: its GPUs times the hours since it started or declared a checkpoint, rounded down to a
power of two, at most 64. An LLM engine loses none while others of its pool have memory for its
requests, else 64. Under the paper's rules a move is 2, an eviction 1.
"""

from collections import Counter

from fairstow.packing.checker.cluster import Cluster
from fairstow.packing.checker.plan import Plan
from fairstow.packing.checker.pods import Pod
from fairstow.packing.checker.verdict import Report, Rule

_STEPS = (64, 32, 16, 8, 4, 2, 1)
_GPUS = (
    "nvidia.com/gpu",
    "nvidia.com/mig-",
    "amd.com/gpu",
    "gpu.intel.com/",
    "google.com/tpu",
    "habana.ai/gaudi",
    "aws.amazon.com/neuron",
    "huawei.com/Ascend",
    "cambricon.com/",
    "tenstorrent.com/",
)
"""How the names of resources start that count as GPUs."""


def check_cost(cluster: Cluster, plan: Plan, report: Report) -> int:
    """Return the plan's cost in units; report it if the plan says another."""
    roles = Counter(change.role for change in plan.changes)
    per_move, per_eviction = (2, 1) if plan.paper else (1, 100)
    lost = 0 if plan.paper else sum(_work(pod, cluster, plan) for pod in _disturbed(cluster, plan))
    cost = per_move * roles["move"] + per_eviction * roles["eviction"] + lost
    if plan.cost != cost:
        message = (
            f"the cost is {plan.cost}, but {roles['move']} moves at {per_move}, "
            f"{roles['eviction']} evictions at {per_eviction} and {lost} for lost work make {cost}"
        )
        report.add(Rule.COST_MISMATCH, message)
    return cost


def check_ages(cluster: Cluster, plan: Plan, report: Report) -> None:
    """Check that the plan isn't of a later moment than the input, and keeps its minimum age."""
    if plan.taken_at is not None and cluster.newest is not None and plan.taken_at > cluster.newest:
        ahead = plan.taken_at - cluster.newest
        message = f"takenAt is {ahead} s later than the newest time in the input"
        report.add(Rule.TAKEN_LATER, message)
    if not plan.minimum_age:
        return
    now = _now(cluster, plan)
    for pod in _disturbed(cluster, plan):
        if now is None or pod.started is None:
            message = f"{pod.key} is disturbed and its age isn't known, but there is a minimum age"
        elif (now - pod.started) * 1000 < plan.minimum_age:
            message = (
                f"{pod.key} had run for {now - pod.started} s, the plan's minimum age is "
                f"{plan.minimum_age} ms"
            )
        else:
            continue
        report.add(Rule.TOO_YOUNG, message, pod=pod.key)


def _disturbed(cluster: Cluster, plan: Plan) -> list[Pod]:
    """Return the pods that are moved or evicted, as far as they are there."""
    found = [cluster.pods.get(c.pod.key) for c in plan.changes if c.role != "placement"]
    return [pod for pod in found if pod is not None]


def _now(cluster: Cluster, plan: Plan) -> int | None:
    return cluster.newest if plan.taken_at is None else plan.taken_at


def _work(pod: Pod, cluster: Cluster, plan: Plan) -> int:
    """Return the work a pod loses: 0 where it says so or serves, the most where nothing tells."""
    if pools := cluster.engines.of(pod):
        return 0 if all(pool.spare for pool in pools) else _STEPS[0]
    gpus = sum(amount for name, amount in pod.requests.items() if name.startswith(_GPUS))
    if gpus == 0 or pod.annotations.get("fairstow.dev/work-lost") == "none":
        return 0
    if pod.checkpointed is None and pod.owner is not None:
        group, _, _ = pod.owner.api_version.partition("/")
        if group == "apps" and pod.owner.kind == "ReplicaSet":
            return 0
    now = _now(cluster, plan)
    known = [t for t in (pod.started, pod.checkpointed) if t is not None]
    if now is None or not known:
        return _STEPS[0]
    gpu_seconds = gpus * (now - max(known))
    return next((units for units in _STEPS if gpu_seconds >= 3600 * units), 0)
