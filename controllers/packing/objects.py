"""Fairstow's own objects as the API server last showed them, parsed once per event.

Fed by a `Reflector` for each kind (it is its sink), or by hand in tests; read by all packing
controllers. What a controller has just written it puts in itself, so that it never decides on what
it knows to be out of date; what the watch or a list then says of a moment before that is left out.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any, TypeVar

import msgspec
from pydantic import ValidationError

from fairstow.api import PACKING_KINDS, GpuPool, PackingPlan, PackingPolicy, problems
from fairstow.api.model import CustomResource
from fairstow.cluster.kinds import Kind, own_kind

logger = logging.getLogger(__name__)
T = TypeVar("T", bound=CustomResource)
Json = Mapping[str, Any]

_MODELS: Mapping[str, type[CustomResource]] = {model.__name__: model for model in PACKING_KINDS}

OWN = tuple(own_kind(model) for model in PACKING_KINDS)
"""Fairstow's kinds, to be watched."""


class Objects:
    """See the module.

    Attributes:
        problems: what is wrong with objects that can't be read, by kind and name; they are left
            out.
        listeners: called after each change with the kind and the object's name.
    """

    def __init__(self) -> None:
        self.problems: dict[tuple[str, str], str] = {}
        self.listeners: list[Callable[[str, str], None]] = []
        self._found: dict[str, dict[str, CustomResource]] = {name: {} for name in _MODELS}

    @property
    def pools(self) -> tuple[GpuPool, ...]:
        """All GpuPools, by name."""
        return self._all(GpuPool)

    @property
    def policies(self) -> tuple[PackingPolicy, ...]:
        """All PackingPolicies, by name."""
        return self._all(PackingPolicy)

    @property
    def plans(self) -> tuple[PackingPlan, ...]:
        """All PackingPlans, by name."""
        return self._all(PackingPlan)

    def put(self, obj: Json) -> None:
        """Take in an object that the API server has just answered with."""
        self._take(str(obj["kind"]), obj)

    def drop(self, model: type[CustomResource], name: str) -> None:
        """Forget an object of which the API server has just said that it isn't there."""
        if name in self._found[model.__name__]:
            self._drop(model.__name__, name)

    def upsert(self, kind: Kind, obj: msgspec.Raw | Json) -> str:
        """Take in an object that is new or changed; return its name."""
        read = msgspec.json.decode(obj) if isinstance(obj, msgspec.Raw) else obj
        return self._take(kind.name, read)

    def delete(self, kind: Kind, obj: msgspec.Raw | Json) -> None:
        """Forget an object."""
        read = msgspec.json.decode(obj) if isinstance(obj, msgspec.Raw) else obj
        known = self._found[kind.name].get(read["metadata"]["name"])
        if known is None or known.metadata.uid == read["metadata"].get("uid"):
            self._drop(kind.name, read["metadata"]["name"])

    def retain(self, kind: Kind, names: Set[str]) -> None:
        """Forget all objects of a kind but those."""
        for name in {*self._found[kind.name], *(n for k, n in self.problems if k == kind.name)}:
            if name not in names:
                self._drop(kind.name, name)

    def replace(self, kind: Kind, objects: Iterable[Json], version: str = "") -> None:
        """Take in all objects of a kind, as they were at a resourceVersion; newer ones stay."""
        names = {self.upsert(kind, obj) for obj in objects}
        found = self._found[kind.name].items()
        self.retain(kind, names | {name for name, obj in found if _newer(obj, version)})

    def unknown(self, kind: Kind) -> None:
        """Forget all objects of a kind: it may not be listed."""
        self.retain(kind, frozenset())

    def _all(self, model: type[T]) -> tuple[T, ...]:
        found = self._found[model.__name__]
        return tuple(each for _, each in sorted(found.items()) if isinstance(each, model))

    def _take(self, kind: str, obj: Json) -> str:
        meta = obj["metadata"]
        name = str(meta["name"])
        known = self._found[kind].get(name)
        if (
            known is not None
            and known.metadata.uid == meta.get("uid")
            and (
                known.metadata.resource_version == (version := str(meta.get("resourceVersion", "")))
                or _newer(known, version)
            )
        ):
            return name
        before = self.problems.pop((kind, name), None)
        try:
            self._found[kind][name] = _MODELS[kind].model_validate(obj)
        except ValidationError as error:
            self._found[kind].pop(name, None)
            said = self.problems[kind, name] = "; ".join(problems(error))
            if said == before:
                return name
            logger.warning("%s %s is left out, it can't be read: %s", kind, name, said)
        self._tell(kind, name)
        return name

    def _drop(self, kind: str, name: str) -> None:
        self._found[kind].pop(name, None)
        self.problems.pop((kind, name), None)
        self._tell(kind, name)

    def _tell(self, kind: str, name: str) -> None:
        for listener in self.listeners:
            listener(kind, name)


def _newer(obj: CustomResource, version: str) -> bool:
    """Whether an object was written after a resourceVersion; they are comparable numbers."""
    own = obj.metadata.resource_version or ""
    return own.isdecimal() and version.isdecimal() and int(own) > int(version)
