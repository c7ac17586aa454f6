"""What a new pod is given so that its LLM requests pass a semantic cache.

Called by the webhook for new pods of namespaces that opted in. A pod that a SemanticCache selects
gets a native sidecar: an init container that stays (restartPolicy Always, KEP-753), placed first,
so that the pod's own init containers reach it, too. It passes requests on before model and store
are ready, and its startup probe waits for no more than that.

- Placement Client: it listens on loopback, OPENAI_BASE_URL leads to it, and it passes on to where
  that variable led before, else to `spec.upstream` (`pod_upstream`). Whoever reaches the port is
  the pod's ServiceAccount, which is written here.
- Placement Server: it listens on `PORT` of the pod and passes on to the engine's port. Callers are
  told apart by their keys.

Whatever can't be done surely isn't done: the pod runs as it is, is told why by a warning, and an
annotation tells the controller. A pod is given a sidecar once, when it is created.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from fairstow.api import SemanticCache
from fairstow.api.status import conditions_of, holds
from fairstow.cluster.errors import printable
from fairstow.cluster.restricted import RESTRICTED
from fairstow.cluster.review import Json, Reply, Request, read_part
from fairstow.cluster.selectors import selector, selects
from fairstow.semantic_cache.pod_upstream import (
    NO_PROXY,
    PORT,
    PROXIES,
    UPSTREAM,
    Container,
    UnfitError,
    Upstream,
    Variable,
    led,
    upstream_of,
)
from fairstow.semantic_cache.sidecar_file import (
    ADMIN_KEY,
    CERTIFICATE,
    CONFIG_KEY,
    METRICS_KEY,
    PRIVATE_KEY,
    holder,
)

SIDECAR = "fairstow-cache"
"""The container's name."""
ADMIN_PORT = 8449
PORT_NAME, ADMIN_PORT_NAME = "semantic-cache", "cache-admin"
INJECTED = "fairstow.dev/cache"
"""Label of a pod: the SemanticCache that it was given a sidecar of."""
REFUSED = "fairstow.dev/cache-refused"
"""Annotation of a pod: why it wasn't."""
READY = "Ready"
"""The condition without which no pod is touched: configuration and tokens are there."""

_GIVEN, _DATA = "/cache/given", "/cache/data"
_CA, _STORE_CA, _PASSWORD, _KEYS = "upstream-ca.crt", "store-ca.crt", "store-password", "keys"
_OWN_SECRET = (ADMIN_KEY, METRICS_KEY, CERTIFICATE, PRIVATE_KEY)
_GRACE_SECONDS = 5
"""The pod's containers have ended before it is told to: nobody is left to ask."""
_PASSED_ON = (*PROXIES, *NO_PROXY, "HTTPS_PROXY", "https_proxy")


class _Metadata(msgspec.Struct, frozen=True):
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}


class _System(msgspec.Struct, frozen=True):
    name: str = "linux"


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    host_network: bool = False
    service_account_name: str = ""
    os: _System = _System()
    volumes: tuple[Json, ...] | None = None


def admit(request: Request, caches: Iterable[SemanticCache], image: str) -> Reply:
    """Return the reply to the creation of a pod; it is never refused.

    Args:
        request: the review.
        caches: all that are known.
        image: of the sidecar.

    Raises:
        MalformedError: the review isn't what an API server sends.
    """
    meta = read_part(request.object, "metadata", _Metadata)
    spec = read_part(request.object, "spec", _Spec)
    cache = chosen(caches, request.namespace, meta.labels)
    if cache is None or not spec.containers:
        return Reply()
    if any(each.name == SIDECAR for each in (*spec.init_containers, *spec.containers)):
        return Reply()
    name = cache.metadata.name
    if not holds(conditions_of(cache), READY):
        return Reply(warnings=(f"fairstow: no semantic cache: {name} isn't ready yet",))
    try:
        patch = _patch(cache, request.namespace, spec, image)
    except UnfitError as error:
        said = f"fairstow: no semantic cache for this pod: {error}"
        noted = _set("annotations", meta.annotations, REFUSED, printable(str(error)))
        return Reply(warnings=(said,), patch=(noted,))
    return Reply(patch=(*patch, _set("labels", meta.labels, INJECTED, name)))


def chosen(
    caches: Iterable[SemanticCache], namespace: str, labels: Mapping[str, str]
) -> SemanticCache | None:
    """Return the cache of a pod, the first by name of those that select it; None: it has none."""
    there = (each for each in caches if each.metadata.namespace == namespace)
    wanted = (each for each in there if selects(selector(each.spec.selector), labels))
    return min(wanted, key=lambda each: each.metadata.name, default=None)


def _patch(cache: SemanticCache, namespace: str, spec: _Spec, image: str) -> list[Json]:
    if spec.host_network:
        raise UnfitError(f"with hostNetwork, port {PORT} would be its node's")
    if spec.os.name != "linux":
        raise UnfitError(f"the sidecar doesn't run on {spec.os.name}")
    everyone = (*spec.init_containers, *spec.containers)
    taken = {port.container_port for each in everyone for port in each.ports}
    if busy := taken & {PORT, ADMIN_PORT}:
        raise UnfitError(f"port {min(busy)} is the sidecar's")
    patch: list[Json] = []
    if cache.spec.placement == "Client":
        upstream = upstream_of(cache, everyone)
        for kind, members in (
            ("containers", spec.containers),
            ("initContainers", spec.init_containers),
        ):
            for number, each in enumerate(members):
                if upstream.asked_by(each):
                    patch.append(led(each, f"/spec/{kind}/{number}/env"))
    else:
        engine = Variable(UPSTREAM, f"http://127.0.0.1:{cache.spec.engine_port}")
        upstream = Upstream((engine,))
    sidecar = _sidecar(cache, namespace, spec, image, upstream)
    patch += _added("/spec/initContainers", bool(spec.init_containers), "0", [sidecar])
    return patch + _added("/spec/volumes", spec.volumes is not None, "-", _volumes(cache))


