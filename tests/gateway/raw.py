"""A client that speaks bytes: what no client library would send, or would wait with."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import msgspec

from tests.gateway.gateways import Site


class Raw:
    """One connection. Attributes: said: all that was read of what came back."""

    def __init__(self, raw: socket.socket) -> None:
        self._socket = raw
        self.said = b""

    @classmethod
    async def connect(cls, site: Site, *, takes: int | None = None) -> Raw:
        """Connect to a site's gateway; `takes` is what the kernel takes of what isn't read."""
        raw = socket.socket()
        site.stack.callback(raw.close)
        raw.setblocking(False)
        if takes is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, takes)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", site.ports.clients))
        return cls(raw)

    async def send(self, data: bytes) -> bool:
        """Send; False if the other side doesn't listen any more."""
        try:
            await asyncio.get_running_loop().sock_sendall(self._socket, data)
        except ConnectionError:
            return False
        return True

    async def until(self, text: bytes) -> bytes:
        """Return what it said up to a text, or to its end."""
        while text not in self.said and (part := await self._read()):
            self.said += part
        return self.said

    async def rest(self) -> bytes:
        """Return what it said until it closed."""
        while part := await self._read():
            self.said += part
        return self.said

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    async def _read(self) -> bytes:
        try:
            return await asyncio.get_running_loop().sock_recv(self._socket, 1 << 16)
        except ConnectionError:
            return b""

    @property
    def open(self) -> bool:
        """Whether the other side has neither spoken nor closed."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        return False


def head(method: str, path: str, *headers: str) -> bytes:
    """Return a request's first line and headers."""
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: x", *headers, "", "")).encode()


def post(path: str, body: Any, *headers: str) -> bytes:
    """Return a whole request."""
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return head("POST", path, f"Content-Length: {len(data)}", *headers) + data


def chunk(data: bytes) -> bytes:
    """Return a part of a body that doesn't say how long it is."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def statuses(said: bytes) -> list[int]:
    """Return the statuses of the answers one after the other on a connection."""
    return [int(line[:3]) for line in said.split(b"HTTP/1.1 ")[1:]]
