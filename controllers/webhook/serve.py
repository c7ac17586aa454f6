"""The webhook as a running program: its port, its watches, its orderly end.

Called by operator/webhook.py.
"""

import argparse
import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import structlog
import uvicorn

from controllers.webhook import metrics
from controllers.webhook.app import build
from controllers.webhook.watched import Watched
from fairstow.kube.admin import AdminServer, application
from fairstow.kube.aio.api import Api
from fairstow.kube.connections import bounded
from fairstow.kube.flags import LOG_LEVELS, Address, address, seconds
from fairstow.kube.logs import log_json
from fairstow.kube.review import Reviewer
from fairstow.kube.tls import CertificateFiles, Certificates, keep_fresh

MOST_CONNECTIONS = 500

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Settings:
    """What the command line says.

    Attributes:
        drain: seconds between "not ready" and the end.
        helper_image: of the containers beside others'.
    """

    listen: Address
    admin: Address
    certificates: CertificateFiles
    kubeconfig: str | None
    drain: float
    helper_image: str


def settings_of(arguments: Sequence[str]) -> Settings:
    """Read the command line, and set up logs as it says; a wrong one ends the program."""
    parser = argparse.ArgumentParser(
        prog="operator/webhook.py",
        allow_abbrev=False,
        description="Answers the API server's admission reviews: approvals of plans, advice on "
        "policies, the scheduler of pods that opted in, engines that are deleted or evicted, "
        "queues of Spark applications, semantic caches beside pods.",
    )
    parser.add_argument("--listen", type=address, default="0.0.0.0:8443", metavar="HOST:PORT")
    parser.add_argument(
        "--admin-listen",
        type=address,
        default="0.0.0.0:8444",
        metavar="HOST:PORT",
        help="health and metrics",
    )
    parser.add_argument("--tls-cert", type=Path, required=True, metavar="FILE", help="chain, PEM")
    parser.add_argument("--tls-key", type=Path, required=True, metavar="FILE")
    parser.add_argument("--kubeconfig", metavar="FILE", help="default: as kubectl, or the pod's")
    parser.add_argument(
        "--drain-seconds",
        type=seconds,
        default=5.0,
        metavar="SECONDS",
        help="between not being ready and closing the port",
    )
    parser.add_argument(
        "--helper-image",
        default="",
        metavar="IMAGE",
        help="Fairstow's, for containers that pods get beside theirs; default: none",
    )
    parser.add_argument("--log-level", choices=LOG_LEVELS, default="info")
    given = parser.parse_args(arguments)
    log_json(given.log_level)
    files = CertificateFiles(given.tls_cert, given.tls_key)
    return Settings(
        listen=given.listen,
        admin=given.admin_listen,
        certificates=files,
        kubeconfig=given.kubeconfig,
        drain=given.drain_seconds,
        helper_image=given.helper_image,
    )


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then end in order.

    Raises:
        CertificateError: the certificates can't be used.
        InputError: there is no usable configuration for the API server.
    """
    # 1. What can fail for a wrong flag, first.
    certificates = Certificates(settings.certificates)
    async with Api.connect(settings.kubeconfig) as api:
        # 2. What is known of the cluster, fresh certificates, health and metrics.
        watched = Watched(api)
        listener = socket.create_server((settings.admin.host, settings.admin.port))
        config = _config(settings, certificates, api, watched)
        server = _Server(config, settings.drain)
        admin = AdminServer(
            application(
                "Fairstow webhook",
                Reviewer(api, time.monotonic),
                metrics.REGISTRY,
                unready=lambda: server.unready,
            ),
            certificates.context,
        )
        tasks = (*watched.tasks(), keep_fresh(certificates), admin.run_on(listener))
        beside = [asyncio.create_task(each) for each in tasks]

        # 3. The port: decisions on plans need no watch, so nobody waits for one.
        log.info("serving", listen=str(settings.listen), admin=str(settings.admin))
        try:
            await server.serve()
        finally:
            for task in beside:
                task.cancel()
            for task in beside:
                with suppress(asyncio.CancelledError):
                    await task


class _Server(uvicorn.Server):
    """Says that it isn't ready for a while before it ends, so that nobody is turned away."""

    def __init__(self, config: uvicorn.Config, drain: float) -> None:
        super().__init__(config)
        self._draining = False
        self._drain = drain
        self._loop = asyncio.get_running_loop()

    @property
    def unready(self) -> str:
        """Why nobody should call, "" if all may."""
        if self._draining:
            return "draining"
        return "" if self.started else "not serving yet"

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; at once if told twice."""
        if self._draining:
            super().handle_exit(sig, frame)
            return
        self._draining = True
        self._loop.call_soon_threadsafe(self._loop.call_later, self._drain, self._end)

    def _end(self) -> None:
        self.should_exit = True


def _config(
    settings: Settings, certificates: Certificates, api: Api, watched: Watched
) -> uvicorn.Config:
    def context(_config: uvicorn.Config, _default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        return certificates.context

    return uvicorn.Config(
        build(api, watched, settings.helper_image),
        host=settings.listen.host,
        port=settings.listen.port,
        ssl_context_factory=context,
        http=bounded(MOST_CONNECTIONS),
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )
