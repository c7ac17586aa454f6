"""The operator's port: health for the kubelet, metrics for who may see them.

Run by `runtime`. Its certificate is made at each start and lives in memory, as kube-scheduler's
does: the operator makes everybody's certificates, so it can't wait for one.
"""

import socket
import time
from collections.abc import Callable

from prometheus_client import REGISTRY

from fairstow.kube.address import Address
from fairstow.kube.admin import AdminServer, application
from fairstow.kube.aio.api import Api
from fairstow.kube.review import Reviewer
from fairstow.kube.tls import self_signed


async def serve_admin(api: Api, listen: Address, unready: Callable[[], str]) -> None:
    """Serve until cancelled; `unready` says why we aren't ready, "" if we are.

    Raises:
        OSError: the port can't be had.
    """
    reviewer = Reviewer(api, time.monotonic)
    app = application("Fairstow operator", reviewer, REGISTRY, unready=unready)
    with socket.create_server((listen.host, listen.port)) as listener:
        await AdminServer(app, self_signed("fairstow-operator")).run_on(listener)
