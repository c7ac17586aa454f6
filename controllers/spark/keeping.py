"""Keeps each queue's account beyond the program's end: one ConfigMap for each, compressed JSON.

Used by the Spark controller. What is lost between the last write and a crash is seconds of virtual
time and of what was charged, which the next look at the pods makes good.

Rights used, in the installation's namespace: configmaps (list, create, update, delete).
"""

from __future__ import annotations

import base64
import gzip
import json
import logging
from hashlib import blake2b
from typing import Any

from fairstow.kube.aio.api import Api
from fairstow.kube.aio.paths import path_of
from fairstow.kube.problems import ApiError
from fairstow.spark.accounts import Account

logger = logging.getLogger(__name__)

PREFIX = "fairstow-spark-"
LABEL = "fairstow.dev/spark-account"
_KEY = "account.json.gz"
LARGEST = 900_000
"""Bytes; an object of the API has 1.5 MB at most, a third of it lost to base64."""


class Keeper:
    """See the module."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api, self._namespace = api, namespace
        self._there: set[str] = set()
        self._written: dict[str, bytes] = {}

    async def load(self) -> dict[str, Account]:
        """Return the accounts by queue; one that can't be read begins anew."""
        path = path_of("v1", "ConfigMap", namespace=self._namespace)
        found, _ = await self._api.list(path, {"labelSelector": LABEL})
        accounts = {}
        for each in found:
            queue = each["metadata"]["labels"][LABEL]
            self._there.add(queue)
            try:
                kept = base64.b64decode(each["binaryData"][_KEY])
                accounts[queue] = Account.restored(json.loads(gzip.decompress(kept)))
            except (KeyError, TypeError, ValueError, OSError, EOFError) as error:
                logger.warning("the account of SparkQueue %s begins anew: %r", queue, error)
        return accounts

    async def save(self, queue: str, account: Account) -> None:
        """Write a queue's account where it changed."""
        state = account.state()
        news = json.dumps(state | {"fair": state["fair"] | {"now": 0}}).encode()
        digest = blake2b(news, digest_size=16).digest()
        if self._written.get(queue) == digest:
            return
        kept = gzip.compress(json.dumps(state).encode(), 6)
        if len(kept) > LARGEST:
            logger.warning("the account of SparkQueue %s is too large to be kept", queue)
            return
        name = PREFIX + queue
        obj: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": name,
                "namespace": self._namespace,
                "labels": {LABEL: queue, "app.kubernetes.io/part-of": "fairstow"},
            },
            "binaryData": {_KEY: base64.b64encode(kept).decode()},
        }
        path = path_of("v1", "ConfigMap", namespace=self._namespace)
        if queue in self._there:
            try:
                await self._api.replace(f"{path}/{name}", obj)
            except ApiError as error:
                if error.status != 404:
                    raise
                self._there.discard(queue)
        if queue not in self._there:
            await self._api.create(path, obj)
            self._there.add(queue)
        self._written[queue] = digest

    async def forget(self, queue: str) -> None:
        """Delete the account of a queue that is gone."""
        if queue in self._there:
            path = path_of("v1", "ConfigMap", namespace=self._namespace, name=PREFIX + queue)
            await self._api.delete(path)
            self._there.discard(queue)
            self._written.pop(queue, None)
