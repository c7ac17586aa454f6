"""Reading `kubectl get … -o json|yaml` output item by item, whatever state it is in.

Who calls it: the command line (`-f`), tests and benchmarks. A dump is input from strangers:
sizes are bounded, YAML aliases (the "billion laughs") are refused, and every failure is an
`InputError` that names the file and, where known, the object.
"""

import gzip
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.cyaml import CParser  # type: ignore[attr-defined]
from yaml.resolver import Resolver

from fairstow.cluster.errors import InputError

FETCH = (
    "kubectl get nodes,pods,poddisruptionbudgets,priorityclasses,replicasets,statefulsets,"
    "jobs,namespaces -A -o json > cluster.json"
)
"""The line that fetches all that a plan looks at."""

MAX_BYTES = 1 << 30
"""Largest text of one file, after decompression: some 250,000 pods."""

STDIN = "-"
_CHUNK = 1 << 20
_ENDINGS = (".json", ".yaml", ".yml", ".json.gz", ".yaml.gz", ".yml.gz")
_GZIP_MAGIC = b"\x1f\x8b"
_MAX_DEPTH = 64


class Item:
    """One object of a dump, not decoded yet.

    Attributes:
        source: the file it came from.
        index: its place in that file, from 0.
        kind: its kind, or "" where it says none.
    """

    __slots__ = ("_content", "index", "kind", "source")

    def __init__(self, source: str, index: int, kind: str, content: msgspec.Raw | Any) -> None:
        self.source = source
        self.index = index
        self.kind = kind
        self._content = content

    def decode(self, into: type[msgspec.Struct]) -> Any:
        """Decode into a wire struct.

        Raises:
            msgspec.MsgspecError: the object doesn't have that form; the message names the field.
        """
        if isinstance(self._content, msgspec.Raw):
            return msgspec.json.decode(self._content, type=into)
        return msgspec.convert(self._content, into)

    def as_dict(self) -> dict[str, Any]:
        """Return the object as plain Python data."""
        if isinstance(self._content, msgspec.Raw):
            decoded: dict[str, Any] = msgspec.json.decode(self._content)
            return {"kind": self.kind} | decoded
        return dict(self._content)

    @property
    def where(self) -> str:
        """How an error names it: file, kind and, if it can be read, namespace and name."""
        try:
            meta = self.as_dict().get("metadata")
        except (msgspec.MsgspecError, ValueError):
            meta = None
        meta = meta if isinstance(meta, dict) else {}
        name = "/".join(str(meta[k])[:253] for k in ("namespace", "name") if meta.get(k))
        return f"{self.source}: {self.kind or 'item'} {name or f'number {self.index + 1}'}"


def read(paths: Iterable[str]) -> Iterator[Item]:
    """Yield every object of the given files, folders and `-` (standard input), in order.

    Raises:
        InputError: a file is missing, unreadable, too large, cut off, or no Kubernetes output.
    """
    for path in paths:
        if path == STDIN:
            yield from _read_stream("standard input", sys.stdin.buffer)
            continue
        for file in _files(Path(path)):
            try:
                with file.open("rb") as stream:
                    yield from _read_stream(str(file), stream)
            except OSError as error:
                raise InputError(str(file), f"can't be read: {error.strerror or error}") from error


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(p for p in path.rglob("*") if p.name.endswith(_ENDINGS) and p.is_file())
    if not found:
        raise InputError(str(path), f"the folder holds no file ending in {', '.join(_ENDINGS)}")
    return found


def _read_stream(source: str, stream: BinaryIO) -> Iterator[Item]:
    text = _text(source, stream)
    head = bytes(text[:_CHUNK]).lstrip()
    if not head:
        raise InputError(source, "is empty", f"Fetch a cluster's state with:\n  {FETCH}")
    return _json_items(source, text) if head[:1] in b"{[" else _yaml_items(source, text)


def _text(source: str, stream: BinaryIO) -> bytearray:
    """Return the decompressed content, at most `MAX_BYTES` of it."""
    text = bytearray(stream.read(2))
    try:
        if bytes(text) == _GZIP_MAGIC:
            whole: Any = gzip.GzipFile(fileobj=_Rewound(bytes(text), stream))  # type: ignore[call-overload]
            text.clear()
        else:
            whole = stream
        while chunk := whole.read(_CHUNK):
            text += chunk
            if len(text) > MAX_BYTES:
                raise InputError(
                    source,
                    f"holds more than {MAX_BYTES >> 20} MiB of text",
                    "Split it into several files, or leave out namespaces of no interest.",
                )
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            source, f"is a damaged or cut-off gzip file ({error})", "Write the dump again."
        ) from error
    return text


