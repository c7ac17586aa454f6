"""The gateways of a pool, as the EndpointSlices of their Service name them.

Called by the serving controller and by the gateways themselves. The Service, and with it its
slices, carries the label `POOL_LABEL`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

POOL_LABEL = "fairstow.dev/serving-pool"
ADMIN_PORT = "https-admin"

Pool = tuple[str, str]
"""Its namespace and name."""


@dataclass(frozen=True)
class Replica:
    """One gateway. Attributes: name: its pod's; url: of its admin port."""

    name: str
    url: str


def replicas(slices: Iterable[Mapping[str, Any]]) -> dict[Pool, tuple[Replica, ...]]:
    """Return the gateways of each pool."""
    found: dict[Pool, dict[str, Replica]] = {}
    for each in slices:
        meta = each["metadata"]
        pool = found.setdefault((meta["namespace"], meta["labels"][POOL_LABEL]), {})
        pool.update((replica.name, replica) for replica in _of(each))
    return {pool: tuple(there.values()) for pool, there in found.items()}


def _of(slice_: Mapping[str, Any]) -> Iterator[Replica]:
    ports = [p["port"] for p in slice_.get("ports") or () if p.get("name") == ADMIN_PORT]
    for endpoint in slice_.get("endpoints") or ():
        target = endpoint.get("targetRef") or {}
        for port in ports[:1]:
            host = endpoint["addresses"][0]
            host = f"[{host}]" if ":" in host else host
            yield Replica(name=target.get("name") or host, url=f"https://{host}:{port}")
