"""`python -m fairstow.cache_sidecar`: the semantic cache in front of one OpenAI-compatible server.

Exit codes: 0 ended when told to, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import ipaddress
import logging
import os
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from fairstow.cache_sidecar import configuration
from fairstow.cache_sidecar.remembering import Where
from fairstow.cache_sidecar.service import Settings, serve
from fairstow.cache_sidecar.stores.connection import Address, check
from fairstow.cache_sidecar.stores.records import Seal, read_keys
from fairstow.cache_sidecar.upstream import base
from fairstow.cluster.errors import InputError
from fairstow.kube.aio.tasks import stop_signal
from fairstow.kube.flags import LOG_LEVELS, address, seconds
from fairstow.kube.logs import log_json
from fairstow.kube.tls import CertificateError, CertificateFiles
from fairstow.semantic_cache.identity import Workload, namespace


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sidecar and return its exit code."""
    options = _parser().parse_args(arguments)
    log_json(options.log_level)
    logging.getLogger("uvicorn.error").setLevel("WARNING")
    try:
        settings = _settings(options)
    except (InputError, OSError) as error:
        print(f"fairstow.cache_sidecar: {error}", file=sys.stderr)
        return 2
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
    try:
        uvloop.run(_run(settings))
    except (InputError, OSError) as error:
        print(f"fairstow.cache_sidecar: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(settings: Settings) -> None:
    await serve(settings, stop_signal())


def _settings(options: argparse.Namespace) -> Settings:
    set_ones = [found for name in options.upstream_variable if (found := os.environ.get(name))]
    options.upstream = [options.upstream, *set_ones][-1]
    base(options.upstream)
    configuration.read(options.config)
    workload = _workload(options.workload, options.cluster)
    # One identity for whoever comes: nobody else may come.
    if workload is not None and not _loopback(options.listen.host):
        raise InputError(
            f"--listen {options.listen}",
            "others reach that port and would be taken for the workload",
            "Listen on 127.0.0.1, or leave --workload out: then callers are told by their keys.",
        )
    if options.admin_token_file is None and not _loopback(options.admin_listen.host):
        raise InputError(
            f"--admin-listen {options.admin_listen}",
            "others reach that port, and there is no token",
            "Give --admin-token-file FILE, or listen on 127.0.0.1.",
        )
    return Settings(
        upstream=options.upstream,
        listen=options.listen,
        admin=options.admin_listen,
        config=options.config,
        where=_where(options, workload),
        workload=workload,
        ca=str(options.ca_file) if options.ca_file else None,
        admin_token=_token(options.admin_token_file),
        admin_tls=_tls(options.admin_certificate_file, options.admin_key_file),
        metrics_token=_token(options.metrics_token_file),
        grace=options.grace,
    )


def _where(options: argparse.Namespace, workload: Workload | None) -> Where:
    redis = None
    if options.store is not None:
        if options.data is not None:
            raise InputError("--data", "answers go to --store", "Leave one of them out.")
        redis = Address(
            url=options.store,
            user=options.store_user,
            password=options.store_password_file,
            ca=options.store_ca_file,
            certificate=options.store_certificate_file,
            key=options.store_key_file,
        )
        check(redis)
    # Workloads don't read each other's questions, even where they share a prefix; nor does one get
    # the answers of the server that it asked before.
    whose = "shared"
    if workload is not None:
        text = f"{namespace(workload, {})} {base(options.upstream)}"
        whose = hashlib.sha256(text.encode()).hexdigest()[:32]
    keys = read_keys(options.encryption_keys_file) if options.encryption_keys_file else None
    return Where(
        folder=options.data,
        redis=redis,
        prefix=f"{options.store_prefix}:{whose}",
        # A folder outlives its container, which may come back with another upstream.
        seal=Seal(keys, f"{whose[:16]}:" if workload is not None and redis is None else ""),
        most=options.data_bytes,
    )


def _workload(text: str | None, cluster: str) -> Workload | None:
    if text is None:
        return None
    namespace, slash, account = text.partition("/")
    if not (namespace and slash and account) or not cluster:
        raise InputError("--workload", "names no ServiceAccount", "Write it as NAMESPACE/NAME.")
    return Workload(cluster, namespace, account)


def _token(path: Path | None) -> str | None:
    if path is None:
        return None
    found = path.read_text().strip()
    if not found:
        raise InputError(str(path), "the file is empty", "Write a token into it.")
    return found


def _tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise InputError("--admin-certificate-file", "goes with --admin-key-file", "Give both.")
    try:
        return CertificateFiles(certificate, key).context()
    except CertificateError as error:
        raise InputError("--admin-certificate-file", str(error)) from error


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairstow.cache_sidecar", description="A semantic cache in front of an LLM server."
    )
    add = parser.add_argument
    add("--upstream", required=True, metavar="URL", help="the one server that requests go to")
    add(
        "--upstream-variable",
        action="append",
        default=[],
        metavar="NAME",
        help="an environment variable that names it instead, if it is set; of several the last",
    )
    add("--config", type=Path, required=True, metavar="FILE", help="categories; docs/cache.md")
    add("--data", type=Path, metavar="FOLDER", help="keeps answers over restarts; else in memory")
    add("--data-bytes", type=int, metavar="N", help="most of it; what doesn't fit isn't kept")
    add("--store", metavar="URL", help="answers go to Redis, shared with other sidecars")
    add("--store-user", metavar="NAME", help="of Redis' access control list")
    add("--store-password-file", type=Path, metavar="FILE", help="read at every connection")
    add("--store-ca-file", type=Path, metavar="FILE", help="checks Redis' certificate")
    add("--store-certificate-file", type=Path, metavar="FILE", help="shown to Redis")
    add("--store-key-file", type=Path, metavar="FILE", help="of that certificate")
    add("--store-prefix", default="fairstow-cache", metavar="TEXT", help="of the keys of one cache")
    add("--encryption-keys-file", type=Path, metavar="FILE", help="lines of ID:KEY, 32 bytes each")
    add("--listen", type=address, default="127.0.0.1:8090", metavar="HOST:PORT", help="clients")
    add("--admin-listen", type=address, default="127.0.0.1:8091", metavar="HOST:PORT")
    add("--admin-token-file", type=Path, metavar="FILE", help="what the admin port asks for")
    add("--admin-certificate-file", type=Path, metavar="FILE", help="the admin port speaks TLS")
    add("--admin-key-file", type=Path, metavar="FILE", help="of that certificate")
    add("--metrics-token-file", type=Path, metavar="FILE", help="enough for counts")
    add(
        "--workload",
        metavar="NAMESPACE/SERVICEACCOUNT",
        help="beside an application: the one who asks; without it callers are told by their keys",
    )
    add("--cluster", default="cluster", metavar="NAME", help="of the workload")
    add("--ca-file", type=Path, metavar="FILE", help="checks the upstream's certificate")
    add("--grace", type=seconds, default=30.0, help="seconds for running requests at the end")
    add("--log-level", choices=LOG_LEVELS, default="info")
    return parser


if __name__ == "__main__":
    sys.exit(main())
