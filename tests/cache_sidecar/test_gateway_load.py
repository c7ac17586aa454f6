"""A ServingPool's gateway tells its load, and the sidecar in front of it relaxes by that.

A real gateway with a cost-model engine that is given more than it can hold, and a real sidecar.
Load is smoothed over a fraction of a second here. Not covered: a cluster (e2e/test_chart.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from fairstow.cache_sidecar.embedding import DIMENSION, Vector
from fairstow.semantic_cache import thresholds
from fairstow.serving.cost_model import A10_7B
from fairstow.serving.pressure import WORD
from fairstow.serving.wire import Phase
from tests.cache_sidecar import sidecars
from tests.gateway import gateways

SMALL = msgspec.structs.replace(A10_7B, blocks=64)
LONG = 550
"""Tokens: of two such prompts one fits."""
CATEGORY = sidecars.CATEGORY | {
    "thresholdPermille": 900,
    "adaptation": {"maxRelaxPermille": 100, "ttlFactorMax": 1},
}


class Near:
    """Embeds questions that end in s at a cosine of 0.85 from the others."""

    def embed(self, texts: Sequence[str]) -> list[Vector | None]:
        return [_vector(0.85 if text.rstrip("?").endswith("s") else 1.0) for text in texts]


def _vector(cosine: float) -> Vector:
    found = np.zeros(DIMENSION, np.float32)
    found[:2] = cosine, (1 - cosine**2) ** 0.5
    return found


def test_a_pool_that_is_short_has_more_answered_from_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thresholds, "SMOOTHED_OVER", 0.2)

    async def test(site: sidecars.Site) -> None:
        pool = gateways.Site(site.stack, site.http)
        await pool.engine("a", profile=SMALL, speed=2.0)
        await pool.gateway()
        await pool.ready()
        load = {"header": WORD}
        await site.start(
            config={"categories": [CATEGORY], "load": load},
            url=f"{pool.base}/v1",
            embedder=Near,
        )

        async def ask(question: str) -> str:
            said, _ = await site.ask(question, model=gateways.MODEL, max_tokens=4, stream=True)
            return said

        async def stats() -> dict[str, Any]:
            found: dict[str, Any] = msgspec.json.decode((await site.admin("GET", "/stats"))[1])
            return found

        assert await ask("How do I reset my password?") == "miss"
        await site.stored(1)
        assert await ask("how do I reset my passwords") == "miss"  # 0.85 is under 0.9
        await site.stored(2)
        calm = await stats()
        assert (calm["load"], calm["loadSource"]) == (0.0, "Told")

        assert await ask("How do I undo my purchase?") == "miss"
        await site.stored(3)
        async with crowd(pool, 8):
            # They wait in the gateway, whose streams begin all the same, and say how it is.
            waits: list[asyncio.Task[str]] = []
            while (await stats())["load"] < 0.8:
                asked = f"Where is parcel {len(waits)}?"
                waits.append(asyncio.create_task(ask(asked)))
                await asyncio.sleep(0.5)
            assert await ask("how do I undo my purchases") == "hit-semantic"
            short = (await stats())["categories"]["default"]
            assert 0.8 <= short["threshold"] < 0.85
            assert not any(each.done() for each in waits)
            for each in waits:
                each.cancel()

    sidecars.run(test, tmp_path, seconds=60)


@asynccontextmanager
async def crowd(pool: gateways.Site, size: int) -> AsyncIterator[None]:
    """Keep so many requests at a pool, of which one fits at a time."""
    async with AsyncExitStack() as stack:
        for number in range(size):
            asked = gateways.heard(pool, f"{number}" * LONG, LONG // 2)
            stack.callback(asyncio.create_task(asked).cancel)
        await pool.until(lambda now: sum(r.phase is Phase.PARKED for r in now.requests) > 1)
        yield
