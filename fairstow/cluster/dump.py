"""Reading `kubectl get … -o json|yaml` output item by item, whatever state it is in.

Who calls it: the command line (`-f`), tests and benchmarks. A dump is input from strangers: only
a window of it is ever in memory, its size is bounded after decompression, and every failure is
an `InputError` that names the file and, where known, the object.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from fairstow.cluster.errors import InputError
from fairstow.cluster.items import FETCH, Item, flatten
from fairstow.cluster.json_items import json_items
from fairstow.cluster.text import Text
from fairstow.cluster.yaml_items import yaml_items

__all__ = ["FETCH", "STDIN", "Item", "read"]

STDIN = "-"
_ENDINGS = (".json", ".yaml", ".yml", ".json.gz", ".yaml.gz", ".yml.gz")


def read(paths: Iterable[str]) -> Iterator[Item]:
    """Yield every object of the given files, folders and `-` (standard input), in order.

    Raises:
        InputError: a file is missing, unreadable, too large, cut off, or no Kubernetes output.
    """
    for path in paths:
        if path == STDIN:
            if sys.stdin.isatty():
                raise InputError(
                    "standard input",
                    "is a terminal, so there is nothing to read",
                    f"Pipe a cluster's state into it:\n  {FETCH.partition(' >')[0]} | …",
                )
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
    text = Text(source, stream)
    first = text.first()
    if not first:
        raise InputError(source, "is empty", f"Fetch a cluster's state with:\n  {FETCH}")
    for item in json_items(source, text) if first in b"{[" else yaml_items(source, text):
        yield from flatten(item)
