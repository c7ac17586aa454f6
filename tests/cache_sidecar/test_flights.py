"""Flights: slow and late listeners, and what is held in memory. Shared ones are in test_sidecar."""

from __future__ import annotations

import asyncio

from fairstow.cache_sidecar.flights import MOST_AHEAD, Flight, Reply

PART = b"x" * (1 << 16)
PARTS = 3 * MOST_AHEAD // len(PART)


async def collected(flight: Flight, pause: float = 0.0) -> int:
    size = 0
    async for part in flight.listen():
        size += len(part)
        await asyncio.sleep(pause)
    return size


def test_a_slow_listener_holds_the_upstream_back_and_hears_all() -> None:
    said = 0

    async def fly(flight: Flight) -> None:
        nonlocal said
        flight.head(Reply(200, [], ""))
        for _ in range(PARTS):
            await flight.part(PART)
            said += 1

    async def test() -> None:
        flight = Flight(fly)
        slow = flight.listen()
        assert await anext(slow) == b""
        fast = asyncio.create_task(collected(flight))
        await asyncio.sleep(0.05)
        assert said * len(PART) <= MOST_AHEAD
        assert not flight.joinable
        heard = 0
        async for part in slow:
            heard += len(part)
        assert heard == await fast == PARTS * len(PART)

    asyncio.run(test())


def test_it_ends_when_nobody_listens_any_more() -> None:
    ended = asyncio.Event()

    async def fly(flight: Flight) -> None:
        try:
            flight.head(Reply(200, [], ""))
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.set()
            raise

    async def test() -> None:
        flight = Flight(fly)
        one, other = flight.listen(), flight.listen()
        await anext(one)
        await anext(other)
        await one.aclose()
        await asyncio.sleep(0.01)
        assert not ended.is_set()
        await other.aclose()
        await asyncio.wait_for(ended.wait(), 5)
        assert not flight.joinable

    asyncio.run(test())
