"""Accounts that outlive the program, as ConfigMaps of a stand-in for the API server.

Covered: the same order after a restart, no write without news, a ConfigMap that somebody damaged or
deleted, one of another replica. Not covered: a real API server (e2e/spark_admission).
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from controllers.spark.keeping import Keeper
from fairstow.kube.aio.api import Api
from fairstow.kube.problems import ApiError
from fairstow.spark.accounts import Account
from tests.spark_admission.test_accounts import Queue, app

PATH = "/api/v1/namespaces/fairstow-system/configmaps"


class Server:
    """ConfigMaps by name."""

    def __init__(self) -> None:
        self.maps: dict[str, dict[str, Any]] = {}
        self.writes = 0

    async def list(self, path: str, query: dict[str, str]) -> tuple[list[dict[str, Any]], str]:
        assert (path, query) == (PATH, {"labelSelector": "fairstow.dev/spark-account"})
        return list(self.maps.values()), "1"

    async def create(self, path: str, obj: dict[str, Any]) -> None:
        assert path == PATH
        self.writes += 1
        self.maps[obj["metadata"]["name"]] = obj

    async def replace(self, path: str, obj: dict[str, Any]) -> None:
        if obj["metadata"]["name"] not in self.maps:
            raise ApiError(404, "not found", "NotFound")
        await self.create(path.rpartition("/")[0], obj)

    async def delete(self, path: str) -> None:
        del self.maps[path.rpartition("/")[2]]


def keeper(server: Server) -> Keeper:
    return Keeper(cast(Api, server), "fairstow-system")


def used() -> Account:
    queue = Queue()
    queue.look(0, app("bob-0", "bob"), app("bob-1", "bob"), app("ana-0", "ana", created=1))
    return queue.account


def test_an_account_is_read_as_it_was_written() -> None:
    server, account = Server(), used()
    asyncio.run(keeper(server).save("analytics", account))
    (found,) = asyncio.run(keeper(server).load()).items()
    assert found[0] == "analytics"
    assert found[1].order() == account.order()


def test_only_news_is_written() -> None:
    server, account = Server(), Queue().account
    one = keeper(server)
    asyncio.run(one.save("q", account))
    account.fair.advance(60)  # nobody is there, so nothing but the time goes on
    asyncio.run(one.save("q", account))
    assert server.writes == 1
    asyncio.run(one.save("q", used()))
    assert server.writes == 2


def test_one_that_was_deleted_is_made_anew_and_goes_with_its_queue() -> None:
    server = Server()
    one = keeper(server)
    asyncio.run(one.save("q", Queue().account))
    server.maps.clear()
    asyncio.run(one.save("q", used()))
    assert list(server.maps) == ["fairstow-spark-q"]
    asyncio.run(one.forget("q"))
    asyncio.run(one.forget("q"))
    assert server.maps == {}


def test_a_damaged_one_begins_anew_and_harms_no_other() -> None:
    server = Server()
    one = keeper(server)
    for name in ("a", "b", "c"):
        asyncio.run(one.save(name, used()))
    server.maps["fairstow-spark-a"]["binaryData"] = {"account.json.gz": "bm90aGluZw=="}
    del server.maps["fairstow-spark-b"]["binaryData"]
    assert list(asyncio.run(keeper(server).load())) == ["c"]
