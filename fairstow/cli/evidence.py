"""Figures that the texts open with: what waits, and what accelerators there are."""

from collections import Counter

from fairstow.cluster.pools import is_accelerator
from fairstow.cluster.snapshot import Snapshot


def accelerators(snapshot: Snapshot) -> tuple[str, ...]:
    """Return the accelerator resources that nodes offer, by name."""
    found = {r for node in snapshot.nodes for r, amount in node.allocatable.items() if amount}
    return tuple(sorted(filter(is_accelerator, found)))


def waiting(snapshot: Snapshot) -> Counter[int]:
    """Count pending pods by priority."""
    return Counter(pod.shape.priority for pod in snapshot.pending)
