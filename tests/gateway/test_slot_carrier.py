"""The carrier of llama.cpp's slot files, two of them over real sockets.

Covered: a file goes from one folder to the other and is gone where it was; keys, names, bounds;
whatever breaks off leaves nothing; what a crash left is swept; links lead nowhere; the program and
its end.
Not covered: llama.cpp (e2e/engines/test_llama_cpp).
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from fairstow.gateway.slot_carrier.carrier import Carrier
from fairstow.gateway.slot_carrier.folder import KEPT_SECONDS, Folder
from tests.gateway.gateways import free_ports

KEY = "the engines' key"
NAME = f"{'0' * 16}-3-{'a' * 16}.kv"
MOST = 5 << 20


class Beside:
    """One carrier. Attributes: folder: its engine's."""

    def __init__(self, folder: Path, url: str, http: aiohttp.ClientSession) -> None:
        self.folder, self.url, self._http = folder, url, http

    async def ask(
        self, action: str, name: str = NAME, key: str = KEY, **body: Any
    ) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {key}"}
        url = f"{self.url}/slots/{name}"
        params = {"action": action}
        async with self._http.post(url, params=params, headers=headers, json=body) as reply:
            return reply.status, await reply.json(content_type=None)

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


async def serve(stack: AsyncExitStack, app: web.Application) -> str:
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


def run(folder: Path, test: Callable[[AsyncExitStack, Beside, Beside], Awaitable[None]]) -> None:
    async def body() -> None:
        async with (
            asyncio.timeout(60),
            aiohttp.ClientSession() as http,
            AsyncExitStack() as stack,
        ):
            there = []
            for name in ("source", "destination"):
                path = folder / name
                path.mkdir()
                url = await serve(stack, Carrier(Folder(path, MOST), http, KEY).app())
                there.append(Beside(path, url, http))
            await test(stack, *there)

    asyncio.run(body())


def test_a_file_goes_where_it_is_fetched_to(tmp_path: Path) -> None:
    async def test(_: AsyncExitStack, source: Beside, destination: Beside) -> None:
        data = os.urandom(3 << 20)
        (source.folder / NAME).write_bytes(data)
        assert await destination.ask("fetch", **{"from": source.url}) == (200, {"bytes": len(data)})
        assert (destination.folder / NAME).read_bytes() == data
        assert (source.files, destination.files) == ([], [NAME])
        assert (await destination.ask("drop"))[0] == 200
        assert destination.files == []
        assert (await destination.ask("drop"))[0] == 404
        assert (await destination.ask("fetch", **{"from": source.url}))[0] == 502

    run(tmp_path, test)


def test_without_the_key_nothing_is_said_or_done(tmp_path: Path) -> None:
    async def test(_: AsyncExitStack, source: Beside, destination: Beside) -> None:
        (source.folder / NAME).write_bytes(b"secret")
        for key in ("", "wrong", "é"):
            assert (await source.ask("drop", key=key))[0] == 401
            assert (await destination.ask("fetch", key=key, **{"from": source.url}))[0] == 401
        async with aiohttp.ClientSession() as http, http.get(f"{source.url}/slots/{NAME}") as reply:
            assert (reply.status, b"secret" in await reply.read()) == (401, False)
        assert (source.files, destination.files) == ([NAME], [])

    run(tmp_path, test)


@pytest.mark.parametrize("name", ["..%2Fsecret", "secret", f"{NAME}.part", "%2Fetc%2Fpasswd"])
def test_only_slots_files_are_carried(tmp_path: Path, name: str) -> None:
    async def test(_: AsyncExitStack, source: Beside, destination: Beside) -> None:
        (tmp_path / "secret").write_bytes(b"secret")
        (source.folder / "secret").write_bytes(b"secret")
        (source.folder / NAME).symlink_to(tmp_path / "secret")
        assert (await source.ask("drop", name))[0] == 404
        for wanted in (name, NAME):
            assert (await destination.ask("fetch", wanted, **{"from": source.url}))[0] == 502
        assert destination.files == []

    run(tmp_path, test)


def test_files_have_a_bound_together(tmp_path: Path) -> None:
    async def test(_: AsyncExitStack, source: Beside, destination: Beside) -> None:
        other = NAME.replace("a", "b")
        (source.folder / NAME).write_bytes(bytes(MOST - 1))
        (destination.folder / other).write_bytes(bytes(2))
        assert (await destination.ask("fetch", **{"from": source.url}))[0] == 507
        assert (source.files, destination.files) == ([NAME], [other])
        await destination.ask("drop", other)
        assert (await destination.ask("fetch", **{"from": source.url}))[0] == 200

    run(tmp_path, test)


