"""Our certificates as Secrets and in webhook configurations of a real API server.

The loop runs with the rights that the chart gives the operator and no others. Covered: the first
run, idempotence, a change of authority with the clock moved on, lost and foreign Secrets, being
killed between any two requests, two at once. Not covered: what is decided when
(tests/kube/test_certificates.py), pods that mount the Secrets (e2e/test_chart.py).
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from controllers.certs.keep import reconcile
from controllers.certs.secrets import TRUSTS, Settings
from e2e.rights import bind
from fairstow.kube import authority
from fairstow.kube.aio.api import Api
from fairstow.kube.permissions import AUTHORITY_SECRET, LEAF_SECRETS, OPERATOR

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.controlplane.client import Cluster

pytestmark = pytest.mark.e2e

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
YEAR = timedelta(days=365)


@pytest.fixture
def operator(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[str]:
    """The kubeconfig of an operator in `namespace`, beside what the chart would install."""
    cluster.apply([*configurations(namespace), deployment(namespace)])
    with bind(cluster, OPERATOR, namespace):
        account = f"fairstow-{OPERATOR.name}"
        yield str(cluster.as_service_account(namespace, account, tmp_path / "sa").kubeconfig)
    for obj in configurations(namespace):
        cluster.kubectl("delete", obj["kind"], obj["metadata"]["name"])


def configurations(namespace: str) -> list[dict[str, Any]]:
    service = {"name": "fairstow-webhook", "namespace": namespace, "path": "/nobody"}
    webhooks = [
        {
            "name": f"{name}.fairstow.dev",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Ignore",
            "timeoutSeconds": 1,
            "clientConfig": {"service": service},
            "rules": [],
        }
        for name in ("one", "other")
    ]
    return [
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": f"{kind}WebhookConfiguration",
            "metadata": {"name": "fairstow"},
            "webhooks": webhooks,
        }
        for kind in ("Mutating", "Validating")
    ]


def deployment(namespace: str) -> dict[str, Any]:
    labels = {"app": "scheduler"}
    container = {"name": "scheduler", "image": "none"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "fairstow-scheduler", "namespace": namespace},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def keep(operator: str, namespace: str, now: datetime, stop_after: int | None = None) -> None:
    """Run the loop's turn once; with `stop_after`, only so many requests get through."""

    async def turn() -> None:
        async with Api.connect(operator) as api:
            if stop_after is not None:
                limit(api, stop_after)
            await reconcile(api, Settings(namespace=namespace), now)

    asyncio.run(turn())


class KilledError(BaseException):
    """The process ended here."""


def limit(api: Api, writes: int) -> None:
    left = iter(range(writes))

    def counted(method: Any) -> Any:
        async def call(*args: Any, **more: Any) -> Any:
            if next(left, None) is None:
                raise KilledError
            return await method(*args, **more)

        return call

    for name in ("create", "replace", "apply", "patch"):
        setattr(api, name, counted(getattr(api, name)))


