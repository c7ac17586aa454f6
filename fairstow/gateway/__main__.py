"""`python -m fairstow.gateway`: OpenAI's API in front of a pool of LLM engines.

Exit codes: 0 ended when told to, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import gc
import ipaddress
import logging
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import aiohttp
import msgspec
import uvloop

from fairstow.cluster.errors import InputError
from fairstow.gateway.app import Limits
from fairstow.gateway.dispatching import MOST_WAITING
from fairstow.gateway.engines.declared import Declared
from fairstow.gateway.engines.kinds import KINDS
from fairstow.gateway.engines.protocol import Engine
from fairstow.gateway.engines.vocabulary import Vocabulary, VocabularyError, read
from fairstow.gateway.following import Followed
from fairstow.gateway.service import MakeEngine, Settings, new_secret, serve
from fairstow.kube.aio.tasks import stop_signal
from fairstow.kube.connections import allow
from fairstow.kube.flags import LOG_LEVELS, address, seconds
from fairstow.kube.logs import log_json
from fairstow.serving.policies import DEFAULT, POLICIES, policy
from fairstow.web.port import MOST_CONNECTIONS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the gateway and return its exit code."""
    options = _parser().parse_args(arguments)
    log_json(options.log_level)
    logging.getLogger("uvicorn.error").setLevel("WARNING")
    try:
        settings = _settings(options)
    except (InputError, OSError, VocabularyError) as error:
        print(f"fairstow.gateway: {error}", file=sys.stderr)
        return 2
    # What is imported stays; little of what comes and goes is in cycles, a collection is a pause.
    allow(2 * MOST_CONNECTIONS)  # a client's, and its engine's
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
    try:
        uvloop.run(_run(settings))
    except (InputError, OSError) as error:
        print(f"fairstow.gateway: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(settings: Settings) -> None:
    await serve(settings, stop_signal())


def _settings(options: argparse.Namespace) -> Settings:
    followed = _followed(options)
    if followed is None:
        _check_ports(options)
    key = _secret(options.engine_key_file)
    vocabulary = read(options.tokenizer) if options.tokenizer else None
    declared = Declared(
        weights=options.weights, priority=options.engine_priorities, slots=options.slots
    )
    speeds = _speeds(options.speed)
    salt = _secret(options.salt_file)
    return Settings(
        listen=options.listen,
        admin=options.admin_listen,
        engines=[
            _engine(options.adapter, url, key, declared, speeds, vocabulary)
            for url in options.engine
        ],
        tenants=options.tenants,
        admin_token=_secret(options.admin_token_file),
        metrics_token=_secret(options.metrics_token_file),
        secret=salt.encode() if salt else new_secret(),
        policy=policy(options.policy),
        reschedule=options.reschedule,
        most_waiting=options.most_waiting,
        limits=Limits(options.longest_body << 20, options.keep_alive),
        grace=options.grace,
        linger=options.linger,
        replicas=options.replicas,
        name=options.name,
        pool=followed.pool if followed else options.pool,
        followed=followed,
        vocabulary=vocabulary,
        otlp=options.otlp_endpoint,
        trace_ratio=options.trace_ratio,
    )


def _followed(options: argparse.Namespace) -> Followed | None:
    """Return the ServingPool that says the rest; it leaves no say to flags."""
    if options.serving_pool is None:
        return None
    namespace, slash, pool = options.serving_pool.partition("/")
    if not (namespace and slash and pool):
        raise InputError("--serving-pool", "names no pool", "Write it as NAMESPACE/NAME.")
    said = {
        "--engine": options.engine,
        "--engine-key-file": options.engine_key_file,
        "--tenants": options.tenants,
        "--admin-token-file": options.admin_token_file,
        "--weights": options.weights,
        "--speed": options.speed,
        "--engine-priorities": options.engine_priorities,
        "--reschedule": options.reschedule,
    }
    for flag, given in said.items():
        if given:
            raise InputError(flag, "is said by the ServingPool", "Leave one of the two out.")
    return Followed(
        namespace=namespace,
        pool=pool,
        name=options.name,
        kubeconfig=options.kubeconfig,
        context=options.context,
        token=options.peer_token_file,
    )


def _check_ports(options: argparse.Namespace) -> None:
    if options.tenants is None and not _loopback(options.listen.host):
        raise InputError(
            f"--listen {options.listen}",
            "others reach that port, and nothing says who may use it",
            "Give --tenants FILE, or listen on 127.0.0.1.",
        )
    if options.admin_token_file is None and not _loopback(options.admin_listen.host):
        raise InputError(
            f"--admin-listen {options.admin_listen}",
            "others reach that port, and there is no token",
            "Give --admin-token-file FILE, or listen on 127.0.0.1.",
        )


def _engine(
    kind: str,
    text: str,
    key: str | None,
    declared: Declared,
    speeds: Mapping[str, float],
    vocabulary: Vocabulary | None,
) -> MakeEngine:
    name, separator, url = text.partition("=")
    if not separator or "/" in name:
        url = text
        name = url.partition("://")[2].rstrip("/")

    adapter = KINDS[kind]
    declared = msgspec.structs.replace(declared, speed=speeds.get(name, 1.0))

    def make(session: aiohttp.ClientSession) -> Engine:
        return adapter(session, name, url, key=key, declared=declared, vocabulary=vocabulary)

    return make


def _speeds(texts: Sequence[str]) -> dict[str, float]:
    try:
        found = {name: float(number) for name, _, number in (text.partition("=") for text in texts)}
    except ValueError:
        found = {"": 0.0}
    if not all(name and 0 < speed < float("inf") for name, speed in found.items()):
        raise InputError("--speed", "isn't NAME=N with N over 0", "Such as --speed a=2.5.")
    return found


def _secret(file: Path | None) -> str | None:
    if file is None:
        return None
    text = file.read_text().strip()
    if not text:
        raise InputError(str(file), "is empty", "Put the secret in it, alone.")
    return text


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fairstow.gateway",
        allow_abbrev=False,
        description="OpenAI's API in front of LLM engines; running requests move between them.",
    )
    _ports(parser.add_argument_group("ports"))
    _engines(parser.add_argument_group("engines"))
    spread = parser.add_argument_group("requests")
    add = spread.add_argument
    add("--policy", choices=sorted(POLICIES), default=DEFAULT, help="default %(default)s")
    add("--reschedule", action="store_true", help="move running requests as the policy says")
    add("--most-waiting", type=int, default=MOST_WAITING, metavar="N", help="then 429")
    add("--longest-body", type=int, default=10, metavar="MIB", help="default %(default)s")
    add("--keep-alive", type=seconds, default=10.0, metavar="S", help="comments in silent streams")
    add("--grace", type=seconds, default=30.0, metavar="S", help="for requests, at the end")
    add("--linger", type=seconds, default=0.0, metavar="S", help="before, not ready but serving")
    add("--replicas", type=int, default=1, metavar="N", help="limits of tenants hold over all")
    _cluster(parser.add_argument_group("on a cluster"))
    parser.add_argument("--name", default=socket.gethostname(), help="ours, in the ledger")
    parser.add_argument("--pool", default="local", help="the pool's name, in the ledger")
    _traces(parser.add_argument_group("traces"))
    parser.add_argument("--log-level", choices=LOG_LEVELS, default="info")
    return parser