def test_what_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    """The source dies half-way, says no length, says another way, or isn't there."""

    async def test(stack: AsyncExitStack, _: Beside, destination: Beside) -> None:
        asked: list[str] = []

        async def dies(request: web.Request) -> web.StreamResponse:
            reply = web.StreamResponse()
            reply.content_length = 1 << 20
            await reply.prepare(request)
            await reply.write(bytes(1 << 19))
            assert request.transport is not None
            request.transport.abort()
            return reply

        async def endless(request: web.Request) -> web.StreamResponse:
            reply = web.StreamResponse()
            reply.enable_chunked_encoding()
            await reply.prepare(request)
            return reply

        async def elsewhere(request: web.Request) -> web.StreamResponse:
            asked.append(request.path)
            raise web.HTTPTemporaryRedirect(f"{destination.url}/slots/{NAME}")

        app = web.Application()
        for name, handler in (("dies", dies), ("endless", endless), ("elsewhere", elsewhere)):
            app.router.add_get(f"/{name}/slots/{NAME}", handler)
        url = await serve(stack, app)
        for source in (f"{url}/dies", f"{url}/endless", f"{url}/elsewhere", "http://127.0.0.1:9"):
            assert (await destination.ask("fetch", **{"from": source}))[0] == 502
            assert destination.files == []
        assert len(asked) == 1
        for wrong in ("file:///etc/passwd", "", "nowhere"):
            assert (await destination.ask("fetch", **{"from": wrong}))[0] in (400, 502)
        assert (await destination.ask("fetch"))[0] == 400
        assert (await destination.ask("burn"))[0] == 400

    run(tmp_path, test)


def test_what_crashes_leave_is_swept_and_nothing_else(tmp_path: Path) -> None:
    now = time.time()
    folder = Folder(tmp_path, MOST, lambda: now)
    others = NAME.replace("a", "b"), NAME.replace("a", "c")
    for name in (NAME, others[0], f"{NAME.replace('a', 'd')}.part", "model.gguf", "old.kv"):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (now, now - 2 * KEPT_SECONDS))
    os.utime(tmp_path / NAME, (now, now - KEPT_SECONDS + 1))
    with folder.write(others[1], 1) as file:
        file.write(b"x")
        assert folder.sweep() == 2
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {NAME, others[1], "model.gguf", "old.kv"}


def test_the_program_makes_sweeps_and_ends_after_its_engine(tmp_path: Path) -> None:
    made = tmp_path / "below" / "slots"
    left = tmp_path / f"{NAME}.part"
    left.write_bytes(b"x")
    (port,) = free_ports(1)

    async def body() -> None:
        async with asyncio.timeout(60), AsyncExitStack() as stack:
            engine = await stack.enter_async_context(AsyncExitStack())
            url = await serve(engine, web.Application())
            (early,) = free_ports(1)
            other = await program(early, made, url, KEY)
            started = await program(port, tmp_path, url, KEY)
            while left.exists() or not made.exists():
                await asyncio.sleep(0.05)
            started.terminate()
            async with aiohttp.ClientSession() as http:
                beside = Beside(tmp_path, f"http://127.0.0.1:{port}", http)
                for _ in range(3):
                    assert (await beside.ask("drop"))[0] == 404
                    await asyncio.sleep(0.1)
            await engine.aclose()
            assert await started.wait() == 0
            assert other.returncode is None, "it runs in the folder that it made"
            other.terminate()
            assert await other.wait() == 0

    asyncio.run(body())


def test_without_a_key_it_doesnt_start(tmp_path: Path) -> None:
    async def body() -> None:
        refused = await program(1, tmp_path, "http://127.0.0.1:9", "")
        _, said = await refused.communicate()
        assert refused.returncode == 2
        assert b"FAIRSTOW_ENGINE_KEY is empty" in said

    asyncio.run(body())


async def program(port: int, folder: Path, engine: str, key: str) -> asyncio.subprocess.Process:
    flags = ("--folder", str(folder), "--port", str(port), "--host", "127.0.0.1")
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fairstow.gateway.slot_carrier", "--engine", engine, *flags),
        env={"FAIRSTOW_ENGINE_KEY": key},
        stderr=asyncio.subprocess.PIPE,
    )
