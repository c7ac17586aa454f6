"""Splitting a JSON list into its items without holding it in memory.

A window of text is cut behind the last item that ends in it. Where that is, is guessed by form
(`}`, comma, `{` and the key the first item begins with) and proved by decoding: what stands
before the cut is a JSON array only if the guess is right.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from fairstow.cluster.errors import InputError
from fairstow.cluster.items import FETCH, Item, item, sentence
from fairstow.cluster.text import Text

MAX_ITEM = 16 << 20
"""Longest text of one object; Kubernetes itself stores none above some 3 MB."""

_WINDOW = 2 << 20
_CHUNK = 1 << 20
_FIRST_KEY = re.compile(rb'\[\s*\{\s*("(?:[^"\\]|\\.){1,64}")')
_ITEMS_KEY = re.compile(rb'"items"\s*:\s*\[')
_WHERE = re.compile(r" \(byte \d+\)")


class _Envelope(msgspec.Struct, rename="camel"):
    kind: str | None = None
    api_version: str | None = None
    items: list[msgspec.Raw] | None = None


def json_items(source: str, text: Text) -> Iterator[Item]:
    """Yield the items of a JSON list, a JSON array, or the one object that the text holds."""
    return _Splitter(source, text).items()


class _Splitter:
    """Attributes: buffer: text not yet given out; from the first cut on it begins with `[`."""

    def __init__(self, source: str, text: Text) -> None:
        self._source = source
        self._text = text
        self._buffer = bytearray()
        self._ended = False
        self._count = 0
        self._outer = Item(source, 0, "List", {})

    def items(self) -> Iterator[Item]:
        self._fill(_WINDOW)
        enveloped = self._buffer[:1] == b"{"
        if enveloped and not self._open():
            yield self._only()
            return
        while (end := self._cut()) is not None:
            array = bytes(self._buffer[: end + 1]) + b"]"
            yield from self._each(self._decode(array, list[msgspec.Raw]))
            comma = self._buffer.index(b",", end + 1)
            del self._buffer[:comma]
            self._buffer[:1] = b"["
        rest = bytes(self._buffer)
        self._buffer.clear()
        if not enveloped:
            yield from self._each(self._decode(rest, list[msgspec.Raw]))
            return
        last = self._decode(b'{"items":' + rest, _Envelope)
        kind = last.kind or self._outer.kind
        yield from self._each(last.items or [])
        if not self._count and kind != "List":
            yield Item(self._source, 0, kind, {}, last.api_version or self._outer.api_version)

    def _open(self) -> bool:
        """Find where the list's items begin and drop what stands before; False if there are none.

        An object inside (a pod's downwardAPI volume has `items` too) doesn't close with the list.
        """
        searched = 0
        while True:
            window = bytes(self._buffer)
            for match in _ITEMS_KEY.finditer(window, searched):
                try:
                    head = msgspec.json.decode(window[: match.end()] + b"]}", type=_Envelope)
                except (ValueError, RecursionError):
                    continue
                if head.kind:
                    self._outer = Item(self._source, 0, head.kind, {}, head.api_version or "")
                del self._buffer[: match.end() - 1]
                return True
            searched = max(len(window) - 64, 0)
            if not self._fill(_WINDOW):
                return False

    def _only(self) -> Item:
        whole = bytes(self._buffer)
        self._decode(whole, msgspec.Raw)
        return item(self._source, 0, msgspec.Raw(whole))

    def _cut(self) -> int | None:
        """Return where the last whole item of the window ends; None if the rest is the last one."""
        self._fill(_WINDOW - len(self._buffer))
        while not self._ended:
            for end in self._guesses():
                try:
                    msgspec.json.decode(
                        bytes(self._buffer[: end + 1]) + b"]", type=list[msgspec.Raw]
                    )
                except (ValueError, RecursionError):
                    continue
                return end
            self._fill(_WINDOW)
        return None

    def _guesses(self) -> list[int]:
        """Return places where an item may end, the likeliest first."""
        first = _FIRST_KEY.match(self._buffer)
        if first is None:
            return []
        following = re.compile(rb"\}\s*,\s*\{\s*" + re.escape(first[1]))
        found = [match.start() for match in following.finditer(self._buffer)]
        return found[:-9:-1]

    def _fill(self, size: int) -> bool:
        """Read at least `size` more bytes into the window; False at the end of the text."""
        wanted = len(self._buffer) + size
        while not self._ended and len(self._buffer) < wanted:
            data = self._text.read(_CHUNK)
            self._ended = not data
            self._buffer += data
            if len(self._buffer) > MAX_ITEM + _WINDOW:
                raise InputError(
                    f"{self._source}: item number {self._count + 1}",
                    f"is longer than {MAX_ITEM >> 20} MiB, which no Kubernetes object is",
                    f"Fetch a cluster's state with:\n  {FETCH}",
                )
        return not self._ended

    def _each(self, contents: list[msgspec.Raw]) -> Iterator[Item]:
        for content in contents:
            yield item(self._source, self._count, content, self._outer)
            self._count += 1

    def _decode(self, text: bytes, into: Any) -> Any:
        try:
            return msgspec.json.decode(text, type=into)
        except (ValueError, RecursionError) as error:
            said = _WHERE.sub("", sentence(error))
            raise InputError(
                self._source,
                f"isn't whole JSON as kubectl writes it ({said}; {self._count} objects were whole)",
                f"It may be cut off or damaged. Fetch it again with:\n  {FETCH}",
            ) from error
