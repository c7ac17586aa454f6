"""Where a cluster's state comes from: dumps (`-f`) or the running cluster.

Either way the objects are read once: into a snapshot, and for the independent checker, which
must not trust the snapshot, packed as they are. A running cluster is written to a dump first, so
that there is one way to read.
"""

import gzip
import io
import shlex
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from fairstow.cli.errors import ClusterError
from fairstow.cli.live import Live
from fairstow.cluster import dump
from fairstow.cluster.errors import InputError, printable
from fairstow.cluster.items import Item, sentence
from fairstow.cluster.project import Builder
from fairstow.cluster.snapshot import Snapshot
from fairstow.cluster.what_if import NewPods
from fairstow.packing.checker.cluster import GROUPS, POD_GROUP

_WRITE_PLAN = "Write one with: fairstow plan -f DUMP -o json > plan.json"

_ITEM = msgspec.json.Decoder(dict[str, Any])

Say = Callable[[str], None]


class Objects:
    """Raw objects, packed (some 20 to 1); can be read any number of times."""

    def __init__(self) -> None:
        self._file = io.BytesIO()
        self._packed: gzip.GzipFile | None = gzip.GzipFile("", "wb", 1, self._file, 0)

    def add(self, item: Item) -> None:
        """Keep an object if the checker reads its kind."""
        group = item.api_version.rpartition("/")[0]
        if item.kind != POD_GROUP and GROUPS.get(item.kind) != group:
            return
        assert self._packed is not None, "objects are added before they are read"
        try:
            content = item.decode(dict[str, Any])
            content |= {"apiVersion": item.api_version, "kind": item.kind}
            self._packed.write(msgspec.json.encode(content) + b"\n")
        except (ValueError, OverflowError, RecursionError) as error:
            raise InputError(item.where, sentence(error)) from error

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self._packed is not None:
            self._packed.close()
            self._packed = None
        self._file.seek(0)
        with gzip.GzipFile("", "rb", fileobj=self._file) as lines:
            yield from map(_ITEM.decode, lines)


@dataclass(frozen=True)
class WhatIf:
    """Pods that nobody has submitted.

    Attributes:
        files: the manifests.
        uids: of the pods.
        notes: what was passed over or can't be known, a sentence each.
    """

    files: tuple[str, ...]
    uids: frozenset[str]
    notes: tuple[str, ...]

    @property
    def flags(self) -> str:
        """How to name them on a command line."""
        return " ".join(f"--with {shlex.quote(f)}" for f in self.files)

    def __str__(self) -> str:
        verb = "were" if len(self.files) > 1 else "was"
        return f"{', '.join(map(printable, self.files))} {verb}"


@dataclass(frozen=True)
class Source:
    """A cluster's state.

    Attributes:
        objects: what the checker reads; empty unless it was asked for.
        cluster: how to name the same cluster on a command line.
        warnings: what couldn't be read, a sentence each.
        what_if: what the cluster is supposed to hold besides, if anything.
    """

    snapshot: Snapshot
    objects: Objects
    cluster: str
    warnings: tuple[str, ...] = ()
    what_if: WhatIf | None = None

    @property
    def flags(self) -> str:
        """How to name the cluster on a command line, with what it is supposed to hold besides."""
        supposed = self.what_if.flags if self.what_if else ""
        return f"{self.cluster} {supposed}".strip()

    @property
    def budgets_known(self) -> bool:
        """Whether the source says what PodDisruptionBudgets there are."""
        return "PodDisruptionBudget" in self.snapshot.known


