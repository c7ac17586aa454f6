"""Asks sidecars what they have: counts, with a token that is good for nothing else, over TLS."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Iterable
from functools import lru_cache

import aiohttp
import msgspec

from controllers.semantic_cache.cluster import Access, address
from fairstow.cluster.errors import InputError
from fairstow.kube.aio.connection import Json
from fairstow.semantic_cache.injection import ADMIN_PORT
from fairstow.semantic_cache.sidecar_stats import Stats

ANSWER_SECONDS = 3.0
LONGEST_ANSWER = 1 << 20
_AT_ONCE = 16

logger = logging.getLogger(__name__)


class Sidecars:
    """See the module. Args: port: theirs."""

    def __init__(self, port: int = ADMIN_PORT) -> None:
        self._port = port
        self._session: aiohttp.ClientSession | None = None
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def stats(self, pods: Iterable[Json], access: Access) -> dict[str, Stats | None]:
        """Return what each pod's sidecar tells, None of one that doesn't answer."""
        try:
            context = _context(access.authority)
        except (ssl.SSLError, ValueError) as error:
            logger.warning("Secret %s holds no authority: %s", access.name, error)
            return {str(pod["metadata"]["name"]): None for pod in pods}
        asked = {str(pod["metadata"]["name"]): self._asked(pod, access, context) for pod in pods}
        return dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def _asked(self, pod: Json, access: Access, context: ssl.SSLContext) -> Stats | None:
        async with self._turns:
            try:
                return await self._ask(pod, access, context)
            except (InputError, aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
                logger.debug("%s doesn't tell: %r", pod["metadata"]["name"], error)
                return None

    async def _ask(self, pod: Json, access: Access, context: ssl.SSLContext) -> Stats | None:
        where = address(pod)
        if not where:
            return None
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS)
            )
        url = f"https://{where}:{self._port}/stats"
        headers = {"Authorization": f"Bearer {access.token}"}
        async with self._session.get(
            url, headers=headers, allow_redirects=False, ssl=context, server_hostname=access.name
        ) as answer:
            if answer.status != 200:
                raise InputError(url, f"says {answer.status}")
            said = bytearray()
            async for part in answer.content.iter_chunked(1 << 16):
                said += part
                if len(said) > LONGEST_ANSWER:
                    raise InputError(url, "says too much")
            return msgspec.json.decode(said, type=Stats)


@lru_cache(maxsize=256)
def _context(authority: str) -> ssl.SSLContext:
    """Return what trusts this authority alone; the same each turn, so that connections are kept."""
    return ssl.create_default_context(cadata=authority)
