"""Serves the cost model by vLLM's API: `python -m fairstow.gateway.cost_model_server --port 8000`.

For tests, demonstrations and benchmarks without a GPU: prefill, decode and copies take as long as
on the GPU of the profile (divided by --speed), and the text is a function of the ids before it.
"""

from __future__ import annotations

import argparse
import ipaddress
import sys
from pathlib import Path

from aiohttp import web

from fairstow.gateway.cost_model.runner import Model
from fairstow.gateway.cost_model.server import Server
from fairstow.serving.cost_model import PROFILES


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to end; return the program's status."""
    given = _parser().parse_args(arguments)
    key = Path(given.api_key_file).read_text().strip() if given.api_key_file else None
    if key is None and not _is_loopback(given.host):
        print(
            f"--host {given.host} lets others in, and there is no key. Give --api-key-file, or "
            "serve on 127.0.0.1.",
            file=sys.stderr,
        )
        return 2
    model = Model(
        name=given.model,
        weights=given.weights,
        mean_length=given.mean_length,
        lease=given.lease,
    )
    server = Server(
        PROFILES[given.profile],
        model,
        host=given.advertise or given.host,
        port=given.port,
        speed=given.speed,
        key=key,
    )
    web.run_app(
        server.app(),
        host=given.host,
        port=given.port,
        handler_cancellation=True,
        access_log=None,
        print=None,
        shutdown_timeout=1.0,
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fairstow.gateway.cost_model_server")
    add = parser.add_argument
    add("--port", type=int, required=True)
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--advertise", help="address at which other engines read KV cache; --host by default")
    add("--profile", choices=sorted(PROFILES), default="a10-7b")
    add("--speed", type=float, default=1.0, help="how much faster than the GPU")
    add("--model", default="cost-model", help="the model's name")
    add("--weights", default="1", help="other weights write other text")
    add("--mean-length", type=int, default=0, help="tokens of an answer that ends by itself")
    add("--lease", type=float, default=30.0, help="seconds that held KV cache is kept")
    add("--scheduling-policy", choices=["priority"], help="as vLLM's; there is no other")
    add("--api-key-file", help="file with the key that every request needs")
    return parser


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    sys.exit(main())
