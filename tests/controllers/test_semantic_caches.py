"""What the cache controller reads and keeps, against a server that answers from memory.

Covered: a turn (the status before the eviction, one cache's fault is no other's), selectors as
queries, Services that lead past sidecars, tokens made once and kept, missing rights, the cluster's
keys as the API server tells them, or doesn't, sidecars that don't answer as they should. Not
covered: what is decided (tests/semantic_cache/test_cache_status.py), a real API server
(e2e/test_chart.py, e2e/test_cache_accounts.py).
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import rsa

from controllers import metrics
from controllers.health import Turns
from controllers.semantic_cache import cluster
from controllers.semantic_cache.caches import CACHE, CacheLoop
from controllers.semantic_cache.cluster import Access, NotKeptError, label_query, read_pod
from controllers.semantic_cache.issuer import DISCOVERY, KEYS
from controllers.semantic_cache.sidecars import Sidecars
from fairstow.api import LabelSelector, SemanticCache
from fairstow.kube.aio.api import Eviction, Outcome
from fairstow.kube.aio.connection import Json
from fairstow.kube.problems import ApiError
from fairstow.kube.tls import CertificateFiles
from fairstow.semantic_cache.injection import SIDECAR


def cache(**spec: Any) -> SemanticCache:
    whole = {"selector": {"matchLabels": {"app": "web"}}} | spec
    meta = {"name": "answers", "namespace": "shop", "uid": "u"}
    return SemanticCache.model_validate({"metadata": meta, "spec": whole})


def key(kid: str, size: int = 2048) -> Json:
    numbers = rsa.generate_private_key(65537, size).public_key().public_numbers()
    modulus = urlsafe_b64encode(numbers.n.to_bytes(size // 8)).rstrip(b"=").decode()
    return {"use": "sig", "kty": "RSA", "kid": kid, "alg": "RS256", "n": modulus, "e": "AQAB"}


FIRST, SECOND, SMALL, UNKNOWN = key("1"), key("2"), key("3", 1024), {"kty": "oct", "k": "x"}


class Server:
    """ConfigMaps, Secrets and Services of a namespace.

    Attributes:
        refuses: every write. issuer: what is said of it by path, or the status of a refusal.
    """

    def __init__(self, *, refuses: bool = False) -> None:
        self.refuses = refuses
        self.secret: Json | None = None
        self.applied: list[Json] = []
        self.services: list[Json] = []
        self.issuer: dict[str, Json] | int = {
            DISCOVERY: {"issuer": "https://cluster", "jwks_uri": "https://elsewhere"},
            KEYS: {"keys": [SMALL, SECOND, FIRST, UNKNOWN]},
        }

    async def apply(self, obj: Json, _manager: str, *, subresource: str = "") -> Json:
        assert not subresource
        if self.refuses:
            raise ApiError(403, "no")
        self.applied.append(obj)
        return obj

    async def get(self, path: str) -> Json:
        if path in (DISCOVERY, KEYS):
            if isinstance(self.issuer, int):
                raise ApiError(self.issuer, "no")
            return self.issuer[path]
        if self.secret is None:
            raise ApiError(404, "none")
        return self.secret

    async def create(self, _path: str, obj: Json) -> Json:
        data = {key: b64encode(value.encode()).decode() for key, value in obj["stringData"].items()}
        self.secret = {**obj, "data": data}
        return self.secret

    async def list(self, _path: str, _query: Json | None = None) -> tuple[list[Json], str]:
        return self.services, "1"


NOW = 1_767_225_600.0


class Cluster(Server):
    """A namespace with caches `a` and `b`, and a missed pod of each.

    Attributes:
        did: what the loop wrote, in order. fails: a cache whose status can't be written.
    """

    def __init__(self, fails: str = "") -> None:
        super().__init__()
        self.fails, self.status = fails, 500
        self.did: list[str] = []
        here = cast(Any, self)
        self.loop = CacheLoop(here, clock=lambda: NOW, turns=Turns())
        for name in ("a", "b"):
            condition = {
                "type": "Ready", "status": "True", "lastTransitionTime": "2025-12-31T00:00:00Z",
                "reason": "CacheReady", "message": "",
            }  # fmt: skip
            one = cache(upstream="http://llm/v1", recreateMissed=True).to_object()
            one["metadata"] |= {"name": name}
            one["status"] = {"conditions": [condition]}
            store = self.loop._store
            store.upsert(CACHE, msgspec.Raw(msgspec.json.encode(one)))

    async def get(self, path: str) -> Json:
        if path == "/version":
            return {"major": "1", "minor": "33+"}
        if path == "/api/v1/namespaces/shop":
            return {"metadata": {"labels": {"fairstow.dev/cache": "enabled"}}}
        return await super().get(path)

    async def list(self, path: str, query: Json | None = None) -> tuple[list[Json], str]:
        if not path.endswith("/pods"):
            return await super().list(path)
        assert query is not None
        assert query["labelSelector"] == "app=web"
        missed = pod(injected=False)
        missed["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "controller": True}]
        return [missed], "1"

    async def apply(self, obj: Json, manager: str, *, subresource: str = "") -> Json:
        if not subresource:
            return await super().apply(obj, manager)
        name = obj["metadata"]["name"]
        if name == self.fails:
            raise ApiError(self.status, "no")
        self.did.append(f"status {name}")
        return {**cache(upstream="http://llm/v1").to_object(), **obj}

    async def evict(self, namespace: str, name: str, uid: str) -> Eviction:
        self.did.append(f"evict {namespace}/{name} {uid}")
        return Eviction(Outcome.REFUSED, "a budget")


def test_the_status_says_when_a_pod_goes_before_it_goes() -> None:
    at = Cluster()
    assert asyncio.run(at.loop.turn()) is not None
    assert at.did == ["status a", "evict shop/a u", "status b", "evict shop/a u"]


def test_what_fails_for_one_cache_is_no_others_and_evicts_nothing() -> None:
    at = Cluster(fails="a")
    before = metrics.TURN_FAILURES.labels("semantic-cache")._value.get()
    asyncio.run(at.loop.turn())
    assert at.did == ["status b", "evict shop/a u"]
    assert metrics.TURN_FAILURES.labels("semantic-cache")._value.get() == before + 1


def test_nobody_is_evicted_for_a_cache_that_has_just_gone() -> None:
    at = Cluster(fails="a")
    at.status = 404
    asyncio.run(at.loop.turn())
    assert at.did == ["status b", "evict shop/a u"]


def test_the_sidecars_are_told_the_clusters_keys_as_they_change() -> None:
    at = Cluster()
    asked = {"placement": "Server", "enginePort": 8000, "accounts": {"audience": "llama.chat"}}

    def told(**spec: Any) -> Json:
        asyncio.run(at.loop._see_to(cache(**spec)))
        found = json.loads(at.applied[-1]["data"]["cache.yaml"])
        return cast(Json, found.get("accounts", {}))

    def kids(said: Json) -> list[str]:
        return [each["kid"] for each in said["keys"]]

    first = told(**asked)
    assert (first["issuer"], first["audience"]) == ("https://cluster", "llama.chat")
    assert kids(first) == ["1", "2"]
    assert isinstance(at.issuer, dict)
    at.issuer[KEYS] = {"keys": [SECOND]}
    assert kids(told(**asked)) == ["2"]
    assert told() == {}

    # One that isn't told leaves each token a caller of its own; one that fails changes nothing.
    nothing: dict[str, Json] = {DISCOVERY: {}, KEYS: {}}
    unknown: dict[str, Json] = at.issuer | {KEYS: {"keys": [UNKNOWN]}}
    for at.issuer in (403, 404, nothing, unknown):
        assert told(**asked) == {}
    at.issuer = 503
    applied = len(at.applied)
    with pytest.raises(ApiError):
        told(**asked)
    assert len(at.applied) == applied


def keep(server: Server) -> Access:
    return asyncio.run(cluster.keep(cast(Any, server), cache()))


def test_tokens_are_made_once_and_go_with_the_cache() -> None:
    server = Server()
    access = keep(server)
    assert keep(server) == access
    assert server.secret is not None
    made = server.secret["stringData"]
    assert access == (made["metrics"], "fairstow-cache-answers", made["ca.crt"])
    assert made["admin"] != made["metrics"]
    (owner,) = server.secret["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("SemanticCache", "answers", "u")
    assert server.applied[0]["metadata"]["name"] == "fairstow-cache-answers"


def test_missing_rights_say_where_they_are_given() -> None:
    with pytest.raises(NotKeptError, match=r"\{namespace: shop, cache: answers\}"):
        keep(Server(refuses=True))


def test_a_secret_without_a_token_is_no_token() -> None:
    server = Server()
    server.secret = {"data": {"admin": "eA=="}}
    with pytest.raises(NotKeptError, match="has no metrics: delete it"):
        keep(server)


def test_a_selector_as_a_query() -> None:
    expressions = [
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "old", "operator": "NotIn", "values": ["yes"]},
        {"key": "x/y", "operator": "Exists"},
        {"key": "z", "operator": "DoesNotExist"},
    ]
    selector = LabelSelector.model_validate(
        {"matchLabels": {"app": "web"}, "matchExpressions": expressions}
    )
    assert label_query(selector) == "app=web,tier in (a,b),old notin (yes),x/y,!z"


def pod(*, injected: bool = True, ip: str = "") -> Json:
    sidecar = {"name": SIDECAR, "ports": [{"name": "semantic-cache", "containerPort": 8448}]}
    engine = {"name": "engine", "ports": [{"name": "http", "containerPort": 8000}]}
    return {
        "metadata": {"name": "a", "uid": "u", "labels": {"app": "llama", "v": "1"}},
        "spec": {"containers": [engine], "initContainers": [sidecar] if injected else []},
        "status": {"podIP": ip},
    }


@pytest.mark.parametrize(
    ("port", "leads"),
    [
        ({"port": 80, "targetPort": 8000}, True),
        ({"port": 80, "targetPort": "http"}, True),
        ({"port": 8000}, True),
        ({"port": 80, "targetPort": 8448}, False),
        ({"port": 80, "targetPort": "semantic-cache"}, False),
    ],
)
def test_services_that_lead_past_the_sidecars(port: Json, leads: bool) -> None:
    server = Server()
    spec = {"selector": {"app": "llama"}, "ports": [port]}
    server.services = [{"metadata": {"name": "llama"}, "spec": spec}]
    server.services.append({"metadata": {"name": "other"}, "spec": {"ports": [{"port": 8000}]}})
    before = cache(placement="Server", enginePort=8000)
    found = asyncio.run(cluster.past(cast(Any, server), before, [pod()]))
    assert found == (("llama",) if leads else ())
    assert asyncio.run(cluster.past(cast(Any, server), before, [pod(injected=False)])) == ()


def test_a_pods_controller_and_state() -> None:
    raw = pod(injected=False)
    raw["metadata"] |= {
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "annotations": {"fairstow.dev/cache-refused": "hostNetwork"},
        "ownerReferences": [{"kind": "Node"}, {"kind": "ReplicaSet", "controller": True}],
    }
    found = read_pod(raw)
    assert (found.owner, found.refused, found.injected) == ("ReplicaSet", "hostNetwork", False)
    assert found.created == 1_767_225_600


STATS = {"entries": 1, "vectors": 1, "load": 0, "categories": {}}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (web.json_response(STATS), True),
        (web.Response(status=401), False),
        (web.Response(status=302, headers={"Location": "https://127.0.0.1:1/"}), False),
        (web.Response(text="{"), False),
        (web.Response(text="x" * (2 << 20)), False),
    ],
    ids=["stats", "refused", "elsewhere", "broken", "endless"],
)
def test_a_sidecar_that_tells_and_one_that_doesnt(
    answer: web.Response, told: bool, tmp_path: Path
) -> None:
    holds, access = made()
    assert asked(answer, holds, access, tmp_path) == (told, [f"Bearer {access.token}"])


def test_no_token_is_shown_to_who_only_poses_as_a_sidecar(tmp_path: Path) -> None:
    holds, own = made()
    _, another = made()
    for access in (another, own._replace(name="fairstow-cache-b"), own._replace(authority="none")):
        assert asked(web.json_response(STATS), holds, access, tmp_path) == (False, [])


def made() -> tuple[Json, Access]:
    """What a Secret holds, and how its sidecars are asked."""
    server = Server()
    access = keep(server)
    assert server.secret is not None
    return server.secret["stringData"], access


def asked(
    answer: web.Response, holds: Json, access: Access, folder: Path
) -> tuple[bool, list[str]]:
    """Whether one who answers so tells its counts, and which tokens it was shown."""
    files = CertificateFiles(folder / "tls.crt", folder / "tls.key")
    for path in (files.certificate, files.key):
        path.write_text(holds[path.name])

    async def test() -> tuple[bool, list[str]]:
        seen = []

        async def handle(request: web.Request) -> web.Response:
            seen.append(request.headers["Authorization"])
            return answer

        app = web.Application()
        app.router.add_get("/stats", handle)
        server = TestServer(app, host="127.0.0.1", scheme="https")
        await server.start_server(ssl=files.context())
        sidecars = Sidecars(server.port or 0)
        try:
            found = await sidecars.stats([pod(ip="127.0.0.1")], access)
        finally:
            await sidecars.close()
            await server.close()
        return found["a"] is not None, seen

    return asyncio.run(test())