class _Rewound:
    """A stream with its first bytes put back, for what can't seek (standard input)."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head, self._rest = head, rest

    def read(self, size: int = -1) -> bytes:
        head, self._head = self._head[:size], b""
        return head + self._rest.read(size - len(head) if size >= 0 else -1)


class _Envelope(msgspec.Struct):
    kind: str | None = None
    items: list[msgspec.Raw] | None = None


class _Kind(msgspec.Struct):
    kind: str | None = None


def _json_items(source: str, text: bytearray) -> Iterator[Item]:
    try:
        if text.lstrip()[:1] == b"[":
            envelope = _Envelope(items=msgspec.json.decode(text, type=list[msgspec.Raw]))
        else:
            envelope = msgspec.json.decode(text, type=_Envelope)
        kind = envelope.kind or ""
        if envelope.items is None:
            yield Item(source, 0, kind, msgspec.Raw(text))
            return
        implied = kind.removesuffix("List") if kind != "List" else ""
        if implied and not envelope.items:
            yield Item(source, 0, kind, msgspec.Raw(b"{}"))
        for index, raw in enumerate(envelope.items):
            own = msgspec.json.decode(raw, type=_Kind).kind
            yield Item(source, index, own or implied, raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(
            source,
            f"isn't whole JSON as kubectl writes it ({error})",
            f"It may be cut off or damaged. Fetch it again with:\n  {FETCH}",
        ) from error


class _YamlLoader(CParser, Composer, SafeConstructor, Resolver):
    """libyaml's parser under PyYAML's composer, so that one list item at a time is built."""

    def __init__(self, text: bytes) -> None:
        CParser.__init__(self, text)
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)
        self.depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it uses aliases (*name), which kubectl never writes")
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise yaml.YAMLError(f"it is nested deeper than {_MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def next_value(self) -> Any:
        value = self.construct_document(self.compose_node(None, None))
        self.anchors = {}
        return value


# kubectl quotes what looks like a date, so an unquoted one is text somebody wrote by hand.
_YamlLoader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in Resolver.yaml_implicit_resolvers.items()
}


def _yaml_items(source: str, text: bytearray) -> Iterator[Item]:
    index = 0
    try:
        loader = _YamlLoader(bytes(text))
        loader.get_event()  # stream start
        while not loader.check_event(yaml.StreamEndEvent):
            loader.get_event()  # document start
            for content in _yaml_document(loader):
                if not isinstance(content, dict):
                    raise InputError(
                        source,
                        f"is no kubectl output: item {index + 1} is "
                        f"{'empty' if content is None else 'a ' + type(content).__name__}, "
                        "not an object",
                        f"Fetch a cluster's state with:\n  {FETCH}",
                    )
                kind = content.get("kind")
                yield Item(source, index, kind if isinstance(kind, str) else "", content)
                index += 1
            loader.get_event()  # document end
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        said = " ".join(str(error).split())
        raise InputError(
            source,
            f"isn't YAML as kubectl writes it ({said[:300]})",
            f"Fetch a cluster's state with:\n  {FETCH}",
        ) from error


def _yaml_document(loader: _YamlLoader) -> Iterator[Any]:
    """Yield the items of a list, or the one object, that the document at hand holds."""
    if not loader.check_event(yaml.MappingStartEvent):
        yield loader.next_value()
        return
    loader.get_event()
    envelope: dict[Any, Any] = {}
    listed = False
    while not loader.check_event(yaml.MappingEndEvent):
        key = loader.next_value()
        if key == "items" and loader.check_event(yaml.SequenceStartEvent):
            listed = True
            loader.get_event()
            while not loader.check_event(yaml.SequenceEndEvent):
                yield loader.next_value()
            loader.get_event()
        else:
            envelope[key if isinstance(key, str) else str(key)] = loader.next_value()
    loader.get_event()
    if not listed:
        yield envelope
