"""Token ids to text, in the gateway, for each engine's own tokenizer.

Engines stream ids, and a stream that moves between engines must not change a character, so that
the text is decoded in one place from one record. Every tokenizer in use writes its tokens in one
of two ways, which `tokenizer.json` says: byte-level ones (GPT-2's letters for bytes) and those of
SentencePiece ("▁" for a space, "<0x0A>" for a byte without a token). Either way a token is a few
bytes, known beforehand; text is their UTF-8.

Adapters check at start that the engine decodes a sample just so (`sample`).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class Vocabulary:
    """The bytes of each token; special tokens are silent."""

    def __init__(self, tokens: Sequence[bytes]) -> None:
        self.tokens = tokens

    @cached_property
    def spelled(self) -> Mapping[bytes, int]:
        """The first token of each spelling."""
        return {content: token for token, content in reversed([*enumerate(self.tokens)]) if content}

    def decoder(self) -> Utf8Decoder:
        """Return a new decoder of what follows a prompt."""
        return Utf8Decoder(self.tokens)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, as one that follows a prompt."""
        decoder = self.decoder()
        return decoder.feed(ids) + decoder.end()

    def sample(self) -> list[int]:
        """Return ids whose text shows whether an engine decodes as this does."""
        whole = [
            token
            for token, content in enumerate(self.tokens)
            if content and content.isascii() and content.decode().isprintable()
        ]
        # The first one's leading space is a matter of taste between tokenizers.
        return whole[:: max(1, len(whole) // 200)]


class Utf8Decoder:
    """Ids of one request into text, as far as it is certain."""

    def __init__(self, tokens: Sequence[bytes]) -> None:
        self._tokens = tokens
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, tokens: Sequence[int]) -> str:
        """Return the text that these ids complete."""
        known = self._tokens
        # Engines pad their vocabulary; such an id has no text.
        return self._utf8.decode(b"".join([known[token] for token in tokens if token < len(known)]))

    def end(self) -> str:
        """Return what was held back, with U+FFFD for what never became a character."""
        return self._utf8.decode(b"", final=True)


BYTES = Vocabulary([bytes([byte]) for byte in range(256)])
"""One id for each byte, as the cost-model engine has it."""


class VocabularyError(ValueError):
    """A tokenizer isn't one that can be read here."""


def read(path: Path) -> Vocabulary:
    """Read a `tokenizer.json`, or that of a model's folder. Raises VocabularyError."""
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        content = msgspec.json.decode(file.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise VocabularyError(f"{file} can't be read: {error}.") from error
    try:
        return _of(content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise VocabularyError(
            f"{file} isn't a tokenizer that Fairstow can decode ({error}); "
            "byte-level and SentencePiece ones are."
        ) from error


def _of(content: dict[str, Any]) -> Vocabulary:
    entries = content["model"]["vocab"]
    spelled: dict[int, str] = (
        {number: spelling for spelling, number in entries.items()}
        if isinstance(entries, dict)
        else {number: spelling for number, (spelling, _) in enumerate(entries)}
    )
    kinds = _kinds(content["decoder"])
    if "ByteLevel" in kinds:
        letters = {letter: byte for byte, letter in enumerate(byte_letters())}
        known = {n: bytes(letters[letter] for letter in text) for n, text in spelled.items()}
    elif {"ByteFallback", "Metaspace"} & kinds:
        known = {number: _of_sentence_piece(text) for number, text in spelled.items()}
    else:
        raise ValueError(f"its decoder is {', '.join(sorted(kinds))}")
    for added in content.get("added_tokens", ()):
        known[added["id"]] = b"" if added["special"] else added["content"].encode()
    return Vocabulary([known.get(number, b"") for number in range(max(known) + 1)])


def _kinds(decoder: dict[str, Any]) -> set[str]:
    inner = decoder.get("decoders", ())
    return {decoder["type"]}.union(*map(_kinds, inner))


def _of_sentence_piece(text: str) -> bytes:
    if byte := BYTE.fullmatch(text):
        return bytes.fromhex(byte[1])
    return text.replace("▁", " ").encode()


def byte_letters() -> list[str]:
    """Return the printable character that byte-level tokenizers write for each byte."""
    plain = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]