def load(
    files: Sequence[str],
    live: Live,
    *,
    keep: bool,
    progress: Say,
    manifests: Sequence[str] = (),
) -> Source:
    """Read the given dumps, or the running cluster where there are none.

    Args:
        files: files, folders, and `-`.
        live: which cluster.
        keep: whether the checker will want the objects.
        progress: told what is being read.
        manifests: files whose pods the cluster is supposed to hold besides.

    Raises:
        InputError: input or flags can't be used.
        ClusterError: the cluster can't be reached or refuses access.
    """
    if files and live != Live():
        raise InputError("-f", "reads a dump, so --context and --kubeconfig have no meaning")
    if dump.STDIN in files and dump.STDIN in manifests:
        raise InputError("-f - and --with -", "both read standard input", "Give one as a file.")
    new = NewPods(_manifests(manifests)) if manifests else None
    flags = _flags(live, files)
    if files:
        progress(f"reading {', '.join(files)}")
        return _read(dump.read(files), Builder(), flags, new, manifests, keep=keep)
    with _dumped(live, progress) as (path, name, warnings):
        try:
            source = _read(dump.read([path]), Builder(live=True), flags, new, manifests, keep=keep)
        except InputError as error:
            if path not in error.where:
                raise
            raise InputError(error.where.replace(path, name), error.problem) from error
    return replace(source, warnings=warnings)


def _flags(live: Live, files: Sequence[str]) -> str:
    """Return the arguments that make a command read the same."""
    given = [("-f", f) for f in files]
    given += [
        (f"--{name}", value)
        for name, value in (("kubeconfig", live.kubeconfig), ("context", live.context))
        if value
    ]
    return " ".join(f"{flag} {shlex.quote(value)}" for flag, value in given)


@contextmanager
def _dumped(live: Live, progress: Say) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Write the running cluster to a file for a while; yield its path, its name, warnings."""
    from fairstow.kube.client import connect
    from fairstow.kube.live import write_dump

    progress("connecting")
    connection = connect(live.kubeconfig, live.context)
    warnings: list[str] = []
    try:
        with tempfile.TemporaryDirectory(prefix="fairstow-") as folder:
            path = Path(folder) / "cluster.json"
            try:
                write_dump(connection, path, progress=progress, warn=warnings.append)
            except InputError as error:
                raise ClusterError(error) from error
            yield str(path), connection.name, tuple(warnings)
    finally:
        connection.close()


def _read(
    items: Iterable[Item],
    builder: Builder,
    flags: str,
    new: NewPods | None,
    files: Sequence[str],
    *,
    keep: bool,
) -> Source:
    """Read a cluster, and what it is supposed to hold besides."""
    objects = Objects()
    for item in chain(_seen(items, new), new.items() if new else ()):
        builder.add(item)
        if keep:
            objects.add(item)
    what_if = WhatIf(tuple(files), new.uids, new.notes) if new else None
    return Source(builder.build(), objects, flags, what_if=what_if)


def _seen(items: Iterable[Item], new: NewPods | None) -> Iterator[Item]:
    for item in items:
        if new is not None:
            new.see(item)
        yield item


def _manifests(paths: Sequence[str]) -> Iterator[Item]:
    with _hinting("Give the manifest of a Pod, Deployment, Job, ..., as for kubectl apply -f."):
        yield from dump.read(paths)


@contextmanager
def _hinting(hint: str) -> Iterator[None]:
    """Say what to write in place of how to fetch a dump."""
    try:
        yield
    except InputError as error:
        raise InputError(error.where, error.problem, hint) from error


def read_plan(path: str) -> dict[str, Any]:
    """Return the one PackingPlan that a JSON or YAML file holds.

    Raises:
        InputError: the file can't be read, or holds something else.
    """
    with _hinting(_WRITE_PLAN):
        found = list(dump.read([path]))
    plans = [item for item in found if item.kind == "PackingPlan"]
    if len(plans) != 1:
        kinds = ", ".join(sorted({item.kind or "no kind" for item in found})) or "nothing"
        raise InputError(
            path,
            f"holds {len(plans)} PackingPlans instead of one (found: {kinds})",
            _WRITE_PLAN,
        )
    try:
        plan: dict[str, Any] = plans[0].decode(dict[str, Any])
    except (ValueError, RecursionError) as error:
        raise InputError(plans[0].where, sentence(error)) from error
    return {"apiVersion": plans[0].api_version, "kind": "PackingPlan", **plan}
