"""What the webhook knows of the cluster: nodes, pools and policies, each of them or not yet.

Kept by controllers/webhook from watches, one object at a time; read by `advice` and `pods`. What
hasn't been listed yet is unknown, and then nothing is said about it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from fairstow.cluster import wire
from fairstow.cluster.model import Node, Selector
from fairstow.cluster.selectors import selects
from fairstow.cluster.shapes import read_selector
from fairstow.packing.admission.review import Json


@dataclass(frozen=True)
class Pool:
    """A GpuPool: which nodes it has, by their labels, and the accelerator it shares out."""

    name: str
    selector: Selector
    resource: str

    def has(self, node: Node) -> bool:
        """Whether a node belongs to the pool."""
        if self.selector.requirements:
            return selects(self.selector, node.labels)
        return node.allocatable.get(self.resource, 0) > 0


@dataclass(frozen=True)
class Policy:
    """What other policies need to know of one. Attributes: created: RFC 3339, "" if unknown."""

    name: str
    pool: str
    suspended: bool
    created: str


@dataclass(frozen=True)
class World:
    """The cluster as far as it is known; None is what isn't known yet."""

    nodes: Mapping[str, Node] | None = None
    pools: Mapping[str, Pool] | None = None
    policies: Mapping[str, Policy] | None = None

    def members(self, pool: Pool) -> tuple[Node, ...]:
        """Return the nodes of a pool, none where nodes aren't known."""
        return tuple(node for node in (self.nodes or {}).values() if pool.has(node))


def read_pool(raw: Json) -> Pool:
    """Return a GpuPool.

    Raises:
        ValueError: it isn't one; the message names the field.
    """
    spec = raw["spec"]
    selector = msgspec.convert(spec.get("nodeSelector") or {}, wire.LabelSelector)
    return Pool(
        name=raw["metadata"]["name"],
        selector=read_selector(selector) or Selector(),
        resource=spec.get("acceleratorResource") or "nvidia.com/gpu",
    )


def read_policy(raw: Json) -> Policy:
    """Return a PackingPolicy."""
    metadata, spec = raw["metadata"], raw["spec"]
    return Policy(
        name=metadata["name"],
        pool=spec["poolRef"]["name"],
        suspended=bool(spec.get("suspend")),
        created=metadata.get("creationTimestamp") or "",
    )


def older(one: Policy, other: Policy) -> Policy:
    """Return the policy that acts where two overlap: the older, by name where equally old."""
    return min(one, other, key=lambda policy: (not policy.created, policy.created, policy.name))


def joined(names: Iterable[Any], most: int = 3) -> str:
    """Return names as people list them, no more than `most` of them."""
    found = [str(name) for name in names]
    rest = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + rest
