"""The port that each program has for health and metrics, over TLS on real sockets.

Covered: health without a token and what it says; 401, 403, 503 and 200 on metrics as the API server
answers; that its answers are remembered for a minute, per token and path; that whoever only holds
connections keeps nobody out; a port that opens before its certificate exists and takes it over. The
API server is a scripted one; the real one is in e2e/test_extender.py and e2e/test_health.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from e2e.controlplane.tls import Authority
from fairstow.kube import admin, tls
from fairstow.kube.admin import AdminServer, application
from fairstow.kube.aio.api import Api
from fairstow.kube.flags import Address, address, seconds
from fairstow.kube.review import Reviewer
from fairstow.kube.tls import (
    CertificateError,
    CertificateFiles,
    Certificates,
    keep_fresh,
    self_signed,
)
from tests.kube.server import Reply, kubeconfig, serving

NAME = "fairstow-operator.ns.svc"
PARTS = (
    b"",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\n",
    b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nbody",
)
"""Of requests that never become whole."""


@dataclass
class Server:
    """An API server that knows two tokens; the clock of who asks it."""

    now: float = 0.0
    heard: list[tuple[str, bytes]] = field(default_factory=list)
    broken: bool = False

    def answer(self, path: str, _query: dict[str, str]) -> Reply:
        if self.broken:
            return 403, {"kind": "Status", "code": 403, "message": "not you"}, {}
        spec = json.loads(self.heard[-1][1])["spec"]
        if path.endswith("/tokenreviews"):
            known = spec["token"] in ("reader", "stranger")
            user = {"username": f"system:{spec['token']}", "groups": ["g"]}
            return 201, {"status": {"authenticated": known, "user": user if known else {}}}, {}
        attributes = spec["nonResourceAttributes"]
        allowed = spec["user"] == "system:reader" and attributes["path"] == "/metrics"
        return 201, {"status": {"allowed": allowed and spec["groups"] == ["g"]}}, {}


@dataclass
class State:
    dead: str = ""
    unready: str = ""


class Page:
    """GETs from the port, by the name it must have a certificate for, or from whoever answers."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session, self._port = session, port

    async def get(self, path: str, token: str = "", trust: Path | None = None) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        context = ssl.create_default_context(cafile=str(trust)) if trust else False
        async with self._session.get(
            f"https://127.0.0.1:{self._port}{path}",
            headers=headers,
            ssl=context,
            server_hostname=NAME,
        ) as reply:
            return reply.status, await reply.text()

    async def hold(self, said: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect, say something, and wait for nothing."""
        context = ssl._create_unverified_context()
        opened = await asyncio.open_connection("127.0.0.1", self._port, ssl=context)
        opened[1].write(said)
        return opened


Use = Callable[[Page], Awaitable[None]]


@dataclass
class World:
    folder: Path
    server: Server
    state: State

    @property
    def files(self) -> CertificateFiles:
        return CertificateFiles(self.folder / "tls.crt", self.folder / "tls.key")

    def certify(self) -> Path:
        """Write a certificate; return who is to be trusted."""
        authority = Authority(self.folder / "pki")
        pair = authority.issue("server", hosts=[NAME])
        shutil.copy(pair.cert, self.files.certificate)
        shutil.copy(pair.key, self.files.key)
        return authority.pair.cert

    def run(self, use: Use, *, stand_in: bool = False) -> None:
        with serving(self.server.answer, self.server.heard) as address:
            config = self.folder / "config"
            config.write_text(kubeconfig(address))
            asyncio.run(self._serve(str(config), use, stand_in))

    async def _serve(self, config: str, use: Use, stand_in: bool) -> None:
        registry = CollectorRegistry()
        Counter("fairstow_tests", "Of this test.", registry=registry).inc(7)
        async with Api.connect(config) as api:
            reviewer = Reviewer(api, lambda: self.server.now)
            app = application(
                "test",
                reviewer,
                registry,
                unready=lambda: self.state.unready,
                dead=lambda: self.state.dead,
            )
            own = partial(self_signed, "stand-in") if stand_in else None
            certificates = Certificates(self.files, stand_in=own)
            with socket.create_server(("127.0.0.1", 0)) as listener:
                server = AdminServer(app, certificates.context)
                running = (server.run_on(listener), keep_fresh(certificates))
                tasks = [asyncio.create_task(each) for each in running]
                async with aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(force_close=True)
                ) as session:
                    await use(Page(session, listener.getsockname()[1]))
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, Server(), State())


def test_health_needs_no_token_and_says_what_is_wrong(world: World) -> None:
    async def use(page: Page) -> None:
        assert await page.get("/healthz") == (200, "ok")
        assert await page.get("/readyz") == (200, "ok")
        world.state.unready = "pods haven't been listed yet"
        assert await page.get("/readyz") == (503, "pods haven't been listed yet")
        assert await page.get("/healthz") == (200, "ok")
        world.state.dead = "the loop plans is stuck"
        assert await page.get("/healthz") == (503, "the loop plans is stuck")

    world.certify()
    world.run(use)
    assert world.server.heard == []


def test_metrics_are_for_whom_the_api_server_lets_in(world: World) -> None:
    trusted = world.certify()

    async def use(page: Page) -> None:
        for path in ("/metrics", "/openapi.json", "/nothing"):
            assert (await page.get(path))[0] == 401
            assert (await page.get(path, "unknown"))[0] == 401
        status, said = await page.get("/metrics", "stranger")
        assert status == 403
        assert "system:stranger may not get /metrics: grant it by a ClusterRole" in said
        status, text = await page.get("/metrics", "reader", trusted)
        assert (status, "fairstow_tests_total 7.0" in text) == (200, True)
        assert (await page.get("/nothing", "reader"))[0] == 403

    world.run(use)


def test_without_the_api_server_nobody_is_let_in(world: World) -> None:
    async def use(page: Page) -> None:
        world.server.broken = True
        status, said = await page.get("/metrics", "reader")
        assert (status, "not you" in said) == (503, True)
        world.server.broken = False
        assert (await page.get("/metrics", "reader"))[0] == 200

    world.certify()
    world.run(use)


def test_answers_are_remembered_for_a_minute_by_token_and_path(world: World) -> None:
    asked: list[int] = []

    async def use(page: Page) -> None:
        for at, path, token in (
            (0, "/metrics", "reader"),
            (59, "/metrics", "reader"),
            (59, "/nothing", "reader"),
            (59, "/metrics", "stranger"),
            (61, "/metrics", "reader"),
        ):
            world.server.now = at
            before = len(world.server.heard)
            await page.get(path, token)
            asked.append(len(world.server.heard) - before)

    world.certify()
    world.run(use)
    assert asked == [2, 0, 2, 2, 2]


@pytest.mark.parametrize("part", PARTS, ids=["nothing", "a head", "a body"])
def test_whoever_only_holds_connections_keeps_nobody_out(
    world: World, monkeypatch: pytest.MonkeyPatch, part: bytes
) -> None:
    monkeypatch.setattr(admin, "MOST_CONNECTIONS", 10)

    async def use(page: Page) -> None:
        held = [await page.hold(part) for _ in range(15)]
        assert await page.get("/healthz") == (200, "ok")
        first, _ = held[0]
        with contextlib.suppress(ConnectionError):
            await first.read()  # to its end: it gave way
        for _, writer in held:
            writer.transport.abort()
        assert await page.get("/healthz") == (200, "ok")  # and has seen them all go

    world.certify()
    world.run(use)


def test_the_port_is_there_before_its_certificate_and_takes_it_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "LOOK_EVERY_SECONDS", 0.02)

    async def use(page: Page) -> None:
        assert await page.get("/healthz") == (200, "ok")
        trusted = world.certify()
        status = 0
        while not status:
            try:
                status, _ = await page.get("/metrics", "reader", trusted)
            except aiohttp.ClientError:  # still the stand-in
                await asyncio.sleep(0.02)
        assert status == 200

    with pytest.raises(CertificateError):
        world.run(use)
    world.run(use, stand_in=True)


@pytest.mark.parametrize("text", ["8443", ":8443", "host:", "host:no", "host:65536", "host:-1"])
def test_an_address_without_host_or_port_is_refused(text: str) -> None:
    with pytest.raises(Exception, match="isn't HOST:PORT"):
        address(text)


def test_addresses() -> None:
    told = [address("0.0.0.0:8443"), address("[::1]:0")]
    assert told == [Address("0.0.0.0", 8443), Address("::1", 0)]


@pytest.mark.parametrize("text", ["", "soon", "-1", "inf", "nan"])
def test_what_is_no_number_of_seconds_is_refused(text: str) -> None:
    with pytest.raises(Exception, match="is no number of seconds"):
        seconds(text)
    assert seconds("0.5") == 0.5
