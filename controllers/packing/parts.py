"""What the packing controllers are made of, and how they write statuses.

Put together by `controllers.runtime`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from controllers.health import Turns
from controllers.packing.objects import Objects
from controllers.statuses import write_status
from fairstow.api import PackingPolicy
from fairstow.api.model import CustomResource, Model
from fairstow.cluster.live import LiveCluster
from fairstow.kube.aio.paths import path_of
from fairstow.kube.problems import ApiError
from fairstow.packing.announce import Announcement
from fairstow.packing.planner import Solver

_POLICIES = path_of("fairstow.dev/v1alpha1", "PackingPolicy")


class Writer(Protocol):
    """What is asked of `fairstow.kube.aio.api.Api`."""

    async def get(self, path: str) -> dict[str, Any]:
        """Return an object."""

    async def create(self, path: str, obj: dict[str, Any]) -> dict[str, Any]:
        """Create an object in a collection."""

    async def apply(
        self, obj: dict[str, Any], manager: str, *, subresource: str | None = None
    ) -> dict[str, Any]:
        """Server-side apply."""

    async def delete(self, path: str, *, uid: str | None = None) -> bool:
        """Delete an object."""


@dataclass(frozen=True)
class Parts:
    """What a packing controller works with.

    Attributes:
        solve: where searches run.
        enforced: schedulers that have Fairstow's filter attached.
        identity: the operator's own user name, by which it approves plans in mode Auto.
        announce: tells the owners of pods.
        clock: seconds since 1970.
        turns: told of each turn.
    """

    cluster: LiveCluster
    objects: Objects
    api: Writer
    solve: Solver
    enforced: frozenset[str] = frozenset()
    identity: str = ""
    announce: Callable[[Announcement], None] = field(default=lambda _: None)
    clock: Callable[[], float] = time.time
    turns: Turns = field(default_factory=Turns)

    @property
    def now(self) -> int:
        """The moment, in whole seconds since 1970."""
        return int(self.clock())

    async def policy(self, name: str) -> PackingPolicy | None:
        """Return a policy as the API server has it now: a watch may lag, or hang for minutes."""
        try:
            self.objects.put(await self.api.get(f"{_POLICIES}/{name}"))
        except ApiError as error:
            if error.status != 404:
                raise
            self.objects.drop(PackingPolicy, name)
        return next((p for p in self.objects.policies if p.metadata.name == name), None)

    async def report(self, obj: CustomResource, status: Model, manager: str) -> None:
        """Write an object's status; an object that is gone needs none."""
        found = await write_status(self.api, obj, status, manager)
        if found is not None:
            self.objects.put(found)
