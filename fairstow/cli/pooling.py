"""`pools`: accelerators by product, what is free, how large the holes are, who waits for them.

A product's nodes may be of several sizes; the largest hole is what one pod could get at most.
"""

from collections.abc import Sequence
from typing import Any

from fairstow.cli import terminal
from fairstow.cli.layout import count, table, wrapped
from fairstow.cli.live import Live
from fairstow.cli.options import Output
from fairstow.cli.progress import Progress
from fairstow.cli.serialise import as_json
from fairstow.cli.sources import load
from fairstow.cli.terminal import Look
from fairstow.cluster.pools import Pool, pools
from fairstow.cluster.snapshot import Snapshot


def show(files: Sequence[str], live: Live, output: Output) -> None:
    """List the pools of a cluster."""
    with Progress() as progress:
        source = load(files, live, keep=False, progress=progress.say)
    found = pools(source.snapshot)
    for warning in source.warnings:
        terminal.warn(warning)
    if output is Output.JSON:
        terminal.write(as_json([_object(pool) for pool in found]))
    else:
        text = pools_text(found, source.snapshot, source.flags, terminal.program(), terminal.look())
        terminal.write(text)


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
            str(pool.largest),
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
    return {
        "product": pool.product,
        "resource": pool.resource,
        "nodes": pool.nodes,
        "closedNodes": pool.closed,
        "total": pool.total,
        "allocated": pool.allocated,
        "free": pool.free,
        "largestFree": pool.largest,
        "pendingPods": pool.pending_pods,
        "pendingRequests": pool.pending,
    }
