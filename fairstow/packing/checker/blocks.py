"""Whether a plan to defragment frees the blocks it claims, and does nothing else.

A block of size s of an accelerator is free on a node that takes pods if s of its devices are, one
place for a pod, and for each device the CPU and memory that pods asking for the accelerator have on
average, at most three quarters of the node's own share, rounded down to 0.1 CPU and 64 MiB. A size
counts over all nodes. Pods keep to nodes with the accelerator product they run on.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from fairstow.packing.checker.cluster import Cluster, Node
from fairstow.packing.checker.filters import being_deleted
from fairstow.packing.checker.plan import BlockClaim, Change, Plan
from fairstow.packing.checker.pods import Pod
from fairstow.packing.checker.verdict import Report, Rule

_STEP = {"cpu": 100, "memory": 64 * 2**20}
_PRODUCT_LABELS = (
    "nvidia.com/gpu.product",
    "amd.com/gpu.product-name",
    "beta.amd.com/gpu.product-name",
    "gpu.intel.com/product",
    "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
    "cloud.google.com/gke-tpu-accelerator",
    "node.kubernetes.io/instance-type",
)


def check_blocks(cluster: Cluster, plan: Plan, homes: Mapping[str, str], report: Report) -> None:
    """Check what the plan says of blocks; `homes` is the node of every pod after the steps."""
    if not plan.defragments:
        if plan.blocks:
            report.add(Rule.GOAL_MISMATCH, "a plan that doesn't defragment counts blocks")
        return
    for change in plan.changes:
        if change.role == "move":
            _check_product(cluster, plan, change, report)
        else:
            message = f"a plan to defragment only moves pods, not: {change.role}"
            report.add(Rule.GOAL_MISMATCH, message, pod=change.pod.key)
    sizes = [(-claim.size, claim.resource) for claim in plan.blocks]
    if sizes != sorted(set(sizes)):
        message = "the blocks aren't listed largest first, each size once"
        report.add(Rule.BLOCK_LIST_MISMATCH, message)
    start = {key: pod.home for key, pod in cluster.pods.items() if pod.home}
    counted = []
    for claim in plan.blocks:
        before = _count(cluster, claim, _holding(cluster.pods.values(), start))
        after = _count(cluster, claim, _holding(_arrived(cluster, plan), homes))
        counted.append((before, after))
        _check_claim(claim, before, after, report)
    gains = [after - before for before, after in counted if after != before]
    if (gains and gains[0] < 0) or (plan.changes and not gains):
        message = "the moves free no block: the largest size that changes doesn't get more"
        report.add(Rule.NO_BLOCK_FREED, message)


def _check_product(cluster: Cluster, plan: Plan, change: Change, report: Report) -> None:
    pod = cluster.pods.get(change.pod.key)
    wanted = {claim.resource for claim in plan.blocks}
    if pod is None or not wanted & pod.requests.keys():
        return
    names = [_product(cluster.nodes.get(name)) for name in (change.source, change.target)]
    if names[0] != names[1]:
        message = f"{pod.key} would change from {names[0] or 'none'} to {names[1] or 'none'}"
        report.add(Rule.PRODUCT_CHANGED, message, pod=pod.key, node=change.target)


def _product(node: Node | None) -> str:
    labels = node.labels if node else {}
    return next((labels[key] for key in _PRODUCT_LABELS if key in labels), "")


def _check_claim(claim: BlockClaim, before: int, after: int, report: Report) -> None:
    what = f"blocks of {claim.size} {claim.resource}"
    for name, said, fact in (("before", claim.before, before), ("after", claim.after, after)):
        if said != fact:
            message = f"{what}: {name} is {said}, the replay gives {fact}"
            report.add(Rule.BLOCK_COUNT_MISMATCH, message)
    if claim.bound < claim.after:
        report.add(Rule.BOUND_TOO_LOW, f"{what}: bound {claim.bound} < after {claim.after}")
    gap = claim.bound - claim.after
    if gap >= 0 and (claim.proof, claim.gap) != ("Gap" if gap else "Optimal", gap):
        message = f"{what}: {claim.proof} with gapBlocks {claim.gap}, but bound - after is {gap}"
        report.add(Rule.PROOF_INCONSISTENT, message)


def _arrived(cluster: Cluster, plan: Plan) -> Iterable[Pod]:
    """Yield all pods, those that the plan moves with what they ask for anew."""
    moved = {change.pod.key for change in plan.changes}
    for key, pod in cluster.pods.items():
        yield replace(pod, requests=pod.requests_on_arrival) if key in moved else pod


def _holding(pods: Iterable[Pod], homes: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Return what pods hold of each resource by node."""
    held: dict[str, dict[str, int]] = {}
    for pod in pods:
        if home := homes.get(pod.key):
            total = held.setdefault(home, {})
            for name, amount in (("pods", 1), *pod.requests.items()):
                total[name] = total.get(name, 0) + amount
    return held


def _count(cluster: Cluster, claim: BlockClaim, held: Mapping[str, Mapping[str, int]]) -> int:
    need = _average(cluster, claim.resource)
    return sum(
        _on_node(node, claim, need, held.get(node.name, {}))
        for node in cluster.nodes.values()
        if node.ready and not node.unschedulable and not being_deleted(node)
    )


def _average(cluster: Cluster, resource: str) -> dict[str, int]:
    """CPU and memory per device of the pods that ask for a resource, rounded down."""
    asking = [p for p in cluster.pods.values() if not p.finished and p.requests.get(resource)]
    devices = sum(p.requests[resource] for p in asking)
    return {
        name: sum(p.requests.get(name, 0) for p in asking) // devices if devices else 0
        for name in ("cpu", "memory")
    }


def _on_node(
    node: Node, claim: BlockClaim, need: Mapping[str, int], held: Mapping[str, int]
) -> int:
    devices = node.allocatable.get(claim.resource, 0)
    if not devices:
        return 0
    block = {claim.resource: claim.size, "pods": 1}
    for name, average in need.items():
        share = node.allocatable.get(name, 0) * 3 // (devices * 4)
        each = min(average, share)
        block[name] = claim.size * (each - each % _STEP[name])
    free = [
        (node.allocatable.get(name, 0) - held.get(name, 0)) // amount
        for name, amount in block.items()
        if amount
    ]
    return max(0, min(free))
