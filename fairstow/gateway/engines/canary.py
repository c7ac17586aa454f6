"""Whether KV cache may move between two engines: tried out before it is switched on.

A probe of a few blocks goes from the source to the destination as a request would, at a block's
edge and one id to either side, where what goes wrong with blocks goes wrong. What the destination
writes from the copied cache has to be what the source writes: the same tokens, about as likely. At
a near tie either token is right, and nothing after it can be compared. Called by the gateway for
each pair of engines that it would move a request between.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

import msgspec

from fairstow.gateway.engines.protocol import (
    Capabilities,
    Engine,
    EngineError,
    Hold,
    Logprob,
    Movement,
    Order,
    Sampling,
)

PROBE_TEXT = "Seven 7, é and 漢: 3 of 19 ships left the harbour, 16 came back. "
BLOCKS = 3
SHORTEST = 48  # of engines whose blocks are a token or a few
WRITTEN = 8
TOP = 5
TIE = 0.1  # apart in log-probability: bfloat16 computes no closer where the order differs
PATIENCE_S = 120.0
BEST_FIRST = tuple(Movement)


class Verdict(msgspec.Struct, frozen=True):
    """How a request may be moved, and why no better way; `failed`: a probe went wrong."""

    movement: Movement
    reason: str = ""
    failed: bool = False


class Canary:
    """Verdicts of pairs of engines, each probed once; a restarted engine is another one."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], Verdict] = {}
        self._probing: dict[tuple[str, ...], asyncio.Lock] = {}

    async def verdict(
        self, source: Engine, facts: Capabilities, destination: Engine, others: Capabilities
    ) -> Verdict | None:
        """Return how requests move from one to the other; None where none may go on there.

        A probe that couldn't be made (an engine too busy, say) says nothing for good.
        """
        if facts.compatibility != others.compatibility:
            return None
        if facts.version != others.version:
            return Verdict(Movement.RECOMPUTE, f"versions {facts.version} and {others.version}")
        movement = max(facts.movement, others.movement, key=BEST_FIRST.index)
        if movement is Movement.RECOMPUTE or source.url == destination.url:
            return Verdict(Movement.RECOMPUTE, " ".join((*facts.missing, *others.missing)))
        pair = (source.url, destination.url, facts.compatibility, facts.version)
        async with self._probing.setdefault(pair, asyncio.Lock()):
            if pair not in self._known:
                try:
                    async with asyncio.timeout(PATIENCE_S):
                        self._known[pair] = await _tried(source, facts, destination, movement)
                except (EngineError, TimeoutError) as error:
                    return Verdict(Movement.RECOMPUTE, f"the probe failed: {error!r}", failed=True)
        return self._known[pair]

    def forget(self, url: str) -> None:
        """Probe again what has to do with an engine: it was started anew."""
        self._known = {pair: known for pair, known in self._known.items() if url not in pair[:2]}


async def _tried(
    source: Engine, facts: Capabilities, destination: Engine, movement: Movement
) -> Verdict:
    body = {"model": facts.model, "prompt": PROBE_TEXT}
    sample = (await source.render("/v1/completions", body)).tokens
    edge = max(BLOCKS, -(-SHORTEST // facts.block)) * facts.block
    for length in (edge - 1, edge, edge + 1):
        prompt = (sample * (length // len(sample) + 1))[:length]
        salt = secrets.token_hex(16)
        expected = await _written(source, prompt, salt, None)
        hold = await source.hold(prompt, salt)
        moved = await _written(destination, prompt, salt, hold)
        if wrong := difference(expected, moved):
            said = f"a probe of {length} ids went wrong: {wrong}"
            return Verdict(Movement.RECOMPUTE, said, failed=True)
    return Verdict(movement)


async def _written(
    engine: Engine, prompt: Sequence[int], salt: str, hold: Hold | None
) -> list[Logprob]:
    order = Order(
        id=secrets.token_hex(16),
        tokens=prompt,
        sampling=Sampling(max_tokens=WRITTEN, temperature=0.0, ignore_eos=True, logprobs=TOP),
        priority=0,
        salt=salt,
        hold=hold,
    )
    written: list[Logprob] = []
    async with engine.generate(order) as pieces:
        async for piece in pieces:
            written.extend(piece.logprobs)
    return written


def difference(expected: Sequence[Logprob], moved: Sequence[Logprob]) -> str:
    """Say how one text isn't the other; nothing where it is, as far as it can be compared."""
    if len(expected) != len(moved):
        return f"{len(moved)} tokens instead of {len(expected)}"
    for place, (one, other) in enumerate(zip(expected, moved, strict=True)):
        likely = dict(one.top) | {one.token: one.logprob}
        if abs(likely.get(other.token, float("-inf")) - other.logprob) > TIE:
            return f"token {place} is {other.token} ({other.logprob:.3f}), not {one.token}"
        if other.token != one.token:
            if abs(one.logprob - likely[other.token]) > TIE:
                return f"token {place} is {other.token}, not {one.token}"
            return ""
    return ""
