"""Questions to vectors for many requests at once: one thread, batches of what waits meanwhile.

The model is loaded in that thread, after the ports are open: until then, and where it can't be had,
there are no vectors and look-ups use the exact tier. No more than `MOST_WAITING` texts wait; a
request whose time is up leaves, the vector is still made, since its answer will be kept with it.
What was embedded lately is remembered, for each namespace by itself: how long a look-up takes must
not tell whether somebody else has asked the same. Called by `memory`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import structlog

from fairstow.cache_sidecar.embedding import Embedder, Vector

MOST_WAITING = 64
REMEMBERED = 4_096
_BATCH = 16

Asked = tuple[str, str]
"""Namespace and text."""
_UNIT = 0.01

log = structlog.get_logger(__name__)


class NoVectorsError(Exception):
    """There is no vector to be had now; the text is a metric's label."""


class Embeds(Protocol):
    """What makes vectors."""

    def embed(self, texts: Sequence[str]) -> list[Vector | None]:
        """Return a unit vector for each text, None for one that has none."""
        ...


class Vectors:
    """See the module. Attributes: ready: whether the model is loaded."""

    def __init__(self, make: Callable[[], Embeds] = Embedder, remembered: int = REMEMBERED) -> None:
        self._make = make
        self._most = remembered
        self._memo: OrderedDict[Asked, Vector | None] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, "embedding")
        self._embedder: Embeds | None = None
        self._waiting: dict[Asked, asyncio.Future[Vector | None]] = {}
        self._came = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether the model is loaded."""
        return self._embedder is not None

    async def of(self, namespace: str, text: str) -> Vector | None:
        """Return a text's vector, None if it has none. Raises NoVectorsError."""
        if self._embedder is None:
            raise NoVectorsError("no-model")
        asked = (namespace, text)
        if asked in self._memo:
            self._memo.move_to_end(asked)
            return self._memo[asked]
        future = self._waiting.get(asked)
        if future is None:
            if len(self._waiting) >= MOST_WAITING:
                raise NoVectorsError("embedding-busy")
            future = self._waiting[asked] = asyncio.get_running_loop().create_future()
            self._came.set()
        return await asyncio.shield(future)

    async def run(self) -> None:
        """Load the model, then embed; runs until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            embedder = await loop.run_in_executor(self._thread, self._make)
        except Exception as error:  # noqa: BLE001 - a model that can't be had, whyever
            log.error("there is no semantic tier", problem=str(error) or repr(error))
            await loop.create_future()  # the exact tier goes on
            raise AssertionError from None
        self._embedder = embedder
        log.info("the embedding's model is loaded")
        while True:
            await self._came.wait()
            self._came.clear()
            while self._waiting:
                batch = dict(list(self._waiting.items())[:_BATCH])
                await self._embed(embedder, batch)

    async def _embed(
        self, embedder: Embeds, batch: dict[Asked, asyncio.Future[Vector | None]]
    ) -> None:
        loop = asyncio.get_running_loop()
        found: list[Vector | None]
        texts = [text for _, text in batch]
        try:
            made = await loop.run_in_executor(self._thread, embedder.embed, texts)
            found = [vector if _usable(vector) else None for vector in made]
            self._memo.update(zip(batch, found, strict=True))
        except Exception:
            log.exception("embedding failed")
            found = [None] * len(batch)
        finally:
            for asked in batch:
                self._waiting.pop(asked, None)
        while len(self._memo) > self._most:
            self._memo.popitem(last=False)
        for future, vector in zip(batch.values(), found, strict=True):
            if not future.done():
                future.set_result(vector)

    def close(self) -> None:
        """End the thread when its batch is done."""
        for future in self._waiting.values():
            future.cancel()
        self._thread.shutdown(wait=False)


def _usable(vector: Vector | None) -> bool:
    """Whether it is of unit length, which one that holds no numbers isn't."""
    if vector is None:
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        return abs(float(np.linalg.norm(vector)) - 1) < _UNIT
