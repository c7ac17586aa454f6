"""Splitting YAML into Kubernetes objects, one at a time, straight from libyaml's events.

Only what JSON can say is read: no aliases (the "billion laughs"), no tags, no merge keys, and
keys are text. Plain scalars are integers, booleans and null where every writer of YAML would have
quoted text of that form; everything else is text. Writers differ on fractions, and the only ones
in Kubernetes objects are quantities, which are text anyway.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import yaml
from yaml.cyaml import CParser  # type: ignore[attr-defined]

from fairstow.cluster.errors import InputError, printable
from fairstow.cluster.items import FETCH, Item, item
from fairstow.cluster.json_items import MAX_ITEM
from fairstow.cluster.text import Text

_MAX_DEPTH = 100
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,38})\Z")
_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")
_WORDS: dict[str, bool | None] = {
    form: value
    for words, value in ((_TRUE, True), (_FALSE, False), (("~", "", "null"), None))
    for word in words
    for form in (word, word.capitalize(), word.upper())
}


def yaml_items(source: str, text: Text) -> Iterator[Item]:
    """Yield every object of a YAML stream: documents, lists and items of lists."""
    reader = _Reader(source, text)
    try:
        yield from reader.stream()
    except InputError:
        raise
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(
            source,
            f"isn't YAML as kubectl writes it ({printable(' '.join(str(error).split()), 300)})",
            f"It may be cut off or damaged. Fetch it again with:\n  {FETCH}",
        ) from error


class _Feed:
    """What libyaml reads from; bounds how much it takes in before it reports anything."""

    def __init__(self, text: Text, too_long: Callable[[], InputError]) -> None:
        self._text = text
        self._too_long = too_long
        self.unreported = 0

    def read(self, size: int = 1 << 16) -> bytes:
        data = self._text.read(size)
        self.unreported += len(data)
        if self.unreported > MAX_ITEM:
            raise self._too_long()
        return data


class _Reader:
    def __init__(self, source: str, text: Text) -> None:
        self._source = source
        self._feed = _Feed(text, self._too_long)
        self._next = CParser(self._feed).get_event
        self._count = 0
        self._size = 0

    def stream(self) -> Iterator[Item]:
        """Yield the objects of all documents."""
        self._next()  # stream start
        while not isinstance(self._next(), yaml.StreamEndEvent):  # a document's start
            event = self._next()
            if isinstance(event, yaml.MappingStartEvent):
                yield from self._document(event)
            elif isinstance(event, yaml.SequenceStartEvent):
                yield from self._items(None)
            elif not isinstance(event, yaml.ScalarEvent) or event.value:
                yield item(self._source, self._count, self._value(event, 0))
            self._next()  # the document's end

    def _document(self, start: Any) -> Iterator[Item]:
        """Yield the items of a list, or the one object, that a document's mapping holds."""
        _plain(start)
        self._size = 0
        envelope: dict[str, Any] = {}
        before = self._count
        listed = False
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event, envelope)
            event = self._next()
            if key == "items" and isinstance(event, yaml.SequenceStartEvent):
                listed = True
                envelope[key] = []
                kind, api_version = envelope.get("kind"), envelope.get("apiVersion")
                of = kind if isinstance(kind, str) else "List"
                version = api_version if isinstance(api_version, str) else ""
                size = self._size
                yield from self._items(Item(self._source, self._count, of, {}, version))
                self._size = size
            else:
                envelope[key] = self._value(event, 1)
        if not listed or (self._count == before and envelope.get("kind") != "List"):
            yield item(self._source, self._count, envelope)
            self._count += 1

    def _items(self, of: Item | None) -> Iterator[Item]:
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            self._size = 0
            yield item(self._source, self._count, self._value(event, 1), of)
            self._count += 1

    def _value(self, event: Any, depth: int) -> Any:
        _plain(event)
        if depth > _MAX_DEPTH:
            raise yaml.YAMLError(f"it is nested deeper than {_MAX_DEPTH} levels")
        if isinstance(event, yaml.ScalarEvent):
            self._grow(event.value)
            return _scalar(event.value) if event.implicit[0] else event.value
        self._grow("")
        if isinstance(event, yaml.SequenceStartEvent):
            sequence = []
            while not isinstance(event := self._next(), yaml.SequenceEndEvent):
                sequence.append(self._value(event, depth + 1))
            return sequence
        mapping: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event, mapping)
            mapping[key] = self._value(self._next(), depth + 1)
        return mapping

    def _key(self, event: Any, mapping: dict[str, Any]) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            raise _refusal(event, "a key is no text")
        _plain(event)
        key: str = event.value
        if key in mapping:
            raise _refusal(event, f"the key {key} occurs twice")
        self._grow(key)
        return key

    def _grow(self, text: str) -> None:
        """Count what an object takes, roughly as much as its JSON would."""
        self._feed.unreported = 0
        self._size += len(text) + 8
        if self._size > MAX_ITEM:
            raise self._too_long()

    def _too_long(self) -> InputError:
        return InputError(
            f"{self._source}: item number {self._count + 1}",
            f"is longer than {MAX_ITEM >> 20} MiB, which no Kubernetes object is",
        )


def _plain(event: Any) -> None:
    """Refuse what JSON has no form for."""
    if isinstance(event, yaml.AliasEvent):
        raise _refusal(event, "aliases (*name) are refused")
    if event.tag is not None and event.tag != "!":
        raise _refusal(event, "tags (!name) are refused")


def _refusal(event: Any, why: str) -> yaml.YAMLError:
    return yaml.YAMLError(f"line {event.start_mark.line + 1}: {why}")


def _scalar(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.match(text):
        return int(text)
    return text
