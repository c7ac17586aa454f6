"""A leg run to its end, on whichever engine. Used by the tests of every adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fairstow.gateway.engines.protocol import Engine, Order, Piece


async def whole(engine: Engine, asked: Order) -> tuple[list[int], Piece]:
    """Return all ids of a leg, and its last piece."""
    tokens: list[int] = []
    last = None
    async with engine.generate(asked) as pieces:
        async for last in pieces:
            tokens += last.tokens
    assert last is not None
    return tokens, last
