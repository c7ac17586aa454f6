"""The extender as a running program: its ports, its tasks, its orderly end.

Called by `__main__.py`. One event loop does everything, so that a verb reads an index which nobody
changes meanwhile.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any

import structlog

from fairstow.kube.admin import AdminServer
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.tasks import first, running, stop_signal
from fairstow.kube.flags import Address
from fairstow.kube.review import Reviewer
from fairstow.kube.tls import CertificateFiles, Certificates, keep_fresh
from scheduler_plugins import metrics
from scheduler_plugins.acknowledge import Acknowledgement
from scheduler_plugins.admin import application
from scheduler_plugins.index import Index
from scheduler_plugins.protocol import Connection, Endpoint
from scheduler_plugins.verbs import Verbs
from scheduler_plugins.watching import Watching

HANDSHAKE_SECONDS = 10.0
LEARN_SECONDS = 30.0
"""How often the pools' typical pods are learned anew; it takes a fraction of a millisecond."""
_SWEEP_SECONDS = 10.0
_EMPTY = "The extender has just started and doesn't know the cluster yet."

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Settings:
    """What the command line says.

    Attributes:
        listen: the scheduler's port; `admin` is that of health and metrics.
        namespace: of the installation, with the Leases.
        replica: our name, as in the Service's endpoints.
        max_watch_age: seconds without a word of the API server until we aren't ready.
        drain: seconds between "not ready" and the end of listening, for the Service to notice.
    """

    listen: Address
    admin: Address
    certificates: CertificateFiles
    namespace: str
    replica: str
    operator_lease: str
    kubeconfig: str | None
    context: str | None
    max_watch_age: float
    drain: float


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then end in order.

    Raises:
        CertificateError: the certificates can't be used.
        InputError: there is no usable configuration of a cluster.
        OSError: a port can't be had.
    """
    stopped = stop_signal()
    async with Api.connect(settings.kubeconfig, settings.context) as api:
        extender = Extender(settings, api)
        await extender.listen()
        async with running(extender.tasks()) as failed:
            await first(stopped.wait(), failed)
            await extender.drain()


class Extender:
    """The parts of a running extender, put together."""

    def __init__(self, settings: Settings, api: Api) -> None:
        self._settings = settings
        lease = settings.operator_lease
        self._index = Index(f"{settings.namespace}/{lease}")
        self._watching = Watching(
            api, self._index, settings.namespace, lease, settings.max_watch_age
        )
        self._acknowledgement = Acknowledgement(
            api,
            settings.replica,
            settings.namespace,
            plans=lambda: self._index.enforced,
            whole=lambda: not self._watching.behind,
        )
        self._index.on_change(self._acknowledgement.changed.set)
        self._endpoint = Endpoint(Verbs(self._index).handlers, waiting=_EMPTY)
        self._certificates = Certificates(settings.certificates)
        self._admin_certificates = Certificates(replace(settings.certificates, client_ca=None))
        app = application(
            self._index,
            Reviewer(api, time.monotonic),
            unready=self._unready,
            measure=self._measure,
        )
        self._admin = AdminServer(app, self._admin_certificates.context)
        self._learned = time.monotonic()
        self._ending = False

    async def listen(self) -> None:
        """Open both ports; the scheduler is answered once all watches are synced."""
        settings = self._settings
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self._endpoint),
            settings.listen.host,
            settings.listen.port,
            ssl=self._certificates.context,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
        )
        self._admin_listener = socket.create_server((settings.admin.host, settings.admin.port))
        log.info("listening", scheduler=str(settings.listen), admin=str(settings.admin))

    def tasks(self) -> list[Coroutine[Any, Any, None]]:
        """Return all that runs beside the scheduler's port."""
        return [
            *self._watching.tasks(),
            self._acknowledgement.run(),
            self._admin.run_on(self._admin_listener),
            keep_fresh(self._certificates),
            keep_fresh(self._admin_certificates),
            self._learn(),
            self._sweep(),
        ]

    async def drain(self) -> None:
        """End in order; watches and answers go on meanwhile."""
        # 1. Not ready any more: the Service sends nobody else, and those there leave.
        self._ending = True
        log.info("draining", seconds=self._settings.drain)
        self._endpoint.drain()
        await asyncio.sleep(self._settings.drain)

        # 2. The port, then the Lease: until now the operator may have counted on us.
        self._server.close()
        self._endpoint.drain()
        await self._acknowledgement.release()
        log.info("ended")

    def _unready(self) -> str:
        return "ending" if self._ending else self._watching.behind

    async def _learn(self) -> None:
        await self._watching.synced()
        self._endpoint.waiting = ""
        log.info("synced", nodes=len(self._index.live.nodes))
        while True:
            self._index.rooms.learn()
            self._learned = time.monotonic()
            await asyncio.sleep(LEARN_SECONDS)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self._endpoint.drop_stalled(asyncio.get_running_loop().time())
            self._index.assumed.expire()
            metrics.EXPIRED.inc(self._index.expired())

    def _measure(self) -> None:
        plans = self._index.reservations.plans
        metrics.PLANS.set(sum(not plan.loose for plan in plans))
        metrics.SPARK.set(sum(plan.loose for plan in plans))
        metrics.RESERVATIONS.set(sum(len(plan.holds) for plan in plans))
        metrics.ASSUMPTIONS.set(len(self._index.assumed))
        metrics.WATCH_AGE.set(self._watching.age)
        metrics.SNAPSHOT_AGE.set(time.monotonic() - self._learned)
