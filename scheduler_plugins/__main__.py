"""`python -m scheduler_plugins`: the scheduler extender.

Exit codes: 0 ended when told to, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from fairstow.cluster.errors import InputError
from fairstow.kube.flags import LOG_LEVELS, address, seconds
from fairstow.kube.logs import log_json
from fairstow.kube.permissions import OPERATOR_LEASE
from fairstow.kube.tls import CertificateError, CertificateFiles
from scheduler_plugins.service import Settings, serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the extender and return its exit code."""
    options = _parser().parse_args(arguments)
    log_json(options.log_level)
    settings = Settings(
        listen=options.listen,
        admin=options.admin_listen,
        certificates=CertificateFiles(options.tls_cert, options.tls_key, options.client_ca),
        namespace=options.namespace,
        replica=options.replica,
        operator_lease=options.operator_lease,
        kubeconfig=options.kubeconfig,
        context=options.context,
        max_watch_age=options.max_watch_age,
        drain=options.drain_seconds,
    )
    try:
        uvloop.run(serve(settings))
    except (CertificateError, InputError, OSError) as error:
        print(f"scheduler_plugins: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scheduler_plugins",
        allow_abbrev=False,
        description="Answers kube-scheduler: which nodes keep their room for a packing plan, and "
        "where a pod leaves the fewest GPUs unusable.",
    )
    ports = parser.add_argument_group("ports")
    ports.add_argument(
        "--listen",
        type=address,
        default="0.0.0.0:8443",
        metavar="HOST:PORT",
        help="for the scheduler, which must show a certificate (default %(default)s)",
    )
    ports.add_argument(
        "--admin-listen",
        type=address,
        default="0.0.0.0:8444",
        metavar="HOST:PORT",
        help="health, metrics, reservations (default %(default)s)",
    )
    ports.add_argument("--tls-cert", type=Path, required=True, metavar="FILE", help="chain, PEM")
    ports.add_argument("--tls-key", type=Path, required=True, metavar="FILE", help="its key, PEM")
    ports.add_argument(
        "--client-ca",
        type=Path,
        required=True,
        metavar="FILE",
        help="schedulers must show a client certificate signed by one of these",
    )
    ports.add_argument(
        "--drain-seconds",
        type=seconds,
        default=5.0,
        metavar="S",
        help="at the end, time for the Service to send others elsewhere (default %(default)s)",
    )
    cluster = parser.add_argument_group("cluster")
    cluster.add_argument("--kubeconfig", metavar="FILE", help="default: the pod's ServiceAccount")
    cluster.add_argument("--context", metavar="NAME")
    cluster.add_argument(
        "--namespace",
        default=os.environ.get("POD_NAMESPACE", "fairstow-system"),
        help="of the installation: its Leases are there (default: $POD_NAMESPACE)",
    )
    cluster.add_argument(
        "--replica",
        default=os.environ.get("POD_NAME") or socket.gethostname(),
        metavar="NAME",
        help="our name in the Service's endpoints (default: $POD_NAME)",
    )
    cluster.add_argument(
        "--operator-lease",
        default=OPERATOR_LEASE,
        metavar="NAME",
        help="room is kept while this Lease is renewed (default %(default)s)",
    )
    cluster.add_argument(
        "--max-watch-age",
        type=seconds,
        default=150.0,
        metavar="S",
        help="not ready when the API server was silent for longer (default %(default)s)",
    )
    parser.add_argument("--log-level", choices=LOG_LEVELS, default="info")
    return parser


if __name__ == "__main__":
    sys.exit(main())
