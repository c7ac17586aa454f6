"""`snapshot`: a cluster's state in one clean file, from the running cluster or from dumps."""

import os
import shlex
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fairstow.cli import terminal
from fairstow.cli.errors import ClusterError
from fairstow.cli.files import is_stream, whole_file, writable
from fairstow.cli.live import Live
from fairstow.cli.progress import Progress
from fairstow.cluster import dump
from fairstow.cluster.anonymize import Pseudonyms, collect, written
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
        "ServingPool",
        "InstanceDrain",
        "SparkAdmission",
    }
)
"""What decides where pods may run, and who owns them."""

_LOOK_OVER = (
    "Names, namespaces, labels, images and addresses are pseudonyms or left out; amounts, "
    "priorities and the names of public products are kept, and so is the order of names. Look it "
    "over before you post it.\n\n"
    "Next: see that it decides the same."
)


def snapshot(output: str, files: Sequence[str], live: Live, *, anonymize: bool = False) -> None:
    """Write a dump to a file, or to standard output for `-`; with no name in it if `anonymize`."""
    write = _write_anonymized if anonymize else _write
    if output == STDOUT or is_stream(output):
        with tempfile.TemporaryDirectory(prefix="fairstow-") as folder:
            path = str(Path(folder) / "cluster.json")
            write(path, files, live)
            _copy_out(path, output)
        return
    writable(output)
    counts = write(output, files, live)
    then = _LOOK_OVER if anonymize else "Next: look for a plan."
    terminal.write(
        f"{output}: {_listed(counts)} ({max(os.path.getsize(output) // 1000, 1)} kB).\n\n"
        f"{then}\n  {terminal.program()} plan -f {shlex.quote(output)}"
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


def _write_anonymized(path: str, files: Sequence[str], live: Live) -> Mapping[str, int]:
    """Write the dump in pseudonyms; return objects by kind."""
    with tempfile.TemporaryDirectory(prefix="fairstow-") as folder:
        clean = str(Path(folder) / "cluster.json")
        counts = _write(clean, files, live)
        names = Pseudonyms()
        for item in dump.read([clean]):
            collect(item, names)
        names.seal()
        objects = (written(item, names) for item in dump.read([clean]))
        _write_list(path, (o for o in objects if o is not None))
    return counts


def _write_list(path: str, objects: Iterable[dict[str, Any]]) -> None:
    with whole_file(path, private=True) as file:
        file.write(b'{"apiVersion":"v1","kind":"List","items":[')
        for number, content in enumerate(objects):
            file.write((b",\n" if number else b"\n") + msgspec.json.encode(content))
        file.write(b"\n]}\n")
