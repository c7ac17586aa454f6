"""What a new pod of a llama.cpp engine is given so that its slots' files can go to other pods.

Called by the webhook for new pods of namespaces that opted in. A llama.cpp engine hands a running
request over as a file; `fairstow.gateway.slot_carrier` carries it, and gateways find that by its
port's name. It is a native sidecar (an init container that stays, KEP-753): it listens before the
engine starts, so that the gateway's first look finds it, and ends after it, so that an engine that
drains is carried from to its last request.

It shares the folder that the engine saves to, an emptyDir, and the engine's user, which isn't root:
in memory (a sticky tmpfs) nobody else may remove its files. It shares nothing else of the pod.
Where the engine saves to no volume it gets one in memory, unless its own limit would count that.
Who has the engines' key may ask, and nobody else; the pod's label `CARRIED` is what the chart's
NetworkPolicy selects it by.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

import msgspec

from fairstow.api import ServingPool
from fairstow.api.serving_pool import SecretKey
from fairstow.cluster.quantity import parse
from fairstow.cluster.restricted import RESTRICTED
from fairstow.cluster.review import Json, Reply, Request, read_part
from fairstow.serving.engine_pods import Container, engine_of, key_of, pool_of
from fairstow.serving.instances import CARRIER_PORT

SIDECAR = "fairstow-slots"
"""The container's name, and that of a volume made for it."""
PORT = 8450
CARRIED = "fairstow.dev/slots"
"""Label of a pod that has a carrier: its pool."""
DEFAULT_MIB = 1024
"""Room for files where the pod doesn't say how much."""

_OWN_MIB = 128
_CPU = "50m"
_SAVED = re.compile(r"--slot-save-path[= ][\"']?(/[^\s\"']*)")


class UnfitError(Exception):
    """Why a pod can't be given a carrier."""


class _Metadata(msgspec.Struct, frozen=True):
    labels: Mapping[str, str] = {}


