"""ServingPools and InstanceDrains as the API server last showed them.

Fed by two reflectors; read by the serving controller, which puts in what it has just written.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from pydantic import ValidationError

from controllers.followed import Followed
from fairstow.api import InstanceDrain, ServingPool, problems
from fairstow.api.model import CustomResource
from fairstow.cluster.kinds import Kind, own_kind
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.reflector import Reflector, Store

logger = logging.getLogger(__name__)
T = TypeVar("T", bound=CustomResource)


POOL, DRAIN = own_kind(ServingPool), own_kind(InstanceDrain)


class ServingObjects(Followed):
    """See the module. Attributes: reflectors: what keeps it up to date."""

    def __init__(self, api: Api) -> None:
        self._store = Store()
        self.changed = self._store.changed
        self._said: dict[str, str] = {}
        self.reflectors = tuple(Reflector(api, kind, self._store) for kind in (POOL, DRAIN))

    def put(self, obj: Mapping[str, Any]) -> None:
        """Take in an object that the API server has just answered with."""
        kind = POOL if obj["kind"] == POOL.name else DRAIN
        self._store.upsert(kind, msgspec.Raw(msgspec.json.encode(obj)))

    def drop(self, drain: InstanceDrain) -> None:
        """Forget a drain that was deleted."""
        self._store.delete(DRAIN, msgspec.Raw(msgspec.json.encode(drain.to_object())))

    @property
    def pools(self) -> tuple[ServingPool, ...]:
        """All pools, by namespace and name."""
        return self._read(POOL, ServingPool)

    @property
    def drains(self) -> tuple[InstanceDrain, ...]:
        """All drains, by namespace and name."""
        return self._read(DRAIN, InstanceDrain)

    def _read(self, kind: Kind, model: type[T]) -> tuple[T, ...]:
        found = []
        for name, obj in sorted(self._store.of(kind).items()):
            try:
                found.append(model.model_validate(obj))
            except ValidationError as error:  # an object of another version
                said = "; ".join(problems(error))
                if self._said.get(name) != said:
                    logger.warning("%s %s is left out, it can't be read: %s", kind.name, name, said)
                    self._said[name] = said
        return tuple(found)
