"""Tells the operator which plans' room this replica keeps: a Lease of our own.

The operator evicts nobody for a plan before every ready replica has listed it here, and stops when
one no longer does. One that was paused and begins again is named anew (`PlanHolds.reservation`).
The Lease is renewed only while our watches are whole, and when the plans change: at once when one
goes, and a second after one has come. For a pod that was answered just before may be on its way to
room that is kept now; a second later the watches show it, also to the operator, which looks at the
cluster once more before it evicts. Run by `service.py`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog

from fairstow.cluster.errors import InputError
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.paths import path_to
from fairstow.kube.problems import ApiError
from fairstow.packing.execution.gate import ENFORCED_PLANS

RENEW_SECONDS = 5.0
SETTLE_SECONDS = 1.0
"""How long a plan's room is kept before we say so: longer than nearly every binding takes."""
DURATION_SECONDS = 15
_MANAGER = "fairstow-extender"

log = structlog.get_logger(__name__)


def lease(replica: str, namespace: str, plans: Sequence[str], moment: datetime) -> dict[str, Any]:
    """Return the Lease of a replica that keeps these reservations."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "namespace": namespace,
            "name": f"fairstow-extender-{replica}",
            "labels": {
                "app.kubernetes.io/name": "fairstow",
                "app.kubernetes.io/component": "extender",
            },
            "annotations": {ENFORCED_PLANS: json.dumps(list(plans))},
        },
        "spec": {
            "holderIdentity": replica,
            "leaseDurationSeconds": DURATION_SECONDS,
            "renewTime": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        },
    }


class Acknowledgement:
    """Keeps the Lease. Attributes: changed: set it when other plans are kept than before."""

    def __init__(
        self,
        api: Api,
        replica: str,
        namespace: str,
        *,
        plans: Callable[[], Sequence[str]],
        whole: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args: plans: reservations kept now; whole: whether our watches are up to date."""
        self._clock = clock
        self._since: dict[str, float] = {}
        self._released = False
        self.changed = asyncio.Event()
        self._api = api
        self._replica, self._namespace = replica, namespace
        self._plans, self._whole = plans, whole

    async def run(self) -> None:
        """Renew it until cancelled."""
        while True:
            self.changed.clear()
            settled, waiting = self.settled()
            if self._whole() and not self._released:
                await self._renew(settled)
            try:
                pause = SETTLE_SECONDS if waiting else RENEW_SECONDS
                await asyncio.wait_for(self.changed.wait(), pause)
            except TimeoutError:
                continue

    def settled(self) -> tuple[list[str], bool]:
        """Return the plans that have been kept for long enough, and whether there are others."""
        now, kept = self._clock(), self._plans()
        self._since = {each: self._since.get(each, now) for each in kept}
        ready = [each for each in kept if now - self._since[each] >= SETTLE_SECONDS]
        return ready, len(ready) < len(kept)

    async def release(self) -> None:
        """Take it back: this replica keeps nothing any more."""
        self._released = True
        try:
            await self._api.delete(path_to(self._lease([])))
        except (ApiError, InputError) as error:
            log.warning("lease not released; it expires by itself", error=str(error))

    async def _renew(self, plans: Sequence[str]) -> None:
        try:
            await self._api.apply(self._lease(plans), _MANAGER)
        except (ApiError, InputError) as error:
            log.warning("lease not renewed", error=str(error))

    def _lease(self, plans: Sequence[str]) -> dict[str, Any]:
        return lease(self._replica, self._namespace, plans, datetime.now(UTC))
