"""The upstream: the one server that requests go to, whatever their headers say.

Headers pass both ways, but for those of one hop and our own. Nothing is decoded, followed or tried
again. Called by `app`.
"""

from __future__ import annotations

import io
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from fairstow.cache_sidecar.callers import SHOWN
from fairstow.cache_sidecar.flights import Reply
from fairstow.cluster.errors import InputError

CONNECT_SECONDS = 10.0
_HOP = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
        b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"host",
        b"expect",
    }
)  # fmt: skip
_OURS = b"x-cache"
_UNASKED = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
PART = 1 << 16


class UpstreamError(Exception):
    """It can't be reached, or broke off."""


class Upstream:
    """Args: url: with or without /v1. Raises InputError."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._base = base(url)

    @asynccontextmanager
    async def ask(
        self,
        method: str,
        target: str,
        headers: list[tuple[bytes, bytes]],
        body: bytes | AsyncIterator[bytes] | None,
        *,
        plain: bool = False,
    ) -> AsyncIterator[tuple[Reply, AsyncIterator[bytes]]]:
        """Send a request; give the answer's head and its parts as they come.

        `plain`: the answer mustn't be compressed, since it is read here. Raises UpstreamError.
        """
        passed = CIMultiDict[str]()
        left_out = _HOP | _named(headers) | ({b"accept-encoding"} if plain else set())
        if isinstance(body, bytes):
            left_out |= {b"content-length"}
        for name, value in headers:
            if name not in left_out and not name.startswith(_OURS):
                passed.add(name.decode("latin-1"), value.decode("latin-1"))
        if plain:
            passed["accept-encoding"] = "identity"
        try:
            async with self._session.request(
                method,
                URL(self._base + target, encoded=True),
                headers=passed,
                data=io.BytesIO(body) if isinstance(body, bytes) else body,
                allow_redirects=False,
                skip_auto_headers=_UNASKED,
            ) as answer:
                raw = [(name.lower(), value) for name, value in answer.raw_headers]
                left_out = _HOP | _named(raw) | {b"date"}
                reply = Reply(
                    answer.status,
                    [
                        (name, value)
                        for name, value in raw
                        if name not in left_out and not name.startswith(_OURS)
                    ],
                    answer.content_type,
                )
                yield reply, answer.content.iter_any()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UpstreamError(str(error) or type(error).__name__) from error


@asynccontextmanager
async def session(ca: str | None = None) -> AsyncIterator[aiohttp.ClientSession]:
    """Give a client that holds to the environment's proxies; `ca`: a file of certificates."""
    context = ssl.create_default_context(cafile=ca)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60, ssl=context)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        auto_decompress=False,
        trust_env=True,
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=1 << 16,
        max_field_size=1 << 16,
    ) as made:
        yield made


def base(url: str) -> str:
    """Return what comes before a client's path, which begins with /v1. Raises InputError."""
    where = urlsplit(url)
    if where.scheme not in ("http", "https") or not where.hostname or where.query or where.fragment:
        raise InputError("--upstream", f"{url!r} is no address", "Write http://HOST:PORT[/v1].")
    if where.username or where.password:
        raise InputError("--upstream", "there is a password in it", "Clients send their own keys.")
    return f"{where.scheme}://{where.netloc}{where.path.rstrip('/').removesuffix('/v1')}"


def _named(headers: list[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """Return the headers that Connection names as those of one hop.

    What callers are known by is none of them: the upstream has to see who asks.
    """
    said = b",".join(value for name, value in headers if name == b"connection")
    return frozenset(name.strip().lower() for name in said.split(b",")) - {b"", *SHOWN}
