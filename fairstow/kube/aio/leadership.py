"""Leadership: of several replicas one acts, the holder of a coordination.k8s.io Lease.

Held by the operator before it does anything. Needs `get`, `create` and `update` of leases in its
namespace.

    async with Leadership(api, "fairstow-system", "fairstow-operator", identity) as leadership:
        ...                                   # only here is this the leader
        if leadership.held: act()             # look again before each act
        await leadership.lost.wait()          # not renewed in time: the process must end
                                              # leaving gives the Lease back

**Never two.** The holder counts its time from the moment it *sent* its last successful renewal and
stops at `deadline`; the others see that renewal later than it was sent, and take over once they
have seen no other for `duration`, by their own clocks, which need not agree with anybody's. So
between the two there are at least duration − deadline seconds for the process to end in. Whoever
writes the Lease names the version it saw, so of two takers one fails.

`kubernetes.aio.leaderelection` (37.0) isn't used: its expiry hangs on wall-clock times, a renewal
may wait five minutes for a silent server while another replica takes over, and it neither releases
the Lease on shutdown nor goes on after a conflict it caused itself by a reply that was lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from fairstow.cluster.errors import InputError
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.connection import Json, jittered
from fairstow.kube.aio.paths import path_of
from fairstow.kube.problems import ApiError

if TYPE_CHECKING:
    from types import TracebackType

logger = logging.getLogger(__name__)

API_VERSION = "coordination.k8s.io/v1"
REQUEST_SECONDS = 4.0
_TROUBLE = (ApiError, InputError, TimeoutError)


class Leadership:
    """See the module.

    Args:
        identity: this process's alone, in this life: a pod's name isn't, a restarted container has
            the same.
        duration: seconds after which the others take over if the Lease isn't renewed.
        deadline: seconds after which this process stops if it can't renew it.
        retry: seconds between two looks at another's Lease.

    Attributes:
        lost: set once the Lease couldn't be renewed in time, or is another's.
        holder: who had it when last seen.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        name: str,
        identity: str,
        *,
        duration: float = 15.0,
        deadline: float = 10.0,
        retry: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        assert retry < deadline < duration, "a holder must stop before others may start"
        self.lost = asyncio.Event()
        self.holder = ""
        self._api = api
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._duration = duration
        self._deadline = deadline
        self._retry = retry
        self._clock = clock
        self._path = path_of(API_VERSION, "Lease", namespace=namespace, name=name)
        self._lease: Json = {}
        self._seen: tuple[str, float] = ("", 0.0)
        self._renewed: float | None = None
        self._renewing: asyncio.Task[None] | None = None

    @property
    def held(self) -> bool:
        """Whether this process may act now."""
        return self._left() > 0

    def _left(self) -> float:
        """Return for how many seconds this process may act without renewing the Lease."""
        if self._renewed is None or self.lost.is_set():
            return 0.0
        return self._renewed + self._deadline - self._clock()

    async def __aenter__(self) -> Self:
        """Wait until this process is the leader."""
        try:
            while not await self._tried(self._take):
                await asyncio.sleep(jittered(self._retry))
        except BaseException:
            await self._release()  # interrupted, maybe after the server had made it the leader
            raise
        logger.info("%s is the leader (%s)", self._identity, self._name)
        self._renewing = asyncio.create_task(self._renew_for_good())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop renewing and let another take over at once."""
        assert self._renewing is not None
        self._renewing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._renewing
        self._renewed = None
        if not self.lost.is_set():
            await self._release()

    async def _renew_for_good(self) -> None:
        while (left := self._left()) > 0:
            await asyncio.sleep(min(left, self._deadline / 4))
            await self._tried(self._renew, within=self._left())
        logger.error("%s is no longer the leader (%s)", self._identity, self._name)
        self.lost.set()

    async def _tried(self, attempt: Callable[[], Any], *, within: float = REQUEST_SECONDS) -> bool:
        """Make an attempt within the time it has; whatever fails on the way, it failed."""
        try:
            async with asyncio.timeout(min(within, REQUEST_SECONDS)):
                return bool(await attempt())
        except _TROUBLE as error:
            logger.warning("lease %s: %s", self._name, str(error) or "no answer in time")
            return False

    async def _take(self) -> bool:
        """Become the holder if there is none that is alive."""
        began = self._clock()
        if not await self._look():
            self._lease = await self._api.create(
                self._path.rpartition("/")[0], self._ours({"metadata": {"name": self._name}})
            )
        elif self._free():
            self._lease = await self._api.replace(self._path, self._ours(self._lease))
        else:
            return False
        self._renewed, self.holder = began, self._identity
        return True

    async def _renew(self) -> bool:
        began = self._clock()
        try:
            self._lease = await self._api.replace(self._path, self._ours(self._lease))
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            # Another's write, or one of ours whose reply was lost.
            if not await self._look() or self.holder != self._identity:
                self.lost.set()
            return False
        self._renewed = began
        return True

    async def _look(self) -> bool:
        """Read the Lease and note when it last changed; return whether there is one."""
        try:
            self._lease = await self._api.get(self._path)
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        self.holder = self._lease.get("spec", {}).get("holderIdentity") or ""
        version = self._lease["metadata"]["resourceVersion"]
        if version != self._seen[0]:
            self._seen = version, self._clock()
        return True

    def _free(self) -> bool:
        stated = float(self._lease.get("spec", {}).get("leaseDurationSeconds") or 0)
        quiet = self._clock() - self._seen[1]
        return self.holder in ("", self._identity) or quiet > max(stated, self._duration)

    def _ours(self, lease: Json) -> Json:
        """Return the Lease as this process's, renewed now."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = dict(lease.get("spec", {}))
        if spec.get("holderIdentity") != self._identity:
            spec["acquireTime"] = now
            spec["leaseTransitions"] = spec.get("leaseTransitions", -1) + 1
        spec |= {
            "holderIdentity": self._identity,
            "renewTime": now,
            "leaseDurationSeconds": round(self._duration),
        }
        return {"apiVersion": API_VERSION, "kind": "Lease", **lease, "spec": spec}

    async def _release(self) -> None:
        async def give_back() -> bool:
            if await self._look() and self.holder == self._identity:
                spec = {**self._lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
                await self._api.replace(self._path, {**self._lease, "spec": spec})
            return True

        await self._tried(give_back)
