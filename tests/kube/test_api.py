"""Requests of programs that stay: what is sent again, what replies mean, what is said of faults.

Only faults that a healthy API server doesn't produce; e2e/test_eviction.py writes to a real one,
and finding a kubeconfig is in test_client.py.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from fairstow.cluster.errors import InputError
from fairstow.kube.aio.api import Api, Eviction, Outcome
from fairstow.kube.problems import ApiError
from tests.kube.scripted import following
from tests.kube.server import kubeconfig
from tests.kube.test_client import free_port

POD = "/api/v1/namespaces/team/pods/web-0"
AGAIN = {"Retry-After": "0"}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


class Replies:
    """Gives replies (status, body, headers) in turn. Attributes: heard: (method, path, body)."""

    def __init__(self, *replies: tuple[int, Any, dict[str, str]]) -> None:
        self.heard: list[tuple[str, str, bytes]] = []
        self.types: list[str] = []
        self._replies = list(replies)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.heard.append((request.method, request.path_qs, await request.read()))
        self.types.append(request.headers["Content-Type"])
        status, body, headers = self._replies.pop(0)
        return web.json_response(body, status=status, headers=headers)


def ask(folder: Path, replies: Replies, request: Callable[[Api], Awaitable[Any]]) -> Any:
    async def scenario() -> Any:
        async with following(replies, folder) as api:
            return await request(api)

    return asyncio.run(scenario())


REQUESTS: dict[str, Callable[[Api], Awaitable[Any]]] = {
    "GET": lambda api: api.get(POD),
    "POST": lambda api: api.create("/api/v1/namespaces/team/pods", {}),
    "PUT": lambda api: api.replace(POD, {}),
    "PATCH": lambda api: api.patch(POD, {}),
    "DELETE": lambda api: api.delete(POD),
}


@pytest.mark.parametrize("method", REQUESTS)
def test_a_server_that_is_too_busy_to_look_is_asked_again(tmp_path: Path, method: str) -> None:
    replies = Replies((429, {}, AGAIN), (429, {}, AGAIN), (200, {}, {}))
    ask(tmp_path, replies, REQUESTS[method])
    assert [heard[0] for heard in replies.heard] == [method] * 3


@pytest.mark.parametrize("method", REQUESTS)
def test_what_may_have_been_done_is_never_sent_again(tmp_path: Path, method: str) -> None:
    replies = Replies(*[(503, {"message": "etcd"}, AGAIN)] * 4)
    with pytest.raises(ApiError) as refused:
        ask(tmp_path, replies, REQUESTS[method])
    assert (refused.value.status, refused.value.said) == (503, "etcd")
    assert len(replies.heard) == (4 if method == "GET" else 1)


BUDGET = {
    "message": "Cannot evict pod as it would violate the pod's disruption budget.",
    "details": {"causes": [{"reason": "DisruptionBudget", "message": "needs 1 healthy pods"}]},
}
OTHER_UID = {"message": "Precondition failed: UID in precondition: a, UID in object meta: b"}


@pytest.mark.parametrize(
    ("replies", "outcome"),
    [
        ([(201, {}, {})], Outcome.EVICTED),
        ([(404, {"message": "not found"}, {})], Outcome.GONE),
        ([(409, OTHER_UID, {})], Outcome.GONE),
        ([(409, {"message": "the object has been modified"}, {})], Outcome.FAILED),
        ([(429, BUDGET, {"Retry-After": "10"})], Outcome.REFUSED),
        ([(429, {}, AGAIN), (201, {}, {})], Outcome.EVICTED),
        ([(429, {}, AGAIN)] * 4, Outcome.FAILED),
        ([(500, {"message": "more than one PodDisruptionBudget"}, {})], Outcome.FAILED),
        ([(504, {"message": "couldn't update due to conflicts"}, AGAIN)], Outcome.FAILED),
    ],
)
def test_outcomes_of_evictions(
    tmp_path: Path, replies: list[tuple[int, Any, dict[str, str]]], outcome: Outcome
) -> None:
    given = Replies(*replies)
    reply: Eviction = ask(tmp_path, given, lambda api: api.evict("team", "web-0", "u", grace=5))
    assert reply.outcome is outcome
    assert len(given.heard) == len(replies)
    method, path, body = given.heard[0]
    assert (method, path) == ("POST", f"{POD}/eviction")
    options = json.loads(body)["deleteOptions"]
    assert options == {"preconditions": {"uid": "u"}, "gracePeriodSeconds": 5}
    if outcome is Outcome.REFUSED:
        assert reply.retry_after == 10
        assert "disruption budget" in reply.said


def test_server_side_apply_names_manager_and_subresource(tmp_path: Path) -> None:
    replies = Replies((200, {}, {}))
    plan = {
        "apiVersion": "fairstow.dev/v1alpha1",
        "kind": "PackingPlan",
        "metadata": {"name": "plan-1"},
    }
    ask(tmp_path, replies, lambda api: api.apply(plan, "fairstow-operator", subresource="status"))
    (method, path, body), (form,) = replies.heard[0], replies.types
    assert (method, form) == ("PATCH", "application/apply-patch+yaml")
    assert path == (
        "/apis/fairstow.dev/v1alpha1/packingplans/plan-1/status"
        "?fieldManager=fairstow-operator&force=true"
    )
    assert json.loads(body) == plan


def test_a_reply_that_is_no_object_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its reply is no Kubernetes object"):
        ask(tmp_path, Replies((200, [1], {})), REQUESTS["GET"])


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    port = free_port()
    path = tmp_path / "config"
    path.write_text(kubeconfig(f"http://127.0.0.1:{port}"))

    async def scenario() -> None:
        async with Api.connect(str(path)) as api:
            with pytest.raises(InputError, match=f"127.0.0.1:{port} refuses connections"):
                await api.get(POD)
            with pytest.raises(InputError, match=f"127.0.0.1:{port} refuses connections"):
                async for _ in api.watch(POD, "1"):
                    pass

    asyncio.run(scenario())


def test_a_host_without_an_address_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(kubeconfig("https://no.such.host.invalid"))

    async def scenario() -> None:
        async with Api.connect(str(path)) as api:
            with pytest.raises(InputError, match="has no address"):
                await api.get(POD)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2]", "isn't a kubeconfig"),
        ("kind: Config", "no current context|usable kubeconfig"),
        (
            kubeconfig("https://x", {"exec": {"apiVersion": "v1", "command": "no-such-plugin"}}),
            "credential plugin failed.*no-such-plugin",
        ),
    ],
)
def test_a_kubeconfig_that_is_no_use_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)

    async def scenario() -> None:
        async with Api.connect(str(path)):
            pass

    with pytest.raises(InputError, match=said) as refused:
        asyncio.run(scenario())
    assert str(path) in refused.value.where


def test_without_a_kubeconfig_and_outside_a_pod_there_is_none() -> None:
    async def scenario() -> None:
        async with Api.connect():
            pass

    with pytest.raises(InputError, match=r"\.kube/config: no such kubeconfig"):
        asyncio.run(scenario())
