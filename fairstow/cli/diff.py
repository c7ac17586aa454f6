"""A plan as a diff: node by node, who goes (-) and who comes (+). Called by `plan -o diff`."""

from collections import Counter

from fairstow.cli.evidence import accelerators
from fairstow.cli.layout import one_line
from fairstow.cluster.model import Pod
from fairstow.cluster.quantity import render
from fairstow.packing.model import Decision


def diff(decision: Decision, name: str) -> str:
    """Return the nodes that a plan changes, in the form of a unified diff; "" if none.

    Args:
        decision: what was decided.
        name: the plan's.
    """
    gone: dict[str, list[tuple[Pod, str]]] = {}
    come: dict[str, list[tuple[Pod, str]]] = {}
    for move in decision.moves:
        gone.setdefault(move.source, []).append((move.pod, f"moves to {move.target}"))
        come.setdefault(move.target, []).append((move.pod, f"moves from {move.source}"))
    for eviction in decision.evictions:
        gone.setdefault(eviction.source, []).append((eviction.pod, "evicted for good"))
    for placement in decision.placements:
        come.setdefault(placement.node, []).append((placement.pod, "was pending"))
    if not gone and not come:
        return ""
    snapshot = decision.request.snapshot
    lines = [f"--- snapshot {snapshot.hash[:8]}", f"+++ {name}"]
    for node in sorted(gone.keys() | come.keys()):
        leaving, arriving = gone.get(node, []), come.get(node, [])
        lines.append(f"@@ {node}{_room(decision, node, leaving, arriving)} @@")
        lines += [_line("-", pod, why) for pod, why in _by_name(leaving)]
        lines += [_line("+", pod, why) for pod, why in _by_name(arriving)]
    return "\n".join(lines)


def _by_name(changes: list[tuple[Pod, str]]) -> list[tuple[Pod, str]]:
    return sorted(changes, key=lambda change: change[0].ref)


def _line(sign: str, pod: Pod, why: str) -> str:
    owner = f" ({pod.owner})" if pod.owner else ""
    return one_line(f"{sign}{pod.ref}{owner}: {why}")


def _room(
    decision: Decision,
    name: str,
    leaving: list[tuple[Pod, str]],
    arriving: list[tuple[Pod, str]],
) -> str:
    """Say how full the node's accelerators are before and after."""
    snapshot = decision.request.snapshot
    node = snapshot.node_by_name[name]
    change = Counter[str]()
    for pods, sign in ((leaving, -1), (arriving, 1)):
        for pod, _ in pods:
            for resource, amount in pod.shape.requests:
                change[resource] += sign * amount
    parts = []
    for resource in accelerators(snapshot):
        if total := node.allocatable.get(resource, 0):
            used = snapshot.used[name].get(resource, 0)
            now, then, of = (render(resource, n) for n in (used, used + change[resource], total))
            parts.append(f" {resource} {now}/{of} -> {then}/{of}")
    return ":" + ",".join(parts) if parts else ""
