"""Where a pod's LLM requests went before it had a sidecar, and how they get to the sidecar.

A sidecar has one upstream: what OPENAI_BASE_URL says in the pod's containers, else `spec.upstream`;
never an address that a request names. No container's requests, and the keys in them, are led to a
server that isn't its own.

- `env` of a container is read here, and a `valueFrom` is passed on to the sidecar.
- `envFrom` isn't: what a ConfigMap or Secret holds is known when the container starts, and the
  webhook may read neither. The sidecar is given the one key of each source that could be
  OPENAI_BASE_URL, optional; the last one that is there holds, as it does for the container, else
  `spec.upstream`. Containers that take variables from different sources may mean different servers.

Called by `injection`, which leaves a pod as it is where this raises UnfitError.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from fairstow.api import SemanticCache
from fairstow.api.semantic_cache import is_upstream
from fairstow.cluster.review import Json

ADDRESS = "OPENAI_BASE_URL"
PORT = 8448
"""The sidecar's, for clients."""
OWN = f"http://127.0.0.1:{PORT}/v1"
UPSTREAM = "FAIRSTOW_CACHE_UPSTREAM"
PROXIES = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
NO_PROXY = ("NO_PROXY", "no_proxy")
_KEY_OF = {"config_map_ref": "configMapKeyRef", "secret_ref": "secretKeyRef"}


class UnfitError(Exception):
    """Why a pod can't be given a sidecar."""


class _Port(msgspec.Struct, frozen=True, rename="camel"):
    container_port: int = 0


class Variable(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One of `env`."""

    name: str
    value: str = ""
    value_from: Json | None = None


class _Named(msgspec.Struct, frozen=True):
    name: str = ""


class _Source(msgspec.Struct, frozen=True, rename="camel"):
    """One of `envFrom`."""

    prefix: str = ""
    config_map_ref: _Named | None = None
    secret_ref: _Named | None = None


class Container(msgspec.Struct, frozen=True, rename="camel"):
    """A container, as far as it matters here."""

    name: str = ""
    ports: tuple[_Port, ...] = ()
    env: tuple[Variable, ...] = ()
    env_from: tuple[_Source, ...] = ()

    def variable(self, name: str) -> Variable | None:
        """Return what `env` sets; of several of a name the last one holds."""
        return next((each for each in reversed(self.env) if each.name == name), None)

    def sources(self) -> tuple[Json, ...]:
        """Return where `envFrom` may take OPENAI_BASE_URL from; the last that has it holds."""
        return () if self.variable(ADDRESS) else tuple(self._sources())

    def _sources(self) -> Iterator[Json]:
        for each in self.env_from:
            key = ADDRESS.removeprefix(each.prefix)
            if not key or (each.prefix and key == ADDRESS):
                continue
            for attribute, kind in _KEY_OF.items():
                found: _Named | None = getattr(each, attribute)
                if found is not None:
                    yield {kind: {"name": found.name, "key": key, "optional": True}}


class Upstream(msgspec.Struct, frozen=True):
    """Where a sidecar passes requests on to.

    Attributes:
        variables: of the sidecar: the address, then those that hold instead if they are set.
        default: requests of containers that say nothing go there, too.
    """

    variables: tuple[Variable, ...]
    default: bool = False

    def arguments(self) -> list[str]:
        """Return the sidecar's."""
        first, *others = self.variables
        return [
            f"--upstream=$({first.name})",
            *(f"--upstream-variable={each.name}" for each in others),
        ]

    def asked_by(self, container: Container) -> bool:
        """Whether a container's requests go there."""
        if container.variable(ADDRESS) is not None:
            return True
        return len(self.variables) > 1 if container.sources() else self.default


def upstream_of(cache: SemanticCache, containers: Iterable[Container]) -> Upstream:
    """Return the one place that all containers that ask for anything ask. Raises UnfitError."""
    there = tuple(containers)
    said = [found for each in there if (found := each.variable(ADDRESS)) is not None]
    if said:
        return _said(cache, said)
    sources = {msgspec.json.encode(some): some for each in there if (some := each.sources())}
    if len(sources) > 1:
        raise UnfitError(
            f"its containers take variables from different sources (envFrom), and {ADDRESS} may be "
            "among them: set it in env"
        )
    default = cache.spec.upstream
    if default is None:
        unseen = ", and what envFrom holds isn't seen" if sources else ""
        raise UnfitError(f"no container sets {ADDRESS}{unseen}, and the cache has no spec.upstream")
    instead = next(iter(sources.values()), ())
    unless = (
        Variable(f"{UPSTREAM}_{number}", value_from=each) for number, each in enumerate(instead)
    )
    return Upstream((Variable(UPSTREAM, default), *unless), default=not sources)


def _said(cache: SemanticCache, said: list[Variable]) -> Upstream:
    if cache.spec.store.redis and any(each.value != cache.spec.upstream for each in said):
        raise UnfitError(
            f"answers are shared by pods that ask spec.upstream, and its {ADDRESS} differs"
        )
    first = said[0]
    if any((each.value, each.value_from) != (first.value, first.value_from) for each in said):
        raise UnfitError(f"its containers set {ADDRESS} differently")
    if first.value_from is not None:
        source = next(iter(first.value_from.values()), None)
        if isinstance(source, Mapping) and source.get("optional"):
            raise UnfitError(f"{ADDRESS} is optional, so that nobody knows where requests go")
    elif first.value == OWN or not is_upstream(first.value):
        raise UnfitError(f"{ADDRESS} is no address of a server that ends in /v1: {first.value!r}")
    found = msgspec.structs.replace(first, name=UPSTREAM)
    return Upstream((found,), default=found.value == cache.spec.upstream)


def led(container: Container, at: str) -> Json:
    """Return what leads a container's requests to the sidecar, past its proxies."""
    changed = {ADDRESS: Variable(ADDRESS, OWN)}
    if any(container.variable(name) for name in PROXIES):
        around = [found for name in NO_PROXY if (found := container.variable(name))]
        for each in around:
            if each.value_from is not None:
                raise UnfitError(f"{each.name} of container {container.name} can't be added to")
            changed[each.name] = Variable(each.name, f"{each.value},127.0.0.1")
        if not around:
            changed["NO_PROXY"] = Variable("NO_PROXY", "127.0.0.1")
    # Each in its place: variables may refer to those before them.
    there = {each.name for each in container.env}
    new = [each for name, each in changed.items() if name not in there]
    env = [*new, *(changed.get(each.name, each) for each in container.env)]
    return {"op": "add", "path": at, "value": msgspec.to_builtins(env)}
