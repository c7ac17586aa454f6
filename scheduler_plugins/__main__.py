"""`python -m scheduler_plugins`: the scheduler extender.

Exit codes: 0 ended when told to, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog
import uvloop

from fairstow.kube.tls import CertificateError, CertificateFiles
from scheduler_plugins.service import Address, Settings, serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the extender and return its exit code."""
    options = _parser().parse_args(arguments)
    _log_json(options.log_level)
    settings = Settings(
        listen=options.listen,
        certificates=CertificateFiles(options.tls_cert, options.tls_key, options.client_ca),
        drain=options.drain_seconds,
    )
    try:
        uvloop.run(serve(settings))
    except (CertificateError, OSError) as error:
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
    port = parser.add_argument_group("the scheduler's port (mutual TLS)")
    port.add_argument("--listen", type=_address, default="0.0.0.0:8443", metavar="HOST:PORT")
    port.add_argument("--tls-cert", type=Path, required=True, metavar="FILE", help="chain, PEM")
    port.add_argument("--tls-key", type=Path, required=True, metavar="FILE")
    port.add_argument(
        "--client-ca",
        type=Path,
        required=True,
        metavar="FILE",
        help="only who holds a client certificate signed by one of these may call",
    )
    port.add_argument(
        "--drain-seconds",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="between not being ready and closing the port",
    )
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info"
    )
    return parser


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 <= int(port) < 1 << 16:
        raise argparse.ArgumentTypeError(f"{text!r} isn't HOST:PORT, such as 0.0.0.0:8443")
    return Address(host.strip("[]"), int(port))


def _log_json(level: str) -> None:
    """Log one JSON object a line to standard error."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


if __name__ == "__main__":
    sys.exit(main())