def _sidecar(
    cache: SemanticCache, namespace: str, spec: _Spec, image: str, upstream: Upstream
) -> Json:
    client = cache.spec.placement == "Client"
    account = spec.service_account_name or "default"
    asked = cache.spec.resources
    size = {"cpu": asked.cpu, "memory": asked.memory, "ephemeral-storage": asked.storage}
    at = {"path": "/healthz", "port": ADMIN_PORT, "scheme": "HTTPS"}
    healthy = {"httpGet": at, "timeoutSeconds": 5}
    args = [
        *upstream.arguments(),
        f"--config={_GIVEN}/{CONFIG_KEY}",
        f"--listen={'127.0.0.1' if client else '0.0.0.0'}:{PORT}",  # noqa: S104 - the pod's
        f"--admin-listen=0.0.0.0:{ADMIN_PORT}",
        f"--admin-token-file={_GIVEN}/{ADMIN_KEY}",
        f"--admin-certificate-file={_GIVEN}/{CERTIFICATE}",
        f"--admin-key-file={_GIVEN}/{PRIVATE_KEY}",
        f"--metrics-token-file={_GIVEN}/{METRICS_KEY}",
        f"--grace={_GRACE_SECONDS}",
    ]
    if client:
        args.append(f"--workload={namespace}/{account}")
    if cache.spec.upstream_ca is not None:
        args.append(f"--ca-file={_GIVEN}/{_CA}")
    ports = [{"name": ADMIN_PORT_NAME, "containerPort": ADMIN_PORT}]
    if not client:
        ports.append({"name": PORT_NAME, "containerPort": PORT})
    return {
        "name": SIDECAR,
        "image": image,
        "restartPolicy": "Always",
        "command": ["python", "-m", "fairstow.cache_sidecar"],
        "args": args + _kept(cache, namespace),
        "env": [
            {"name": "TMPDIR", "value": _DATA},
            *msgspec.to_builtins([*upstream.variables, *(_proxies(spec) if client else ())]),
        ],
        "ports": ports,
        "startupProbe": healthy | {"periodSeconds": 1, "failureThreshold": 120},
        "livenessProbe": healthy | {"periodSeconds": 10},
        "resources": {"requests": size, "limits": size},
        "volumeMounts": [
            {"name": f"{SIDECAR}-given", "mountPath": _GIVEN, "readOnly": True},
            {"name": f"{SIDECAR}-data", "mountPath": _DATA},
        ],
        "securityContext": RESTRICTED,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _proxies(spec: _Spec) -> Iterable[Variable]:
    """Yield the proxies that the first container with any uses."""
    for each in spec.containers:
        found = [said for name in _PASSED_ON if (said := each.variable(name)) is not None]
        if found:
            return found
    return ()


def _kept(cache: SemanticCache, namespace: str) -> list[str]:
    """Return the arguments that say where answers are kept."""
    store = cache.spec.store
    keys = [f"--encryption-keys-file={_GIVEN}/{_KEYS}"] if store.encryption_keys else []
    if (redis := store.redis) is None:
        # Over the volume's limit, the kubelet would evict the pod.
        most = _bytes(cache.spec.resources.storage) * 3 // 4
        return [f"--data={_DATA}", f"--data-bytes={most}", *keys]
    said = [
        f"--store={redis.url}",
        f"--store-prefix=fairstow-cache:{namespace}:{cache.metadata.name}",
    ]
    if redis.user is not None:
        said.append(f"--store-user={redis.user}")
    if redis.password is not None:
        said.append(f"--store-password-file={_GIVEN}/{_PASSWORD}")
    if redis.ca is not None:
        said.append(f"--store-ca-file={_GIVEN}/{_STORE_CA}")
    return said + keys


def _bytes(quantity: str) -> int:
    return int(quantity[:-2]) << {"Mi": 20, "Gi": 30}[quantity[-2:]]


def _volumes(cache: SemanticCache) -> list[Json]:
    spec, name = cache.spec, holder(cache.metadata.name)
    redis = spec.store.redis
    secrets = [(spec.store.encryption_keys, _KEYS), (redis and redis.password, _PASSWORD)]
    bundles = [(spec.upstream_ca, _CA), (redis and redis.ca, _STORE_CA)]
    sources: list[Json] = [
        {"configMap": _items(name, {CONFIG_KEY: CONFIG_KEY})},
        {"secret": _items(name, {each: each for each in _OWN_SECRET})},
        *({"secret": _items(each.name, {each.key: path})} for each, path in secrets if each),
        *({"configMap": _items(each.name, {each.key: path})} for each, path in bundles if each),
    ]
    return [
        # The sidecar isn't root, the files are, and the pod's fsGroup isn't ours to set.
        {"name": f"{SIDECAR}-given", "projected": {"defaultMode": 0o444, "sources": sources}},
        {"name": f"{SIDECAR}-data", "emptyDir": {"sizeLimit": spec.resources.storage}},
    ]


def _items(name: str, paths: Mapping[str, str]) -> Json:
    return {"name": name, "items": [{"key": key, "path": path} for key, path in paths.items()]}


def _added(at: str, there: bool, where: str, values: list[Json]) -> list[Json]:
    """Return what adds to a list that may not be there yet."""
    if not there:
        return [{"op": "add", "path": at, "value": values}]
    return [{"op": "add", "path": f"{at}/{where}", "value": each} for each in values]


def _set(kind: str, there: Mapping[str, str], key: str, value: str) -> Json:
    return {"op": "add", "path": f"/metadata/{kind}", "value": {**there, key: value}}
