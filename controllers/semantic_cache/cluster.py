"""What the cache controller reads and keeps in the cluster: pods, Services, ConfigMap and Secret.

Rights used: pods (list), namespaces (get), and those of the values' `caches` in the cache's
namespace: configmaps (create, patch), secrets (create, get), services (list).
"""

from __future__ import annotations

import secrets
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from fairstow.api import LabelSelector, SemanticCache
from fairstow.cluster.errors import InputError
from fairstow.cluster.times import seconds
from fairstow.kube import authority as authorities
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.connection import Json
from fairstow.kube.aio.paths import path_of
from fairstow.kube.problems import ApiError
from fairstow.semantic_cache.cache_status import CachePod
from fairstow.semantic_cache.injection import REFUSED, SIDECAR
from fairstow.semantic_cache.sidecar_file import (
    ADMIN_KEY,
    AUTHORITY,
    CERTIFICATE,
    CONFIG_KEY,
    METRICS_KEY,
    PRIVATE_KEY,
    Issuer,
    holder,
    sidecar_file,
)

MANAGER = "fairstow-semantic-cache"
ENABLED = "fairstow.dev/cache"
"""Label of a namespace: `enabled` where the webhook may give pods a sidecar."""
LIFETIME = timedelta(days=3650)
"""Of a Secret's certificate: it goes with the tokens, which hold until the Secret is deleted."""
LONGEST_REASON = 200
"""Characters: anybody who may make a pod writes its annotations."""
_ALIVE = "status.phase!=Succeeded,status.phase!=Failed"


class NotKeptError(Exception):
    """Why the sidecars' configuration can't be kept."""


async def kubernetes(api: Api) -> tuple[int, int]:
    """Return the API server's version, as major and minor."""
    said = await api.get("/version")
    digits = ("".join(filter(str.isdigit, str(said.get(part, "")))) for part in ("major", "minor"))
    major, minor = (int(each or 0) for each in digits)
    return major, minor


async def enabled(api: Api, namespace: str) -> bool:
    """Whether the webhook is asked about the namespace's pods."""
    found = await api.get(f"/api/v1/namespaces/{namespace}")
    return (found["metadata"].get("labels") or {}).get(ENABLED) == "enabled"


class Access(NamedTuple):
    """How a cache's sidecars are asked for their counts.

    Attributes:
        token: good for nothing else.
        name: that their certificate is in. authority: who signed it, PEM.
    """

    token: str
    name: str
    authority: str


async def keep(api: Api, cache: SemanticCache, issuer: Issuer | None = None) -> Access:
    """Write what the sidecars mount, where it differs; return how they are asked.

    Args:
        api: as the operator.
        cache: whose sidecars they are.
        issuer: of ServiceAccounts' tokens; None: the sidecars know none.

    Raises:
        NotKeptError: the API server refuses it.
    """
    try:
        await _configure(api, cache, issuer)
        return await _access(api, cache)
    except ApiError as error:
        if error.status != 403:
            raise
        meta = cache.metadata
        raise NotKeptError(
            f"the operator may not keep ConfigMap and Secret {holder(meta.name)}: add {{namespace: "
            f"{meta.namespace}, cache: {meta.name}}} to the chart's values `caches`"
        ) from error


async def _configure(api: Api, cache: SemanticCache, issuer: Issuer | None) -> None:
    # Server-side apply of what is there already changes nothing, and needs no right to read.
    data = {CONFIG_KEY: sidecar_file(cache, issuer)}
    await api.apply(_held(cache, "ConfigMap") | {"data": data}, MANAGER)


async def _access(api: Api, cache: SemanticCache) -> Access:
    namespace, name = cache.metadata.namespace or "", holder(cache.metadata.name)
    path = path_of("v1", "Secret", namespace=namespace, name=name)
    try:
        found = await api.get(path)
    except ApiError as error:
        if error.status != 404:
            raise
        made = _held(cache, "Secret") | {"type": "Opaque", "stringData": _secrets(name)}
        found = await api.create(path_of("v1", "Secret", namespace=namespace), made)
    data = found.get("data") or {}
    needed = (ADMIN_KEY, METRICS_KEY, CERTIFICATE, PRIVATE_KEY, AUTHORITY)
    if lacking := [key for key in needed if not data.get(key)]:
        raise NotKeptError(f"Secret {name} has no {lacking[0]}: delete it, it is made anew")
    token, authority = (b64decode(data[key]).decode() for key in (METRICS_KEY, AUTHORITY))
    return Access(token, name, authority)