class Stored:
    """What the API server holds."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.secrets = {
            item["metadata"]["name"]: {k: b64decode(v) for k, v in item["data"].items()}
            for item in cluster.items("-n", namespace, "secrets")
        }
        self.bundles = [
            b64decode(webhook["clientConfig"].get("caBundle", ""))
            for kind in ("mutating", "validating")
            for webhook in cluster.get(f"{kind}webhookconfiguration", "fairstow")["webhooks"]
        ]
        template = cluster.get("-n", namespace, "deployment", "fairstow-scheduler")["spec"]
        self.rolled = template["template"]["metadata"].get("annotations", {}).get(TRUSTS)

    @property
    def authority(self) -> str:
        own = self.secrets[AUTHORITY_SECRET]
        facts = authority.read(own["tls.crt"], own["tls.key"])
        assert facts is not None
        return facts.id

    @property
    def trusted(self) -> list[str]:
        return [f.id for f, _ in authority.read_bundle(self.secrets[AUTHORITY_SECRET]["ca.crt"])]

    def signers(self) -> set[str]:
        found = (authority.read(s["tls.crt"], s["tls.key"]) for s in map(self.leaf, LEAF_SECRETS))
        return {facts.issuer for facts in found if facts is not None}

    def leaf(self, name: str) -> dict[str, bytes]:
        return self.secrets[name]

    def check(self) -> None:
        """Assert that everything is there, and trusted by everybody."""
        assert self.secrets.keys() >= {AUTHORITY_SECRET, *LEAF_SECRETS}
        assert self.signers() <= set(self.trusted)
        bundle = self.secrets[AUTHORITY_SECRET]["ca.crt"]
        assert {self.leaf(name)["ca.crt"] for name in LEAF_SECRETS} == {bundle}
        assert set(self.bundles) == {bundle}
        assert self.rolled == self.trusted[-1]


def test_the_first_turn_makes_everything_and_the_second_nothing(
    cluster: Cluster, operator: str, namespace: str
) -> None:
    keep(operator, namespace, NOW)
    first = Stored(cluster, namespace)
    first.check()
    keep(operator, namespace, NOW + HOUR)
    assert Stored(cluster, namespace).secrets == first.secrets


def test_an_authority_is_succeeded_by_another_with_both_trusted_meanwhile(
    cluster: Cluster, operator: str, namespace: str
) -> None:
    keep(operator, namespace, NOW)
    before = Stored(cluster, namespace)
    late = NOW + 4.5 * YEAR
    keep(operator, namespace, late)
    both = Stored(cluster, namespace)
    both.check()
    assert both.authority == before.authority
    assert len(both.trusted) == 2
    keep(operator, namespace, late + HOUR)
    signing = Stored(cluster, namespace)
    signing.check()
    assert signing.signers() == {signing.authority} == {both.trusted[1]}
    assert len(signing.trusted) == 2
    keep(operator, namespace, late + 2 * HOUR)
    after = Stored(cluster, namespace)
    after.check()
    assert after.trusted == [signing.authority]


def test_a_turn_killed_after_any_write_is_carried_on(
    cluster: Cluster, operator: str, namespace: str
) -> None:
    keep(operator, namespace, NOW)
    for turn in range(9):
        with suppress(KilledError):
            keep(operator, namespace, NOW + 4.5 * YEAR + turn * HOUR, stop_after=turn % 3)
        stored = Stored(cluster, namespace)
        assert stored.signers() <= set(stored.trusted)
    keep(operator, namespace, NOW + 4.5 * YEAR + 20 * HOUR)
    keep(operator, namespace, NOW + 4.5 * YEAR + 22 * HOUR)
    Stored(cluster, namespace).check()


@pytest.mark.parametrize("name", [AUTHORITY_SECRET, *LEAF_SECRETS])
def test_a_secret_that_was_deleted_or_spoilt_is_made_anew(
    cluster: Cluster, operator: str, namespace: str, name: str
) -> None:
    keep(operator, namespace, NOW)
    cluster.kubectl("-n", namespace, "delete", "secret", name)
    keep(operator, namespace, NOW)
    Stored(cluster, namespace).check()
    spoilt = '{"data": {"tls.key": "c3BvaWx0"}}'
    cluster.kubectl("-n", namespace, "patch", "secret", name, "--type=merge", "-p", spoilt)
    keep(operator, namespace, NOW)
    Stored(cluster, namespace).check()


def test_two_at_once_agree(cluster: Cluster, operator: str, namespace: str) -> None:
    async def both() -> None:
        async with Api.connect(operator) as one, Api.connect(operator) as other:
            settings = Settings(namespace=namespace)
            await asyncio.gather(reconcile(one, settings, NOW), reconcile(other, settings, NOW))

    asyncio.run(both())
    keep(operator, namespace, NOW)
    Stored(cluster, namespace).check()
