"""One object of a dump, before anybody knows whether it is well formed.

Made by `json_items`, `yaml_items` and `fairstow.kube`; decoded by `reading.Reader`.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from fairstow.cluster.errors import InputError, printable

FETCH = (
    "kubectl get nodes,pods,poddisruptionbudgets,priorityclasses,replicasets,statefulsets,"
    "jobs,namespaces,persistentvolumeclaims,persistentvolumes,storageclasses,csinodes,csidrivers,"
    "volumeattachments -A -o json > cluster.json"
)
"""The line that fetches what a plan looks at: kinds that every cluster has, so not PodGroups."""


class _Named(msgspec.Struct):
    metadata: Any = None


class _List(msgspec.Struct, rename="camel"):
    items: list[Any] | None = None
    api_version: str | None = None


class _RawList(_List):
    items: list[msgspec.Raw] | None = None


class _Head(msgspec.Struct, rename="camel"):
    kind: str | None = None
    api_version: str | None = None


class Item:
    """One object, not decoded yet.

    Attributes:
        source: the file it came from.
        index: its place in that file, from 0.
        kind: its kind, or "" where it says none.
        api_version: its API group and version, or "" where it says none.
    """

    __slots__ = ("_content", "api_version", "index", "kind", "source")

    def __init__(
        self,
        source: str,
        index: int,
        kind: str,
        content: msgspec.Raw | dict[str, Any],
        api_version: str = "",
    ) -> None:
        self.source = source
        self.index = index
        self.kind = kind
        self.api_version = api_version
        self._content = content

    @property
    def raw(self) -> bool:
        """Whether the object is still JSON text."""
        return isinstance(self._content, msgspec.Raw)

    def decode(self, into: Any) -> Any:
        """Decode into a wire struct.

        Raises:
            msgspec.MsgspecError: the object doesn't have that form; the message names the field.
            RecursionError: it is nested too deeply.
        """
        if isinstance(self._content, msgspec.Raw):
            return msgspec.json.decode(self._content, type=into)
        return msgspec.convert(self._content, into)

    @property
    def where(self) -> str:
        """How an error names it: file, kind and, if it can be read, namespace and name."""
        try:
            meta = self.decode(_Named).metadata
        except (ValueError, RecursionError):
            meta = None
        meta = meta if isinstance(meta, dict) else {}
        name = "/".join(str(meta[k]) for k in ("namespace", "name") if meta.get(k))
        return self.named(name or f"number {self.index + 1}")

    def named(self, name: str) -> str:
        """Return how an error names it, with its name given."""
        return f"{self.source}: {printable(self.kind or 'item')} {printable(name)}"


def item(source: str, index: int, content: Any, of: Item | None = None) -> Item:
    """Return the item with that content; what it doesn't say comes from the list it is in.

    Raises:
        InputError: the content is no object, or its kind is no text.
    """
    try:
        into: Any = _Head
        head = (
            msgspec.json.decode(content, type=into)
            if isinstance(content, msgspec.Raw)
            else msgspec.convert(content, into)
        )
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{source}: item number {index + 1}",
            f"is no Kubernetes object ({sentence(error)})",
            f"Fetch a cluster's state with:\n  {FETCH}",
        ) from error
    implied = of.kind.removesuffix("List") if of is not None and of.kind != "List" else ""
    outer = of.api_version if of is not None and implied else ""
    return Item(source, index, head.kind or implied, content, head.api_version or outer)


def flatten(outer: Item) -> Iterator[Item]:
    """Yield the items of a list in a list, else the object itself.

    An empty list of a kind is yielded as it is: it says that there are none.
    """
    if not outer.kind.endswith("List"):
        yield outer
        return
    try:
        inner = outer.decode(_RawList if outer.raw else _List).items
    except (ValueError, RecursionError) as error:
        raise InputError(outer.where, sentence(error)) from error
    if not inner:
        yield outer
    for index, content in enumerate(inner or ()):
        yield from flatten(item(outer.source, index, content, outer))


def sentence(error: Exception) -> str:
    """Turn msgspec's "Expected `str`, got `int` - at `$.a.b`" into "field a.b: expected …"."""
    message = str(error) or "it is nested too deeply"
    said, _, path = message.partition(" - at `$")
    field = path.rstrip("`").lstrip(".")
    said = printable(said, 600)
    if field:
        return f"field {printable(field)}: {said[0].lower()}{said[1:]}"
    return f"field {said}" if ": " in said and said[0].islower() else said
