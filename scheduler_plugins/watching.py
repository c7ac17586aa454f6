"""The watches that keep the index up to date, and whether they do: what readiness hangs on.

Run by `service.py`.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from fairstow.cluster.kinds import NODE, POD
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.reflector import Reflector, behind
from scheduler_plugins.index import ADMISSION, LEASE, PLAN, POLICY, Index


class Watching:
    """The reflectors of one extender."""

    def __init__(self, api: Api, index: Index, namespace: str, lease: str, oldest: float) -> None:
        """Args: oldest: seconds of silence after which a watch counts as behind."""
        by_name = {"fieldSelector": f"metadata.name={lease}"}
        self._oldest = oldest
        self._reflectors = (
            Reflector(api, NODE, index.live),
            Reflector(api, POD, index.live),
            Reflector(api, PLAN, index.plans),
            Reflector(api, POLICY, index.policies),
            Reflector(api, ADMISSION, index.spark),
            Reflector(api, LEASE, index.operator, query=by_name, namespace=namespace),
        )

    def tasks(self) -> list[Coroutine[Any, Any, None]]:
        """Return what is to run."""
        return [reflector.run() for reflector in self._reflectors]

    async def synced(self) -> None:
        """Wait until every list has been read once."""
        for reflector in self._reflectors:
            await reflector.synced.wait()

    @property
    def age(self) -> float:
        """Seconds since the API server last said something, the longest of all watches."""
        return max(reflector.age() for reflector in self._reflectors)

    @property
    def behind(self) -> str:
        """Say which watch isn't up to date, "" if all are."""
        return behind(self._reflectors, self._oldest)
