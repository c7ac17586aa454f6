"""What the cost-model engine writes: every token a function of all ids before it.

So a token that is lost, doubled or changed anywhere changes all that follow, and whoever knows the
prompt knows the whole answer (`expected`). One id is one byte, characters of two to four bytes come
up now and then, and special ids delimit turns. Different weights write different text.

State: BLAKE2b over the weights' name and the ids, 16 bits each. Used by the server and by tests.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

BEGIN, END, TURN = 256, 257, 258
SPECIAL = {BEGIN: "<|begin|>", END: "<|end|>", TURN: "<|turn|>"}
VOCABULARY = 259

PLAIN = b"etaoin shrdlu eat on it so the rain in a dust\n cmfwypvbgk,.?! "
# Bytes of whole characters by how they begin, so that any beginning is continued to one of them.
CHARACTERS = tuple(text.encode() for text in ("é", "ß", "ñ", "€", "→", "漢", "字", "🙂", "🚀"))
BEGINNINGS: Mapping[bytes, bytes] = {
    start: bytes(sorted({text[len(start)] for text in CHARACTERS if text.startswith(start)}))
    for start in {text[:length] for text in CHARACTERS for length in range(1, len(text))}
}
LEADS = bytes(text[0] for text in CHARACTERS)
RARE = 24  # one character in so many has several bytes


class Writer:
    """Says the next token, given those before it.

    Attributes:
        mean_length: an answer ends by itself after about so many tokens; 0 never.
    """

    def __init__(self, weights: str, ids: Sequence[int], mean_length: int = 0) -> None:
        self._state = blake2b(weights.encode(), digest_size=8)
        self._tail: list[int] = []
        self._mean_length = mean_length
        self.feed(ids)

    def feed(self, ids: Sequence[int]) -> None:
        """Take tokens in, generated ones too."""
        self._state.update(array("H", ids).tobytes())
        self._tail = [*self._tail, *ids[-3:]][-3:]

    def spoil(self, other: bytes) -> None:
        """Take in what isn't this sequence's: KV blocks of something else."""
        self._state.update(other)

    def digest(self) -> bytes:
        """Return what stands for the KV of all ids so far."""
        return self._state.copy().digest()

    def next(self, *, may_end: bool) -> int:
        """Return the next token, without taking it in."""
        drawn = int.from_bytes(self._state.copy().digest())
        open_character = self._open_character()
        if open_character:
            return _pick(BEGINNINGS[open_character], drawn)
        if may_end and self._mean_length and drawn % self._mean_length == 0:
            return END
        drawn >>= 32
        if drawn % RARE == 0:
            return _pick(LEADS, drawn // RARE)
        return _pick(PLAIN, drawn)

    def _open_character(self) -> bytes:
        for length in (3, 2, 1):
            tail = self._tail[-length:]
            if len(tail) == length and max(tail) < 256 and bytes(tail) in BEGINNINGS:
                return bytes(tail)
        return b""


def _pick(choices: bytes, drawn: int) -> int:
    return choices[drawn % len(choices)]


def expected(weights: str, prompt: Sequence[int], tokens: int) -> list[int]:
    """Return what an engine of these weights writes after a prompt, if it never ends by itself."""
    writer = Writer(weights, prompt)
    answer: list[int] = []
    for _ in range(tokens):
        answer.append(writer.next(may_end=False))
        writer.feed(answer[-1:])
    return answer


def encode(text: str) -> list[int]:
    """Return the ids of a text; special tokens can't be written in it."""
    return list(text.encode())


def decode(ids: Iterable[int]) -> str:
    """Return the text of ids, special ones left out."""
    return bytes(token for token in ids if token < 256).decode(errors="replace")


def render_chat(messages: Sequence[Mapping[str, Any]], *, answer: bool = True) -> list[int]:
    """Return a conversation's ids by the engine's chat template."""
    ids = [BEGIN]
    for message in messages:
        ids += [TURN, *encode(f"{message['role']}\n{_said(message.get('content'))}"), END]
    return [*ids, TURN, *encode("assistant\n")] if answer else ids


def _said(content: object) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return str(content or "")
