"""What the webhook knows of the cluster: nodes, pools and policies, each of them or not yet.

Kept by controllers/webhook from watches, one object at a time; read by `advice` and `pods`. What
hasn't been listed yet is unknown, and then nothing is said about it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fairstow.api import GpuPool, PackingPolicy
from fairstow.cluster.model import Node
from fairstow.packing.policy.membership import members


@dataclass(frozen=True)
class World:
    """The cluster as far as it is known; None is what isn't known yet."""

    nodes: Mapping[str, Node] | None = None
    pools: Mapping[str, GpuPool] | None = None
    policies: Mapping[str, PackingPolicy] | None = None

    def members(self, pool: GpuPool) -> frozenset[str]:
        """Return the names of a pool's nodes, none where nodes aren't known."""
        return frozenset(node.name for node in members(pool.spec, (self.nodes or {}).values()))


def joined(names: Iterable[Any], most: int = 3) -> str:
    """Return names as people list them, no more than `most` of them."""
    found = [str(name) for name in names]
    rest = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + rest
