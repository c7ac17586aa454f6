"""The operator's port: health for the kubelet, metrics for who may see them.

Run by `runtime`. The operator itself makes everybody's certificates, its own too; until that is
there, it presents one that nobody can verify: kubelets don't, and Prometheus waits.
"""

import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from prometheus_client import REGISTRY

from fairstow.kube.admin import AdminServer, application
from fairstow.kube.aio.api import Api
from fairstow.kube.flags import Address
from fairstow.kube.review import Reviewer
from fairstow.kube.tls import CertificateFiles, Certificates, keep_fresh, self_signed


@dataclass(frozen=True)
class Port:
    """Where it listens, with which certificate."""

    listen: Address
    certificates: CertificateFiles


def admin(
    api: Api, port: Port, *, unready: Callable[[], str], dead: Callable[[], str]
) -> list[Coroutine[Any, Any, None]]:
    """Return what has to run; it fails with an OSError where the port can't be had."""
    certificates = Certificates(port.certificates, stand_in=partial(self_signed, "fairstow"))
    app = application(
        "Fairstow operator", Reviewer(api, time.monotonic), REGISTRY, unready=unready, dead=dead
    )
    server = AdminServer(app, certificates.context)
    return [_serve(server, port.listen), keep_fresh(certificates)]


async def _serve(server: AdminServer, listen: Address) -> None:
    with socket.create_server((listen.host, listen.port)) as listener:
        await server.run_on(listener)
