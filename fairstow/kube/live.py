"""Reading a running cluster: kind by kind, page by page, into a snapshot or a dump.

Called by the command line. Only what a plan looks at is listed; Secrets and ConfigMaps never
are. A kind the user may not list is unknown, not empty: a warning names the missing permission.
"""

from __future__ import annotations

import gzip
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import msgspec

from fairstow.cluster.errors import InputError
from fairstow.cluster.items import Item
from fairstow.cluster.kinds import OWNERS, READ, Kind
from fairstow.cluster.project import Builder
from fairstow.cluster.snapshot import Snapshot
from fairstow.cluster.trim import trimmed
from fairstow.kube.client import Connection
from fairstow.kube.problems import ApiError

Say = Callable[[str], None]
T = TypeVar("T")

PAGE = 500
_RESTARTS = 3


class _ExpiredError(Exception):
    """The list changed too much while it was read (410): begin again."""


class _Page(msgspec.Struct):
    items: list[msgspec.Raw] | None = None
    metadata: dict[str, Any] = {}


def _silent(_said: str) -> None:
    """Say nothing."""


def read_snapshot(
    connection: Connection, *, progress: Say = _silent, warn: Say = _silent
) -> Snapshot:
    """Return the snapshot of a running cluster.

    `progress` is called with what is being read, `warn` once for each kind that can't be listed,
    with the reason and how to check the remedy.

    Raises:
        InputError: no connection, or nodes or pods may not be listed.
    """

    def build() -> Snapshot:
        builder = Builder(live=True)
        for kind in READ:
            for item in _listed(connection, kind, progress, warn):
                builder.add(item)
        return builder.build()

    return _restarting(build, connection)


def write_dump(
    connection: Connection, path: Path, *, progress: Say = _silent, warn: Say = _silent
) -> dict[str, int]:
    """Write what a snapshot is made of as a `List` that `-f` reads; return objects by kind.

    The file appears whole or not at all, readable by its owner alone; compressed if its name
    ends in `.gz`. Left out is what no plan reads and may be confidential or long: managed
    fields, the last applied configuration and the containers' environment.

    Raises:
        InputError: as `read_snapshot`, or the file can't be written.
    """

    def build() -> dict[str, int]:
        counts: dict[str, int] = {}
        nodes: set[str] = set()
        with _whole_file(path) as file:
            file.write(b'{"apiVersion":"v1","kind":"List","items":[')
            separator = b"\n"
            for kind in (*READ, *OWNERS):
                for item in _listed(connection, kind, progress, warn):
                    content = trimmed(item)
                    if not _on_a_node(content, nodes):
                        continue
                    counts[kind.name] = counts.get(kind.name, 0) + (item.kind == kind.name)
                    file.write(separator + msgspec.json.encode(content))
                    separator = b",\n"
            file.write(b"\n]}\n")
        return counts

    try:
        return _restarting(build, connection)
    except OSError as error:
        raise InputError(str(path), f"can't be written: {error.strerror or error}") from error


def _restarting(build: Callable[[], T], connection: Connection) -> T:
    for _ in range(_RESTARTS):
        try:
            return build()
        except _ExpiredError:
            continue
    raise InputError(
        connection.name,
        f"its lists expired {_RESTARTS} times while they were read (410 Gone)",
        "The cluster changes faster than this connection reads. Run it nearer to the cluster.",
    )


def _listed(connection: Connection, kind: Kind, progress: Say, warn: Say) -> Iterator[Item]:
    """Yield a kind's objects, then an empty list of it: the sign that all of it was read."""
    count = 0
    query = {"limit": str(PAGE)}
    while True:
        progress(f"{kind.resource}: {count} read")
        try:
            body = connection.get(kind.path, query)
        except ApiError as error:
            if error.status == 410:
                raise _ExpiredError from error
            if kind.needed or count:
                raise _refused(connection, kind, error) from error
            if kind.extension and error.status == 404:
                break
            if not kind.extension:  # a plan says it where a gang needs to know
                warn(_unknown(kind, error))
            return
        page = _page(connection, kind, body)
        for content in page.items or ():
            yield Item(connection.name, count, kind.name, content, kind.api_version)
            count += 1
        following = page.metadata.get("continue")
        if not following:
            break
        query["continue"] = str(following)
    nothing: dict[str, Any] = {"items": []}
    yield Item(connection.name, count, kind.name + "List", nothing, kind.api_version)


def _page(connection: Connection, kind: Kind, body: bytes) -> _Page:
    try:
        return msgspec.json.decode(body, type=_Page)
    except (ValueError, RecursionError) as error:
        raise InputError(
            connection.name,
            f"the reply to a list of {kind.resource} is no Kubernetes list ({error})",
            "Is the server in the kubeconfig a Kubernetes API server?",
        ) from error


def _refused(connection: Connection, kind: Kind, error: ApiError) -> InputError:
    if error.status == 403:
        return InputError(
            connection.name,
            f"may not list {kind.plural} in all namespaces ({error.said})",
            f"Ask for that right, then check:\n  kubectl auth can-i list {kind.plural} -A",
        )
    return InputError(
        connection.name,
        f"listing {kind.plural} failed with HTTP {error.status} ({error.said})",
        "Is the server in the kubeconfig a healthy Kubernetes API server?",
    )


def _unknown(kind: Kind, error: ApiError) -> str:
    if error.status == 403:
        return (
            f"{kind.resource} are unknown: no permission to list {kind.plural} in all namespaces "
            f"(check: kubectl auth can-i list {kind.plural} -A)"
        )
    return f"{kind.resource} are unknown: HTTP {error.status} ({error.said})"


def _on_a_node(content: dict[str, Any], nodes: set[str]) -> bool:
    """Whether an object stays: not a pod on a node that went, or came, between two lists."""
    if content["kind"] == "Node":
        nodes.add(content["metadata"]["name"])
    if content["kind"] != "Pod":
        return True
    node = content["spec"].get("nodeName")
    return not node or node in nodes


@contextmanager
def _whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes its name only when all of it is written."""
    number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(number, "wb") as raw:
            if path.name.endswith(".gz"):
                with gzip.GzipFile("", "wb", 6, raw, 0) as packed:
                    yield cast(IO[bytes], packed)
            else:
                yield raw
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
