"""Writing files that appear whole or not at all."""

import gzip
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from fairstow.cluster.errors import InputError


def writable(path: str) -> None:
    """Make sure, before the work, that its result can be written.

    Raises:
        InputError: it can't.
    """
    target = Path(path)
    if is_stream(target):
        return
    if target.is_dir():
        raise InputError(path, "is a folder", "Name a file to write to.")
    if not target.parent.is_dir():
        raise InputError(path, f"there is no folder {target.parent}")
    if not os.access(target.parent, os.W_OK):
        raise InputError(path, f"no permission to write in {target.parent}")


@contextmanager
def whole_file(path: str, *, private: bool = False) -> Iterator[IO[bytes]]:
    """Open a file that takes its name only when all of it is written; packed if `.gz`.

    Args:
        path: where; what isn't an ordinary file (a device, a pipe) is written to directly.
        private: readable by the owner alone.

    Raises:
        InputError: it can't be written.
    """
    target = Path(path).resolve()
    try:
        if is_stream(target):
            with target.open("wb") as stream:
                yield stream
            return
        number, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(number, "wb") as raw:
                if target.name.endswith(".gz"):
                    with gzip.GzipFile("", "wb", 6, raw, 0) as packed:
                        yield cast(IO[bytes], packed)
                else:
                    yield raw
            if not private:
                os.chmod(name, 0o666 & ~_umask())
            os.replace(name, target)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(path, f"can't be written: {error.strerror or error}") from error


def is_stream(path: str | Path) -> bool:
    """Whether a path is a device or a pipe, which can't be replaced but written to."""
    target = Path(path)
    return target.exists() and not target.is_file() and not target.is_dir()


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def write_whole(path: str, content: bytes) -> None:
    """Write a file.

    Raises:
        InputError: it can't be written.
    """
    with whole_file(path) as file:
        file.write(content)
