"""The folder under llama.cpp's `--slot-save-path`, as far as files in it are carried.

Files have names that gateways make anew for each hold; whatever else is there is none of ours. All
of them together have a bound, those on their way counted as whole. Whatever a crash leaves (of an
engine, a gateway or the carrier) is gone `KEPT_SECONDS` later. Used by `carrier`.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

KEPT_SECONDS = 90.0
"""More than a hold lasts, and carrying it."""
_NAME = re.compile(r"[0-9a-f]{16}-\d{1,4}-[0-9a-f]{16}\.kv")
_PART = ".part"


class FullError(Exception):
    """There is no room for a file."""


class Folder:
    """See the module. Args: most: bytes of all files that are carried."""

    def __init__(self, path: Path, most: int, clock: Callable[[], float] = time.time) -> None:
        self._path, self._most, self._clock = path, most, clock
        self._coming: dict[str, int] = {}

    def read(self, name: str) -> BinaryIO:
        """Open a file. Raises OSError; for a name that isn't ours, too."""
        return os.fdopen(os.open(self._of(name), os.O_RDONLY | os.O_NOFOLLOW), "rb")

    @contextlib.contextmanager
    def write(self, name: str, size: int) -> Iterator[BinaryIO]:
        """Give a file to be filled; it is there once it is whole, and else not at all.

        Raises:
            FullError: so much more doesn't fit.
            OSError: the name isn't ours, or is being written already.
        """
        whole = self._of(name)
        if sum(self._sizes()) + sum(self._coming.values()) + size > self._most:
            raise FullError
        part = whole.with_name(name + _PART)
        made = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640)
        self._coming[name] = size
        try:
            with os.fdopen(made, "wb") as file:
                yield file
                if file.tell() != size:
                    raise OSError(f"{name} has {file.tell()} bytes, not {size}")
            part.replace(whole)
        finally:
            del self._coming[name]
            part.unlink(missing_ok=True)

    def drop(self, name: str) -> None:
        """Remove a file. Raises FileNotFoundError."""
        self._of(name).unlink()

    def sweep(self) -> int:
        """Remove what nobody came for, and what isn't being written any more; return how many."""
        found = 0
        oldest = self._clock() - KEPT_SECONDS
        for path in self._ours():
            with contextlib.suppress(FileNotFoundError):  # dropped meanwhile
                name = path.name.removesuffix(_PART)
                writing = path.name != name
                if name not in self._coming if writing else path.lstat().st_mtime < oldest:
                    path.unlink()
                    found += 1
        return found

    def _of(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise FileNotFoundError(f"{name[:100]!r} isn't the name of a slot's file")
        return self._path / name

    def _sizes(self) -> Iterator[int]:
        for path in self._ours():
            with contextlib.suppress(FileNotFoundError):
                if not path.name.endswith(_PART):
                    yield path.lstat().st_size

    def _ours(self) -> Iterator[Path]:
        for path in self._path.iterdir():
            if _NAME.fullmatch(path.name.removesuffix(_PART)):
                yield path
