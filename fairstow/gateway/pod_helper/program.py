"""The helper's command line and its port. Run by `__main__`, which takes signals before this loads.

Exit codes: 0 ended when told to, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

import aiohttp
from aiohttp import web

from fairstow.gateway.engines.kinds import KINDS
from fairstow.gateway.engines.protocol import Load
from fairstow.gateway.pod_helper.draining import Helper
from fairstow.kube.flags import seconds
from fairstow.kube.logs import log_json
from fairstow.serving.engine_pods import ENGINE_KEY, TOKEN

ANSWER_SECONDS = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to end; return the program's status."""
    given = _parser().parse_args(arguments)
    log_json("info")
    token = os.environ.get(TOKEN, "")
    if not token:
        print(f"pod_helper: {TOKEN} is empty: nobody could ask. Set it.", file=sys.stderr)
        return 2
    web.run_app(_app(given, token), port=given.port, access_log=None, print=None)
    return 0


async def _app(given: argparse.Namespace, token: str) -> web.Application:
    session = aiohttp.ClientSession()
    key = os.environ.get(ENGINE_KEY) or None
    engine = KINDS[given.adapter](session, "engine", given.engine, key=key)

    async def ask() -> Load:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await engine.load()

    async def close(_app: web.Application) -> None:
        await session.close()

    app = Helper(ask, given.bound, token).app()
    app.on_cleanup.append(close)
    return app


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fairstow.gateway.pod_helper")
    add = parser.add_argument
    add("--engine", required=True, metavar="URL", help="the engine beside us")
    add("--adapter", choices=sorted(KINDS), default="vllm")
    add("--port", type=int, required=True)
    add("--bound", type=seconds, required=True, metavar="S", help="to wait at most")
    return parser
