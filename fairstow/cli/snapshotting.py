"""`snapshot`: a cluster's state in one clean file, from the running cluster or from dumps."""

import os
import shlex
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from fairstow.cli import terminal
from fairstow.cli.errors import ClusterError
from fairstow.cli.files import is_stream, whole_file, writable
from fairstow.cli.live import Live
from fairstow.cli.progress import Progress
from fairstow.cluster import dump
from fairstow.cluster.errors import InputError
from fairstow.cluster.items import Item, sentence
from fairstow.cluster.project import Builder
from fairstow.cluster.trim import trimmed

STDOUT = "-"
_KINDS = frozenset(
    {
        "Node",
        "Pod",
        "PodDisruptionBudget",
        "PriorityClass",
        "Job",
        "Namespace",
        "ReplicaSet",
        "StatefulSet",
        "PersistentVolumeClaim",
        "PersistentVolume",
        "StorageClass",
        "CSIDriver",
        "CSINode",
        "VolumeAttachment",
        "PodGroup",
    }
)
"""What decides where pods may run, and who owns them."""


def snapshot(output: str, files: Sequence[str], live: Live) -> None:
    """Write a dump to a file, or to standard output for `-`."""
    if output == STDOUT or is_stream(output):
        with tempfile.TemporaryDirectory(prefix="fairstow-") as folder:
            path = str(Path(folder) / "cluster.json")
            _write(path, files, live)
            _copy_out(path, output)
        return
    writable(output)
    counts = _write(output, files, live)
    terminal.write(
        f"{output}: {_listed(counts)} ({max(os.path.getsize(output) // 1000, 1)} kB).\n\n"
        f"Next: look for a plan.\n  {terminal.program()} plan -f {shlex.quote(output)}"
    )


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {_resource(kind, n)}" for kind, n in counts.items() if n)


def _resource(kind: str, number: int) -> str:
    """Return a kind as kubectl writes it: `pods`, `priorityclass`."""
    one = kind.lower()
    return one if number == 1 else one + ("es" if one.endswith("s") else "s")


def _copy_out(path: str, output: str) -> None:
    """Copy a file to standard output, a device or a pipe."""
    try:
        with open(path, "rb") as file:
            if output == STDOUT:
                shutil.copyfileobj(file, sys.stdout.buffer)
                sys.stdout.buffer.flush()
            else:
                with open(output, "wb") as stream:
                    shutil.copyfileobj(file, stream)
    except BrokenPipeError:
        terminal.reader_gone()


def _write(path: str, files: Sequence[str], live: Live) -> Mapping[str, int]:
    """Write the dump; return objects by kind."""
    with Progress() as progress:
        if files:
            progress.say(f"reading {', '.join(files)}")
            return _clean(files, path)
        from fairstow.kube.client import connect
        from fairstow.kube.live import write_dump

        progress.say("connecting")
        connection = connect(live.kubeconfig, live.context)
        warnings: list[str] = []
        try:
            counts = write_dump(connection, Path(path), progress=progress.say, warn=warnings.append)
        except InputError as error:
            if error.where == path:
                raise
            raise ClusterError(error) from error
        finally:
            connection.close()
    for warning in warnings:
        terminal.warn(warning)
    return counts


def _clean(files: Sequence[str], path: str) -> Mapping[str, int]:
    """Write the objects of dumps that a plan looks at, without what may be confidential.

    Raises:
        InputError: the dumps can't be read, or make no cluster.
    """
    counts, builder = Counter[str](), Builder()
    with whole_file(path, private=True) as file:
        file.write(b'{"apiVersion":"v1","kind":"List","items":[')
        separator = b"\n"
        for item in dump.read(files):
            builder.add(item)
            kind = item.kind.removesuffix("List")
            if kind not in _KINDS:
                continue
            file.write(separator + _json(item))
            separator = b",\n"
            counts[kind] += item.kind == kind
        builder.build()
        file.write(b"\n]}\n")
    return counts


def _json(item: Item) -> bytes:
    try:
        return msgspec.json.encode(trimmed(item))
    except (ValueError, OverflowError, RecursionError) as error:
        raise InputError(item.where, sentence(error)) from error
