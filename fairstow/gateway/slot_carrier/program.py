"""The carrier's command line and its port. Run by `__main__`, which takes signals before.

When its pod is deleted the engine hands its requests over before it ends; the carrier goes on as
long as the engine answers, and the pod's grace period bounds both.

Exit codes: 0 ended when told to, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
from aiohttp import web

from fairstow.gateway.slot_carrier.carrier import Carrier
from fairstow.gateway.slot_carrier.folder import Folder
from fairstow.kube.aio.tasks import first, running, stop_signal
from fairstow.kube.logs import log_json
from fairstow.serving.engine_pods import ENGINE_KEY

ASK_SECONDS = 0.5
ANSWER = aiohttp.ClientTimeout(total=5)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to end; return the program's status."""
    given = _parser().parse_args(arguments)
    log_json("info")
    key = os.environ.get(ENGINE_KEY, "")
    if not key:
        print(f"slot_carrier: {ENGINE_KEY} is empty: set it to the engines' key.", file=sys.stderr)
        return 2
    # It starts before what else might make it.
    with contextlib.suppress(OSError):
        given.folder.mkdir(parents=True, exist_ok=True)
    if not os.access(given.folder, os.R_OK | os.W_OK | os.X_OK):
        said = "isn't a folder that can be read and written: mount the engine's, with its group"
        print(f"slot_carrier: {given.folder} {said}.", file=sys.stderr)
        return 2
    asyncio.run(_serve(given, Folder(given.folder, given.most << 20), key))
    return 0


async def _serve(given: argparse.Namespace, folder: Folder, key: str) -> None:
    stopped = stop_signal()
    async with aiohttp.ClientSession() as session, AsyncExitStack() as stack:
        carrier = Carrier(folder, session, key)
        runner = web.AppRunner(carrier.app(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, given.host, given.port).start()
        async with running([carrier.sweep()]) as failed:
            await first(stopped.wait(), failed)
            while await _answers(session, given.engine):
                await asyncio.sleep(ASK_SECONDS)


async def _answers(session: aiohttp.ClientSession, engine: str) -> bool:
    try:
        async with session.get(f"{engine}/health", timeout=ANSWER):
            return True
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fairstow.gateway.slot_carrier")
    add = parser.add_argument
    add("--engine", required=True, metavar="URL", help="the engine beside us")
    add("--folder", type=Path, required=True, help="the engine's --slot-save-path")
    add("--port", type=int, required=True)
    add("--host", help="address to listen on; all, by default")
    add("--most", type=int, default=4096, metavar="MIB", help="of all files (%(default)s)")
    return parser
