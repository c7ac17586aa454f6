"""The text of a dump as a stream: decompressed, decoded, bounded.

PowerShell's `>` writes UTF-16 with a byte order mark, and some editors add one to UTF-8; both
are turned into plain UTF-8 here, so that the parsers see one form.
"""

import codecs
import gzip
import zlib
from typing import Any, BinaryIO

from fairstow.cluster.errors import InputError

MAX_BYTES = 1 << 30
"""Longest text of one file, after decompression: some 150,000 pods as kubectl writes them."""

_CHUNK = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Text:
    """A readable stream of at most `MAX_BYTES` UTF-8 bytes, with what was peeked at put back."""

    def __init__(self, source: str, stream: BinaryIO) -> None:
        self._source = source
        self._read = 0
        self._decoder: codecs.IncrementalDecoder | None = None
        magic = stream.read(len(_GZIP_MAGIC))
        raw = _Rewound(magic, stream)
        packed = magic == _GZIP_MAGIC
        self._raw: Any = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[call-overload]
        self._head = self._next(_CHUNK)
        while len(self._head) < len(codecs.BOM_UTF8) and (more := self._next(_CHUNK)):
            self._head += more
        if self._head.startswith(codecs.BOM_UTF8):
            self._head = self._head[len(codecs.BOM_UTF8) :]
        elif self._head.startswith(_UTF16):
            self._decoder = codecs.getincrementaldecoder("utf-16")()
            self._head = self._transcode(self._head)

    def first(self) -> bytes:
        """Return the first byte that isn't white space, b"" if there is none; skips the rest."""
        while True:
            self._head = self._head.lstrip()
            if self._head:
                return self._head[:1]
            self._head = self.read(_CHUNK)
            if not self._head:
                return b""

    def read(self, size: int = _CHUNK) -> bytes:
        """Return about `size` more bytes; b"" at the end.

        Raises:
            InputError: the text is too long, or its packing is damaged.
        """
        if self._head:
            head, self._head = self._head[:size], self._head[size:]
            return head
        data = self._next(size)
        if self._decoder is None:
            return data
        return self._transcode(data)

    def _next(self, size: int) -> bytes:
        try:
            data: bytes = self._raw.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(
                self._source,
                f"is a damaged or cut-off gzip file ({error})",
                "Write the dump again.",
            ) from error
        self._read += len(data)
        if self._read > MAX_BYTES:
            raise InputError(
                self._source,
                f"holds more than {MAX_BYTES >> 20} MiB of text",
                "Split it into several files, or leave out namespaces of no interest.",
            )
        return data

    def _transcode(self, data: bytes) -> bytes:
        assert self._decoder is not None
        try:
            text = self._decoder.decode(data, final=not data)
            while data and not text and (data := self._next(_CHUNK)):
                text = self._decoder.decode(data)
        except UnicodeDecodeError as error:
            raise InputError(self._source, f"is damaged UTF-16 text ({error.reason})") from error
        return text.encode()


class _Rewound:
    """A stream with its first bytes put back, for what can't seek (standard input)."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head, self._rest = head, rest

    def read(self, size: int = -1) -> bytes:
        if self._head:
            head, self._head = self._head[:size], self._head[size:] if size >= 0 else b""
            return head if size >= 0 else head + self._rest.read()
        return self._rest.read(size)