def _secrets(name: str) -> dict[str, str]:
    """Return new tokens, and a certificate whose authority signs no other: nobody has its key."""
    now = datetime.now(UTC)
    signer = authorities.new_authority(name, LIFETIME, now)
    pair = authorities.issue(signer, name, (name,), LIFETIME, now)
    return {
        ADMIN_KEY: secrets.token_urlsafe(32),
        METRICS_KEY: secrets.token_urlsafe(32),
        CERTIFICATE: pair.certificate.decode(),
        PRIVATE_KEY: pair.key.decode(),
        AUTHORITY: signer.certificate.decode(),
    }


def _held(cache: SemanticCache, kind: str) -> Json:
    """Return the head of an object that goes with its cache."""
    meta = cache.metadata
    owner = {
        "apiVersion": cache.api_version,
        "kind": cache.kind,
        "name": meta.name,
        "uid": meta.uid,
        "controller": True,
    }
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {
            "name": holder(meta.name),
            "namespace": meta.namespace,
            "labels": {"app.kubernetes.io/part-of": "fairstow"},
            "ownerReferences": [owner],
        },
    }


async def pods(api: Api, cache: SemanticCache) -> list[Json]:
    """Return the cache's pods, by name; those that have ended aside."""
    query = {
        "labelSelector": label_query(cache.spec.selector),
        "fieldSelector": _ALIVE,
        "resourceVersion": "0",  # from the server's memory
    }
    found, _ = await api.list(path_of("v1", "Pod", namespace=cache.metadata.namespace or ""), query)
    return sorted(found, key=lambda each: str(each["metadata"]["name"]))


def read_pod(raw: Json) -> CachePod:
    """Return what decides about a pod."""
    meta, spec, status = raw["metadata"], raw["spec"], raw.get("status") or {}
    owners = (o for o in meta.get("ownerReferences") or () if o.get("controller"))
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
    return CachePod(
        name=meta["name"],
        uid=meta["uid"],
        created=seconds(meta.get("creationTimestamp") or "") or 0,
        injected=any(each["name"] == SIDECAR for each in spec.get("initContainers") or ()),
        refused=str((meta.get("annotations") or {}).get(REFUSED, ""))[:LONGEST_REASON],
        owner=next((str(each["kind"]) for each in owners), ""),
        ready=conditions.get("Ready") == "True",
        terminating="deletionTimestamp" in meta,
    )


def label_query(selector: LabelSelector) -> str:
    """Return a selector as the API server's queries have it."""
    said = [f"{key}={value}" for key, value in selector.match_labels.items()]
    for each in selector.match_expressions:
        values = ",".join(each.values)
        match each.operator:
            case "In":
                said.append(f"{each.key} in ({values})")
            case "NotIn":
                said.append(f"{each.key} notin ({values})")
            case "Exists":
                said.append(each.key)
            case "DoesNotExist":
                said.append(f"!{each.key}")
    return ",".join(said)


async def past(api: Api, cache: SemanticCache, raw: list[Json]) -> tuple[str, ...]:
    """Return the Services that lead to the engines' port of pods with a sidecar."""
    port = cache.spec.engine_port
    if port is None:
        return ()
    served = [pod for pod in raw if read_pod(pod).injected]
    path = path_of("v1", "Service", namespace=cache.metadata.namespace or "")
    try:
        services, _ = await api.list(path)
    except ApiError as error:
        if error.status == 403:  # said by `keep`
            return ()
        raise
    return tuple(
        sorted(
            str(service["metadata"]["name"])
            for service in services
            if any(_leads(service, pod, port) for pod in served)
        )
    )


def _leads(service: Json, pod: Json, port: int) -> bool:
    spec = service.get("spec") or {}
    chosen = spec.get("selector") or {}
    labels = pod["metadata"].get("labels") or {}
    if not chosen or not chosen.items() <= labels.items():
        return False
    names = {
        each["name"]: each["containerPort"]
        for container in pod["spec"]["containers"]
        for each in container.get("ports") or ()
        if each.get("name")
    }
    targets: list[Any] = [each.get("targetPort", each["port"]) for each in spec.get("ports") or ()]
    return any(names.get(target, target) == port for target in targets)


def address(raw: Json) -> str:
    """Return the pod's address for a URL, "" while it has none. Raises InputError."""
    found = str((raw.get("status") or {}).get("podIP") or "")
    if any(not (each.isalnum() or each in ".:") for each in found):
        raise InputError(str(raw["metadata"]["name"]), f"has no address: {found!r}")
    return f"[{found}]" if ":" in found else found
