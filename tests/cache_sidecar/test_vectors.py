"""What was embedded lately: remembered for each namespace by itself.

How long a look-up takes must not tell whether somebody else has asked the same: nothing that one
namespace has asked spares another's question the model. Not covered: the model (test_embedding).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from fairstow.cache_sidecar.embedding import Vector
from fairstow.cache_sidecar.vectors import Vectors
from tests.cache_sidecar.sidecars import SameVector


class Counting(SameVector):
    def __init__(self) -> None:
        self.ran: list[str] = []
        self.fails = False

    def embed(self, texts: Sequence[str]) -> list[Vector | None]:
        self.ran += texts
        if self.fails:
            raise RuntimeError("no model today")
        return super().embed(texts)


def using(test: Callable[[Counting, Vectors], Awaitable[None]]) -> None:
    async def body() -> None:
        embedder = Counting()
        vectors = Vectors(lambda: embedder, remembered=2)
        loading = asyncio.create_task(vectors.run())
        while not vectors.ready:
            await asyncio.sleep(0.001)
        try:
            await test(embedder, vectors)
        finally:
            loading.cancel()
            vectors.close()

    asyncio.run(body())


def test_what_one_has_asked_spares_nobody_else_the_model() -> None:
    async def test(embedder: Counting, vectors: Vectors) -> None:
        await vectors.of("a", "one")
        await vectors.of("b", "one")
        await asyncio.gather(vectors.of("c", "two"), vectors.of("d", "two"))
        assert embedder.ran == ["one", "one", "two", "two"]

    using(test)


def test_it_keeps_what_was_used_last_and_no_failure() -> None:
    async def test(embedder: Counting, vectors: Vectors) -> None:
        for text in ("one", "two", "one", "three", "one", "two"):
            assert await vectors.of("a", text) is not None
        assert embedder.ran == ["one", "two", "three", "two"]
        embedder.fails = True
        assert await vectors.of("a", "four") is None
        embedder.fails = False
        assert await vectors.of("a", "four") is not None

    using(test)