class _Mount(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    mount_path: str = ""
    sub_path: str = ""
    sub_path_expr: str = ""


class _Volume(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    empty_dir: Json | None = None


class _Resources(msgspec.Struct, frozen=True):
    requests: Mapping[str, str | int] = {}
    limits: Mapping[str, str | int] = {}

    def guaranteed(self) -> bool:
        return all(
            name in self.limits and self.requests.get(name, self.limits[name]) == self.limits[name]
            for name in ("cpu", "memory")
        )


class _Security(msgspec.Struct, frozen=True, rename="camel"):
    run_as_user: int | None = None


class _Container(Container, frozen=True):
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    volume_mounts: tuple[_Mount, ...] | None = None
    resources: _Resources = _Resources()
    security_context: _Security = _Security()


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    containers: tuple[_Container, ...] = ()
    init_containers: tuple[_Container, ...] = ()
    host_network: bool = False
    security_context: _Security = _Security()
    volumes: tuple[_Volume, ...] | None = None


class _Folder(msgspec.Struct, frozen=True):
    """Where files are. Attributes: patch: makes the volume; memory: it is in memory."""

    path: str
    mount: Json
    mib: int
    memory: bool
    patch: tuple[Json, ...] = ()


def admit(request: Request, pools: Iterable[ServingPool], image: str) -> Reply:
    """Return the reply to the creation of a pod; it is never refused.

    Args:
        request: the review.
        pools: all serving pools that are known.
        image: of the carrier.

    Raises:
        MalformedError: the review isn't what an API server sends.
    """
    labels = read_part(request.object, "metadata", _Metadata).labels
    spec = read_part(request.object, "spec", _Spec)
    pool = pool_of(pools, request.namespace, labels)
    if pool is None or pool.spec.engines.type != "LlamaCpp" or not spec.containers:
        return Reply()
    everyone = (*spec.init_containers, *spec.containers)
    if any(_carries(each) for each in everyone):
        return Reply()
    try:
        return Reply(patch=(*_patch(pool, spec, everyone, image), _labelled(pool, labels)))
    except UnfitError as error:
        said = f"fairstow: requests that move off this pod are computed anew: {error}"
        return Reply(warnings=(said,))


def _carries(container: _Container) -> bool:
    return container.name == SIDECAR or any(port.name == CARRIER_PORT for port in container.ports)


def _patch(
    pool: ServingPool, spec: _Spec, everyone: tuple[_Container, ...], image: str
) -> tuple[Json, ...]:
    engines = pool.spec.engines
    if engines.api_key is None:
        raise UnfitError("its pool has no engines.apiKey, which whoever asks for files shows")
    if spec.host_network:
        raise UnfitError(f"with hostNetwork, port {PORT} would be its node's")
    if any(port.container_port == PORT for each in everyone for port in each.ports):
        raise UnfitError(f"port {PORT} is the carrier's")
    number = engine_of(spec.containers, engines.port)
    folder, user = _folder(spec, number), _user(spec, number)
    guaranteed = all(each.resources.guaranteed() for each in everyone)
    carrier = _carrier(engines.port, engines.api_key, folder, image, guaranteed=guaranteed)
    carrier["securityContext"] = RESTRICTED | {"runAsUser": user}
    return (
        *folder.patch,
        *_added("/spec/initContainers", bool(spec.init_containers), "0", carrier),
    )


def _labelled(pool: ServingPool, labels: Mapping[str, str]) -> Json:
    """Return what names the pool; a pod that is selected by what it lacks may have no labels."""
    if not labels:
        return {"op": "add", "path": "/metadata/labels", "value": {CARRIED: pool.metadata.name}}
    named = f"/metadata/labels/{CARRIED.replace('/', '~1')}"
    return {"op": "add", "path": named, "value": pool.metadata.name}


def _user(spec: _Spec, number: int) -> int:
    engine = spec.containers[number]
    own = engine.security_context.run_as_user
    user = spec.security_context.run_as_user if own is None else own
    if not user:
        raise UnfitError(
            f"container {engine.name} has no securityContext.runAsUser but root: the carrier is "
            "of the engine's user, so that it may remove its files"
        )
    return user


def _folder(spec: _Spec, number: int) -> _Folder:
    """Return the folder that the engine saves slots to."""
    engine = spec.containers[number]
    found = _SAVED.search(" ".join((*engine.command, *engine.args)))
    if found is None:
        raise UnfitError(f"container {engine.name} has no --slot-save-path with a folder's path")
    path = found[1].rstrip("/")
    if not path:
        raise UnfitError(f"the --slot-save-path of container {engine.name} is the root")
    if "$(" in path:
        raise UnfitError(f"the --slot-save-path of container {engine.name} names a variable")
    above = {path, *map(str, PurePosixPath(path).parents)}
    mounts = [m for m in engine.volume_mounts or () if m.mount_path.rstrip("/") in above]
    if not mounts:
        return _made(engine, number, path, spec)
    mount = max(mounts, key=lambda each: len(each.mount_path))
    volume = next((each for each in spec.volumes or () if each.name == mount.name), _Volume())
    if volume.empty_dir is None or mount.sub_path_expr:
        raise UnfitError(f"{path} is no emptyDir, so that other pods may have files there")
    limit = volume.empty_dir.get("sizeLimit")
    return _Folder(
        path=path,
        mount={"name": mount.name, "mountPath": mount.mount_path}
        | ({"subPath": mount.sub_path} if mount.sub_path else {}),
        mib=max(1, _bytes(limit) >> 20) if limit else DEFAULT_MIB,
        memory=volume.empty_dir.get("medium") == "Memory",
    )


def _made(engine: _Container, number: int, path: str, spec: _Spec) -> _Folder:
    """Return a folder in memory that the engine gets, where that takes none of its own."""
    if "memory" in engine.resources.limits:
        raise UnfitError(
            f"container {engine.name} has a limit of memory: mount an emptyDir at {path} yourself, "
            "of a size that it allows for"
        )
    mount = {"name": SIDECAR, "mountPath": path}
    volume = {"medium": "Memory", "sizeLimit": f"{DEFAULT_MIB}Mi"}
    return _Folder(
        path=path,
        mount=mount,
        mib=DEFAULT_MIB,
        memory=True,
        patch=(
            *_added(
                "/spec/volumes",
                spec.volumes is not None,
                "-",
                {"name": SIDECAR, "emptyDir": volume},
            ),
            *_added(
                f"/spec/containers/{number}/volumeMounts",
                engine.volume_mounts is not None,
                "-",
                mount,
            ),
        ),
    )


def _carrier(port: int, key: SecretKey, folder: _Folder, image: str, *, guaranteed: bool) -> Json:
    # What it writes in memory counts as its own.
    limits = {"memory": f"{_OWN_MIB + folder.mib * folder.memory}Mi"}
    requests = {"cpu": _CPU, "memory": f"{_OWN_MIB}Mi"}
    if guaranteed:  # and stays so: a pod that has CPUs of its own keeps them
        limits = requests = {"cpu": _CPU} | limits
    return {
        "name": SIDECAR,
        "image": image,
        "restartPolicy": "Always",
        "command": ["python", "-m", "fairstow.gateway.slot_carrier"],
        "args": [
            f"--engine=http://127.0.0.1:{port}",
            f"--folder={folder.path}",
            f"--port={PORT}",
            f"--most={folder.mib}",
        ],
        "env": [key_of(key, optional=False)],
        "ports": [{"name": CARRIER_PORT, "containerPort": PORT}],
        "startupProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1, "failureThreshold": 120},
        "volumeMounts": [folder.mount],
        "resources": {"requests": requests, "limits": limits},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _added(path: str, there: bool, at: str, value: Json) -> tuple[Json, ...]:
    """Return what adds to a list that may not be there."""
    if there:
        return ({"op": "add", "path": f"{path}/{at}", "value": value},)
    return ({"op": "add", "path": path, "value": [value]},)


def _bytes(size: object) -> int:
    try:
        return parse("memory", str(size))
    except ValueError as error:
        raise UnfitError(f"the folder's sizeLimit: {error}") from error
