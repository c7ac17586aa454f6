"""The extender as a running program: its ports, its tasks, its orderly end.

Called by `__main__.py`. One event loop does everything, so that a verb reads an index which nobody
changes meanwhile.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

import structlog

from fairstow.kube.tls import CertificateFiles, Certificates, keep_fresh
from scheduler_plugins.protocol import Connection, Endpoint
from scheduler_plugins.verbs import Verbs

HANDSHAKE_SECONDS = 10.0
_SWEEP_SECONDS = 10.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Address:
    """Where a port listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Settings:
    """What the command line says.

    Attributes:
        drain: seconds between "not ready" and the end of listening, for the Service to notice.
    """

    listen: Address
    certificates: CertificateFiles
    drain: float


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then end in order.

    Raises:
        CertificateError: the certificates can't be used.
        OSError: a port can't be had.
    """
    # 1. What can fail for a wrong flag, first.
    certificates = Certificates(settings.certificates)
    stopped = _stop_signal()

    # 2. The scheduler's port.
    endpoint = Endpoint(Verbs().handlers)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(endpoint),
        settings.listen.host,
        settings.listen.port,
        ssl=certificates.context,
        ssl_handshake_timeout=HANDSHAKE_SECONDS,
    )
    log.info("serving", listen=str(settings.listen))

    # 3. What runs beside it, until we are told to end.
    await _until(stopped, [keep_fresh(certificates), _sweep(endpoint)])

    # 4. Not ready any more; connections move to other replicas one by one, then the port closes.
    log.info("draining", seconds=settings.drain)
    endpoint.drain()
    await asyncio.sleep(settings.drain)
    server.close()
    endpoint.drain()
    log.info("ended")


def _stop_signal() -> asyncio.Event:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stopped.set)
    return stopped


async def _until(stopped: asyncio.Event, tasks: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all of them until the signal; the first that fails ends the program with its error."""
    running = [asyncio.create_task(task) for task in tasks]
    waiting = asyncio.create_task(stopped.wait())
    try:
        done, _ = await asyncio.wait([waiting, *running], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (waiting, *running):
            task.cancel()
        await asyncio.gather(waiting, *running, return_exceptions=True)


async def _sweep(endpoint: Endpoint) -> None:
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        endpoint.drop_stalled(asyncio.get_running_loop().time())
