"""Tokens that a real API server signs, checked by the keys that it publishes.

Covered: a ServiceAccount's token is its account's by the API server's own /openid/v1/jwks and
issuer, for its audience only. Not covered: rotation of the server's keys.
"""

from __future__ import annotations

import json
import time

import msgspec

from e2e.controlplane.client import Cluster
from fairstow.cache_sidecar.accounts import Accounts, AccountsSpec


def test_a_real_token_is_its_accounts(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("-n", namespace, "create", "serviceaccount", "web")
    told = json.loads(cluster.kubectl("get", "--raw", "/.well-known/openid-configuration"))
    keys = json.loads(cluster.kubectl("get", "--raw", "/openid/v1/jwks"))["keys"]
    said = {"issuer": told["issuer"], "audience": "cache", "keys": keys}
    accounts = Accounts(msgspec.convert(said, AccountsSpec))
    for audience, whose in (("cache", f"{namespace}/web"), ("other", None)):
        token = cluster.kubectl(
            "-n", namespace, "create", "token", "web", f"--audience={audience}"
        ).strip()
        found = accounts.whose(token, time.time())
        assert (found.subject if found else None) == whose
