"""Asks the replicas of the scheduler extender whether they keep a plan's room.

Each replica says so in its Lease (`fairstow.packing.execution.gate`); which replicas answer the
scheduler, the EndpointSlices of their Service say. Both are read anew for each turn of a plan under
way: they decide over evictions. Rights used: endpointslices and leases in our namespace (list).
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from fairstow.api import PackingPlan
from fairstow.kube.aio.api import Api
from fairstow.packing.execution.gate import enforcement
from fairstow.packing.execution.turn import Enforcement
from fairstow.packing.reservations import holds_of, reserves


@dataclass(frozen=True)
class Extender:
    """Where the extender's replicas are found.

    Attributes:
        namespace: of the installation.
        service: the extender's Service; "" if none is installed, and plans are best effort.
    """

    api: Api
    namespace: str
    service: str

    async def enforcement(self, plan: PackingPlan, now: int) -> Enforcement:
        """Return who keeps a plan's room; nobody is asked before it is under way."""
        if not self.service:
            return Enforcement(expected=False)
        if not reserves(plan):
            return Enforcement(expected=True)
        slices, leases = await asyncio.gather(
            self._list("discovery.k8s.io/v1", "endpointslices",
                       f"kubernetes.io/service-name={self.service}"),
            self._list("coordination.k8s.io/v1", "leases", "app.kubernetes.io/component=extender"),
        )  # fmt: skip
        return enforcement(holds_of(plan).reservation, slices, leases, now)

    async def _list(self, version: str, resource: str, selector: str) -> list[dict[str, Any]]:
        path = f"/apis/{version}/namespaces/{self.namespace}/{resource}"
        items, _ = await self.api.list(path, {"labelSelector": selector})
        return items