def _traces(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--otlp-endpoint",
        type=_url,
        metavar="URL",
        help="a collector of OpenTelemetry, such as http://collector:4318",
    )
    add("--trace-ratio", type=_ratio, default=1.0, metavar="R", help="of traces that are kept")


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"{text!r} isn't http://… or https://…")
    return text


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} isn't between 0 and 1")
    return ratio


def _cluster(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--serving-pool",
        metavar="NAMESPACE/NAME",
        help="the ServingPool that says engines, tenants and policy",
    )
    add(
        "--peer-token-file",
        type=Path,
        metavar="FILE",
        help="what the pool's other gateways are shown; without it they aren't asked",
    )
    add("--kubeconfig", metavar="FILE", help="default: as kubectl, or the pod's account")
    add("--context", metavar="NAME")


def _ports(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--listen", type=address, default="127.0.0.1:8080", metavar="HOST:PORT", help="clients")
    add("--admin-listen", type=address, default="127.0.0.1:8081", metavar="HOST:PORT")
    add("--tenants", type=Path, metavar="FILE", help="who may use it; docs/gateway.md")
    add("--admin-token-file", type=Path, metavar="FILE", help="what the admin port asks for")
    add("--metrics-token-file", type=Path, metavar="FILE", help="what is enough for its /metrics")


def _engines(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--engine",
        action="append",
        default=[],
        metavar="[NAME=]URL",
        help="an LLM server; give it several times",
    )
    add(
        "--speed",
        action="append",
        default=[],
        metavar="NAME=N",
        help="how much faster than the slowest this engine decodes",
    )
    add("--adapter", choices=sorted(KINDS), default="vllm", help="what they are (%(default)s)")
    add("--engine-key-file", type=Path, metavar="FILE", help="the key they ask for")
    add("--tokenizer", type=Path, metavar="FILE", help="tokenizer.json of the model")
    add("--slots", default="", metavar="TEXT", help="llama.cpp: names the folder they share")
    add("--weights", default="", metavar="TEXT", help="what tells these weights from others")
    add(
        "--engine-priorities",
        action="store_true",
        help="they run with --scheduling-policy priority",
    )
    add("--salt-file", type=Path, metavar="FILE", help="secret of the pool's gateways")


if __name__ == "__main__":
    sys.exit(main())
