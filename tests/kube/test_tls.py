"""The scheduler's port under TLS: who gets in, and certificates that change while it runs.

Covered on real sockets with uvloop, by address and by name: no certificate, one of another
authority; new certificate and new authority with an open connection; files that don't fit
together. Not covered: a real scheduler meanwhile (e2e/test_extender.py).
"""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from e2e.controlplane.tls import Authority, KeyPair
from fairstow.kube.tls import CertificateError, CertificateFiles, Certificates
from scheduler_plugins.protocol import Connection, Endpoint

REQUEST = b"POST /echo HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Files:
    """A server's files, as a mounted Secret."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.paths = CertificateFiles(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")

    def write(self, authority: Authority) -> None:
        pair = authority.issue("server", hosts=["127.0.0.1", "localhost"])
        shutil.copy(pair.cert, self.paths.certificate)
        shutil.copy(pair.key, self.paths.key)
        shutil.copy(authority.pair.cert, self.folder / "ca.crt")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "server")


@pytest.fixture
def first(tmp_path: Path, files: Files) -> Authority:
    authority = Authority(tmp_path / "first")
    files.write(authority)
    return authority


def client(trusted: Authority, own: KeyPair | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(trusted.pair.cert))
    if own:
        context.load_cert_chain(own.cert, own.key)
    return context


async def ask(streams: Streams) -> None:
    streams[1].write(REQUEST)
    answer = await asyncio.wait_for(streams[0].readuntil(b"{}"), 10)
    assert answer.startswith(b"HTTP/1.1 200")


async def refused(port: int, context: ssl.SSLContext, name: str = "127.0.0.1") -> bool:
    """Whether the server hangs up; under TLS 1.3 a client learns it when it first reads."""
    try:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname=name
        )
        writer.write(REQUEST)
        answer = await asyncio.wait_for(reader.read(100), 10)
        writer.close()
    except (OSError, ssl.SSLError):
        return True
    return answer == b""


def serving(certificates: Certificates, test: Callable[[int], Awaitable[None]]) -> None:
    async def main() -> None:
        endpoint = Endpoint({b"/echo": lambda body: body})
        server = await asyncio.get_running_loop().create_server(
            lambda: Connection(endpoint), "127.0.0.1", 0, ssl=certificates.context
        )
        try:
            await test(server.sockets[0].getsockname()[1])
        finally:
            server.close()

    uvloop.run(main())


def test_only_clients_of_the_authority_get_in(
    tmp_path: Path, files: Files, first: Authority
) -> None:
    stranger = Authority(tmp_path / "stranger").issue("scheduler")

    async def test(port: int) -> None:
        assert not await refused(port, client(first, first.issue("scheduler")))
        assert await refused(port, client(first, None))
        assert await refused(port, client(first, stranger))

    serving(Certificates(files.paths), test)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_new_certificates_serve_new_connections_and_old_ones_stay(
    tmp_path: Path, files: Files, first: Authority, name: str
) -> None:
    second = Authority(tmp_path / "second")
    certificates = Certificates(files.paths)
    old, new = first.issue("scheduler"), second.issue("scheduler")

    async def test(port: int) -> None:
        before = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client(first, old), server_hostname=name
        )
        await ask(before)
        assert not certificates.refresh()
        files.write(second)
        assert certificates.refresh()
        await ask(before)
        assert not await refused(port, client(second, new), name)
        assert await refused(port, client(second, old), name)  # its authority has gone
        assert await refused(port, client(second, None), name)
        before[1].close()

    serving(certificates, test)


def test_files_that_dont_fit_together_leave_things_as_they_were(
    tmp_path: Path, files: Files, first: Authority
) -> None:
    certificates = Certificates(files.paths)
    other = Authority(tmp_path / "second").issue("server", hosts=["127.0.0.1"])
    shutil.copy(other.key, files.paths.key)  # the key comes first, the certificate a moment later
    with pytest.raises(CertificateError, match="aren't a certificate and its key"):
        certificates.refresh()

    async def test(port: int) -> None:
        assert not await refused(port, client(first, first.issue("scheduler")))

    serving(certificates, test)
    shutil.copy(other.cert, files.paths.certificate)
    assert certificates.refresh()


def test_a_missing_file_is_named(files: Files, first: Authority) -> None:
    del first
    files.paths.key.unlink()
    with pytest.raises(CertificateError, match=r"tls\.key can't be read: No such file"):
        Certificates(files.paths)
