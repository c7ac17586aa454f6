"""Tokens of ServiceAccounts as clients' keys.

Covered: whose token is looked at by the API server at all, how many at once, what is done when it
can't be asked; tenants that name accounts. The API server is a stand-in here; a real one is asked
in e2e/serving/test_gateway.py.
"""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from fairstow.cluster.errors import InputError
from fairstow.gateway import accounts
from fairstow.gateway.accounts import TokenAccounts, claimed
from fairstow.gateway.tenants import parse
from fairstow.kube.review import Access, Answer, Reviewer
from fairstow.web.errors import ApiError
from fairstow.web.tokens import LONGEST

POOL = "gateway.fairstow.dev/ml/llama"
TENANTS = "[{name: a, keys: [k], serviceAccounts: [ml/app]}, {name: b, serviceAccounts: [x/y]}]"


def token(user: str = "system:serviceaccount:ml:app", audience: Any = (POOL,)) -> str:
    claims = {"sub": user, "aud": audience, "exp": 5}
    payload = urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{payload}.c2ln"


@dataclass
class Api:
    """Says whose tokens are."""

    user: str = "system:serviceaccount:ml:app"
    asked: list[str] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    now: int = 0
    most: int = 0

    async def whose(self, shown: str, _audience: str) -> Answer:
        self.asked.append(shown)
        self.now += 1
        self.most = max(self.most, self.now)
        await self.open.wait()
        self.now -= 1
        if not self.user:
            raise InputError("the API server", "isn't there")
        return Answer(Access.ALLOWED, self.user)


def tenants(api: Api) -> Any:
    return parse("test", TENANTS, lambda: 0.0, 1, TokenAccounts(cast("Reviewer", api), POOL))


def test_a_token_is_its_accounts_tenant() -> None:
    async def test() -> None:
        api = Api()
        api.open.set()
        known = tenants(api)
        assert (await known.find(f"Bearer {token()}")).name == "a"
        assert (await known.find("Bearer k")).name == "a"
        # It isn't whose it says to be.
        with pytest.raises(ApiError, match="Incorrect") as refused:
            await known.find(f"Bearer {token('system:serviceaccount:x:y')}")
        assert refused.value.status == 401

    asyncio.run(test())


@pytest.mark.parametrize(
    "shown",
    [
        "sk-some-key",
        "a.b.c",
        "..",
        "e30.!!!.x",
        token("system:serviceaccount:ml:other"),
        token("ml:app"),
        token("system:node:ml:app"),
        token(audience=["https://kubernetes.default.svc"]),
        token(audience=5),
        token() + "x" * LONGEST,
        "é.é.é",
        "e30." + urlsafe_b64encode(b'{"deep":' + b"[" * 2_000).decode() + ".x",
    ],
)
def test_nobody_is_asked_about_what_cant_be_a_tenants(shown: str) -> None:
    async def test() -> None:
        api = Api()
        with pytest.raises(ApiError) as refused:
            await tenants(api).find(f"Bearer {shown}")
        assert refused.value.status == 401
        assert api.asked == []

    asyncio.run(test())


def test_few_are_asked_about_at_once_and_few_wait() -> None:
    async def test() -> None:
        api = Api()
        known = tenants(api)
        count = accounts.MOST_WAITING + 5
        asking = [
            asyncio.create_task(known.find(f"Bearer {token()}{number}")) for number in range(count)
        ]
        await asyncio.sleep(0)
        api.open.set()
        found = await asyncio.gather(*asking, return_exceptions=True)
        refused = [each for each in found if isinstance(each, ApiError)]
        assert [each.status for each in refused] == [503] * 5
        assert api.most == accounts.AT_ONCE

    asyncio.run(test())


def test_an_api_server_that_cant_be_asked_is_no_wrong_key() -> None:
    async def test() -> None:
        api = Api(user="")
        api.open.set()
        with pytest.raises(ApiError) as refused:
            await tenants(api).find(f"Bearer {token()}")
        assert refused.value.status == 503
        assert (await tenants(api).find("Bearer k")).name == "a"

    asyncio.run(test())


def test_whose_a_token_says_to_be() -> None:
    assert claimed(token(), POOL) == "ml/app"
    assert claimed(token(audience=POOL), POOL) == "ml/app"
    assert claimed(token(), "gateway.fairstow.dev/ml/other") == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[{name: a}]", "a key or a ServiceAccount"),
        ("[{name: a, serviceAccounts: [app]}]", "no ServiceAccount"),
        ("[{name: a, serviceAccounts: [x/y]}, {name: b, serviceAccounts: [x/y]}]", "in common"),
    ],
)
def test_wrong_tenants_are_explained(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse("test", text, lambda: 0.0, 1, TokenAccounts(cast("Reviewer", Api()), POOL))


def test_accounts_are_known_on_a_cluster_only() -> None:
    with pytest.raises(InputError, match="on a cluster only"):
        parse("test", TENANTS, lambda: 0.0)
