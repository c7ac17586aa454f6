"""What the cache controller reads and keeps, against a server that answers from memory.

Covered: selectors as queries, Services that lead past sidecars, tokens made once and kept, rights
that are missing, sidecars that don't answer as they should. Not covered: what is decided
(tests/semantic_cache/test_cache_status.py), a real API server (e2e/test_chart.py).
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from controllers.semantic_cache import cluster
from controllers.semantic_cache.cluster import NotKeptError, label_query, read_pod
from controllers.semantic_cache.sidecars import Sidecars
from fairstow.api import LabelSelector, SemanticCache
from fairstow.kube.aio.connection import Json
from fairstow.kube.problems import ApiError
from fairstow.semantic_cache.injection import SIDECAR


def cache(**spec: Any) -> SemanticCache:
    whole = {"selector": {"matchLabels": {"app": "web"}}} | spec
    meta = {"name": "answers", "namespace": "shop", "uid": "u"}
    return SemanticCache.model_validate({"metadata": meta, "spec": whole})


class Server:
    """ConfigMaps, Secrets and Services of a namespace. Attributes: refuses: every request."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.refuses = refuses
        self.secret: Json | None = None
        self.applied: list[Json] = []
        self.services: list[Json] = []

    async def apply(self, obj: Json, _manager: str) -> Json:
        if self.refuses:
            raise ApiError(403, "no")
        self.applied.append(obj)
        return obj

    async def get(self, _path: str) -> Json:
        if self.secret is None:
            raise ApiError(404, "none")
        return self.secret

    async def create(self, _path: str, obj: Json) -> Json:
        data = {key: b64encode(value.encode()).decode() for key, value in obj["stringData"].items()}
        self.secret = {**obj, "data": data}
        return self.secret

    async def list(self, _path: str) -> tuple[list[Json], str]:
        return self.services, "1"


def keep(server: Server) -> str:
    return asyncio.run(cluster.keep(cast(Any, server), cache()))


def test_tokens_are_made_once_and_go_with_the_cache() -> None:
    server = Server()
    token = keep(server)
    assert keep(server) == token
    assert server.secret is not None
    admin, metrics = server.secret["stringData"].values()
    assert token in (admin, metrics)
    assert admin != metrics
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
        (web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}), False),
        (web.Response(text="{"), False),
        (web.Response(text="x" * (2 << 20)), False),
    ],
    ids=["stats", "refused", "elsewhere", "broken", "endless"],
)
def test_a_sidecar_that_tells_and_one_that_doesnt(answer: web.Response, told: bool) -> None:
    async def test() -> None:
        seen = []

        async def handle(request: web.Request) -> web.Response:
            seen.append(request.headers["Authorization"])
            return answer

        app = web.Application()
        app.router.add_get("/stats", handle)
        async with TestServer(app, host="127.0.0.1") as server:
            sidecars = Sidecars(server.port or 0)
            try:
                found = await sidecars.stats([pod(ip="127.0.0.1")], "token")
            finally:
                await sidecars.close()
        assert (found["a"] is not None) is told
        assert seen == ["Bearer token"]

    asyncio.run(test())


def test_a_pod_without_address_tells_nothing() -> None:
    assert asyncio.run(Sidecars().stats([pod()], "token")) == {"a": None}
