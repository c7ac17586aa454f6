"""`pools`: accelerators by product, what is free, how large the holes are, who waits for them.

A product's nodes may be of several sizes; the largest hole is what one pod could get at most.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fairstow.cli import terminal
from fairstow.cli.evidence import accelerators, open_for_pods, room
from fairstow.cli.layout import count, table, wrapped
from fairstow.cli.live import Live
from fairstow.cli.options import Output
from fairstow.cli.progress import Progress
from fairstow.cli.serialise import as_json
from fairstow.cli.sources import load
from fairstow.cli.terminal import Look
from fairstow.cluster.model import Node, Pod
from fairstow.cluster.pools import product
from fairstow.cluster.rules import Rules
from fairstow.cluster.snapshot import Snapshot


@dataclass(frozen=True)
class Pool:
    """The nodes with one product of accelerator.

    Attributes:
        product: from a node label, or "" where none says.
        closed: nodes that take no pods (cordoned, not Ready, being removed).
        free: on the other nodes; `largest_free` in one of them.
        pending_pods: that ask for the resource and may run here, room aside; `pending` in units.
    """

    product: str
    resource: str
    nodes: int
    closed: int
    total: int
    allocated: int
    free: int
    largest_free: int
    pending_pods: int
    pending: int


def pools(files: Sequence[str], live: Live, output: Output) -> None:
    """List the pools of a cluster."""
    with Progress() as progress:
        source = load(files, live, keep=False, progress=progress.say)
    found = find_pools(source.snapshot)
    for warning in source.warnings:
        terminal.warn(warning)
    if output is Output.JSON:
        terminal.write(as_json([_object(pool) for pool in found]))
    else:
        text = pools_text(found, source.snapshot, source.flags, terminal.program(), terminal.look())
        terminal.write(text)


def find_pools(snapshot: Snapshot) -> tuple[Pool, ...]:
    """Return a cluster's pools, the largest first."""
    members: dict[tuple[str, str], list[Node]] = {}
    offered = accelerators(snapshot)
    for node in snapshot.nodes:
        for resource in offered:
            if node.allocatable.get(resource):
                members.setdefault((product(node), resource), []).append(node)
    rules = Rules(snapshot)
    found = [
        _pool(snapshot, rules, named, resource, tuple(nodes))
        for (named, resource), nodes in members.items()
    ]
    return tuple(sorted(found, key=lambda p: (-p.total, p.product, p.resource)))


def _pool(
    snapshot: Snapshot, rules: Rules, named: str, resource: str, nodes: tuple[Node, ...]
) -> Pool:
    here = room(snapshot, nodes, resource)
    waits = _waiting(snapshot, rules, resource, nodes)
    return Pool(
        product=named,
        resource=resource,
        nodes=len(nodes),
        closed=sum(not open_for_pods(node) for node in nodes),
        total=here.total,
        allocated=sum(snapshot.used[node.name].get(resource, 0) for node in nodes),
        free=here.free,
        largest_free=here.largest,
        pending_pods=len(waits),
        pending=sum(dict(pod.shape.requests)[resource] for pod in waits),
    )


def _waiting(snapshot: Snapshot, rules: Rules, resource: str, nodes: tuple[Node, ...]) -> list[Pod]:
    """Return the pending pods that ask for a resource and may run on one of the nodes."""
    may: dict[object, bool] = {}
    waits = []
    for pod in snapshot.pending:
        if resource not in dict(pod.shape.requests):
            continue
        key = (pod.shape, pod.namespace, pod.labels)
        if key not in may:
            may[key] = any(rules.static_refusal(pod, node) is None for node in nodes)
        if may[key]:
            waits.append(pod)
    return waits


def pools_text(
    found: Sequence[Pool], snapshot: Snapshot, flags: str, program: str, look: Look
) -> str:
    """Return pools as a person reads them."""
    if not found:
        return wrapped(
            f"No node of {len(snapshot.nodes)} offers an accelerator: no GPU resource is "
            "allocatable. Is the device plugin running?",
            look.width,
        )
    rows = [
        (
            pool.product or "(no product label)",
            pool.resource,
            str(pool.nodes),
            str(pool.total),
            str(pool.allocated),
            str(pool.free),
            str(pool.largest_free),
            str(pool.pending_pods),
            str(pool.pending),
        )
        for pool in found
    ]
    headers = ("PRODUCT", "RESOURCE", "NODES", "TOTAL", "USED", "FREE", "HOLE", "WAIT", "ASK")
    lines = [*table(headers, rows, look.width, "llrrrrrrr"), ""]
    closed = sum(pool.closed for pool in found)
    meaning = (
        "HOLE: the largest, what one pod could get now on one node. "
        "WAIT: pods that wait for the resource; ASK: how much they ask for."
    )
    if any(pool.pending_pods for pool in found):
        meaning += " A pod that may run in several pools counts as waiting in each."
    if closed:
        meaning += (
            f" What is free on {count(closed, 'closed node')} (cordoned, not Ready or being "
            "removed) isn't counted as free."
        )
    lines += [wrapped(meaning, look.width), ""]
    lines += ["Next: see whether moving pods would make the holes larger."]
    lines += [f"  {program} plan {flags}".rstrip()]
    return "\n".join(lines)


def _object(pool: Pool) -> dict[str, Any]:
    values = asdict(pool)
    return {
        "product": values["product"],
        "resource": values["resource"],
        "nodes": values["nodes"],
        "closedNodes": values["closed"],
        "total": values["total"],
        "allocated": values["allocated"],
        "free": values["free"],
        "largestFree": values["largest_free"],
        "pendingPods": values["pending_pods"],
        "pendingRequests": values["pending"],
    }
