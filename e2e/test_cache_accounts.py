"""Sidecars in front of an engine know ServiceAccounts, by keys that the cluster itself tells.

The cache controller with the operator's rights on a real API server; what it writes is read as a
sidecar reads it, and shown tokens that the API server has made. Covered: that the rights are
enough, that tokens of one account are one caller, and those for others nobody's. Not covered: what
is answered to such a caller (tests/cache_sidecar), an API server that doesn't tell
(tests/controllers/test_semantic_caches.py), a sidecar in its pod (e2e/test_chart.py).
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from controllers.health import Turns
from controllers.semantic_cache.caches import CacheLoop
from e2e.crds import install_crds
from e2e.rights import bind, caching
from e2e.watching import eventually, running
from fairstow.cache_sidecar.configuration import parse
from fairstow.kube.aio.api import Api
from fairstow.kube.permissions import OPERATOR
from fairstow.semantic_cache.sidecar_file import CONFIG_KEY, holder

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.controlplane.client import Cluster
    from fairstow.kube.aio.connection import Json

pytestmark = pytest.mark.e2e

NAME, AUDIENCE = "engine", "llama.chat"


def cache(namespace: str) -> Json:
    return {
        "apiVersion": "fairstow.dev/v1alpha1",
        "kind": "SemanticCache",
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": "llama"}},
            "placement": "Server",
            "enginePort": 8000,
            "accounts": {"audience": AUDIENCE},
        },
    }


async def seen_to(operator: Cluster, cluster: Cluster, namespace: str) -> str:
    """Run the controller until it reports; return the condition's reason."""

    def reported() -> str:
        found = cluster.get("-n", namespace, f"scache/{NAME}").get("status", {})
        reasons = {each["type"]: each["reason"] for each in found.get("conditions", ())}
        return str(reasons.get("Accounts", ""))

    async with Api.connect(str(operator.kubeconfig)) as api:
        loop = CacheLoop(api, clock=time.time, turns=Turns())
        async with running(loop.watch().run, loop.run):
            return str(await eventually(lambda: asyncio.to_thread(reported), "a report"))


def test_tokens_of_one_account_are_one_caller(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    def token(audience: str) -> str:
        made = cluster.kubectl("-n", namespace, "create", "token", "web", "--audience", audience)
        return made.strip()

    install_crds(cluster)
    cluster.kubectl("-n", namespace, "create", "serviceaccount", "web")
    cluster.apply([cache(namespace)])
    with bind(cluster, OPERATOR, namespace):
        cluster.apply(caching(namespace, namespace, NAME))
        operator = cluster.as_service_account(namespace, "fairstow-operator", tmp_path / "sa")
        assert asyncio.run(seen_to(operator, cluster, namespace)) == "AccountsKnown"
    held = cluster.get("-n", namespace, "configmap", holder(NAME))
    accounts = parse(held["data"][CONFIG_KEY], "here").accounts
    assert accounts is not None
    one, renewed = token(AUDIENCE), token(AUDIENCE)
    assert one != renewed
    caller = accounts.whose(one, time.time())
    assert caller is not None
    assert caller.subject == f"{namespace}/web"
    assert accounts.whose(renewed, time.time()) == caller
    assert accounts.whose(token("another"), time.time()) is None
    forged = one.rpartition(".")[0] + "." + renewed.rpartition(".")[2]
    assert accounts.whose(forged, time.time()) is None
