"""What a request has said so far: the one truth that a client's text and a new leg are made from.

Tokens are taken one by one, so that nothing depends on how an engine or a network cut them into
pieces, nor on where one leg ended and the next began:

- text is what the decoder makes of all ids in order; a half character waits for its other half;
- a stop string is looked for in the whole text, and so a tail that may become one is held back
  until it does or can't. As in vLLM a match counts from the token after `min_tokens` on, the one
  that is complete first wins, and of two complete at once the one named first;
- the record ends itself at its limit, whether or not the engine got to say so.

The gateway keeps one per request that can be moved. Prompts are kept as 32-bit integers: a list of
Python's takes nine times the memory.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from hashlib import blake2b
from typing import Protocol

import msgspec

from fairstow.serving.tokens import Finish, Logprob, Piece, Sampling


class Decoder(Protocol):
    """Ids into text, as far as it is certain; an engine adapter has it."""

    def feed(self, tokens: Sequence[int]) -> str:
        """Return the text that these ids complete."""
        ...

    def end(self) -> str:
        """Return what is left."""
        ...


class Delta(msgspec.Struct, frozen=True, gc=False):
    """What a client may see of a piece.

    Attributes:
        text: what became certain, held back text included.
        tokens: how many ids were taken; a stop string leaves the rest of a piece aside.
        finish: set once, in the last delta.
    """

    text: str
    tokens: int
    logprobs: Sequence[Logprob] = ()
    finish: Finish | None = None


class Record:
    """One request's tokens and text.

    Attributes:
        prompt: the ids that were asked with.
        generated: all ids since, on whichever engines.
        finish: why it ended, None while it hasn't.
    """

    __slots__ = (
        "_decoder",
        "_held",
        "_limit",
        "_minimum",
        "_stop",
        "finish",
        "generated",
        "prompt",
    )

    def __init__(
        self,
        prompt: Sequence[int],
        decoder: Decoder,
        limit: int,
        *,
        stop: Sequence[str] = (),
        min_tokens: int = 0,
    ) -> None:
        self.prompt = array("I", prompt)
        self.generated = array("I")
        self.finish: Finish | None = None
        self._decoder = decoder
        self._limit = limit
        self._stop = tuple(stop)
        self._minimum = min_tokens
        self._held = ""

    def __len__(self) -> int:
        """Ids in all, prompt included."""
        return len(self.prompt) + len(self.generated)

    def tokens(self) -> array[int]:
        """Return all ids: what the next leg starts from."""
        return self.prompt + self.generated

    def append(self, piece: Piece) -> Delta:
        """Take what an engine said; nothing once the record has ended."""
        text: list[str] = []
        taken = 0
        for token in piece.tokens:
            if self.finish is not None:
                break
            taken += 1
            self.generated.append(token)
            self._see(self._decoder.feed((token,)), text)
            if len(self.generated) >= self._limit:
                self._end(Finish.LENGTH, text)
        if piece.finish is not None:
            self._end(piece.finish, text)
        return Delta("".join(text), taken, piece.logprobs[:taken], self.finish)

    def _see(self, new: str, text: list[str]) -> bool:
        """Release what can't become a stop string any more; return whether one ended it."""
        if not self._stop:
            if new:
                text.append(new)
            return False
        known = len(self._held)
        tail = self._held + new
        if new and len(self.generated) > self._minimum:
            cut = _first(self._stop, tail, known)
            if cut is not None:
                self.finish, self._held = Finish.STOP, ""
                text.append(tail[:cut])
                return True
        keep = _possible(self._stop, tail)
        text.append(tail[: len(tail) - keep])
        self._held = tail[len(tail) - keep :]
        return False

    def _end(self, finish: Finish, text: list[str]) -> None:
        if self.finish is None and not self._see(self._decoder.end(), text):
            text.append(self._held)
            self.finish, self._held = finish, ""


def continued(sampling: Sampling, generated: int) -> Sampling:
    """Return the sampling of a leg that starts after so many generated tokens.

    A random generator's state doesn't travel: the same seed would draw the same numbers again, so
    that the seed of a later leg is a function of the seed and the position.
    """
    if not generated:
        return sampling
    seed = sampling.seed
    if seed is not None:
        digest = blake2b(f"{seed}:{generated}".encode(), digest_size=8).digest()
        seed = int.from_bytes(digest, "big") >> 1
    return msgspec.structs.replace(
        sampling,
        max_tokens=sampling.max_tokens - generated,
        min_tokens=max(0, sampling.min_tokens - generated),
        seed=seed,
    )


def _first(stop: Sequence[str], tail: str, known: int) -> int | None:
    """Return where the text is cut: a stop string that ends behind the known characters."""
    best: tuple[int, int] | None = None
    for each in stop:
        at = tail.find(each, max(0, known - len(each) + 1))
        if at >= 0 and (best is None or (at + len(each), at) < best):
            best = (at + len(each), at)
    return None if best is None else best[1]


def _possible(stop: Sequence[str], tail: str) -> int:
    """Return how many last characters may be the beginning of a stop string."""
    for length in range(min(len(tail), max(map(len, stop)) - 1), 0, -1):
        end = tail[-length:]
        if any(each.startswith(end) for each in stop if len(each) > length):
            return length
    return 0
