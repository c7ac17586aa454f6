"""A gateway that serves a pool of a real API server: operator, webhook, engines, an OpenAI client.

Covered: engines and tenants come from the ServingPool and its Secrets; an eviction drains the
engine, its streams go on elsewhere token by token, and then the pod may go; the ledger is shown to
the operator and to nobody else; the token of a tenant's ServiceAccount is as good as a key. The
engines are cost-model servers beside the cluster, whose pods are given their addresses. Not
covered: the chart's part, and gateways as pods.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import openai
import pytest
import yaml

from e2e.own_webhook import Webhook
from e2e.rights import bind
from e2e.serving.scene import controller, engine, pool
from e2e.serving.test_evictions import evict, plain
from e2e.watching import eventually
from fairstow.kube.permissions import GATEWAY, OPERATOR
from tests.gateway.gateways import expected, free_ports, process, streamed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from e2e.controlplane.client import Cluster

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
HOSTS = {"a": "127.0.0.2", "b": "127.0.0.3"}
KEY = "sk-one"
TENANTS = [
    {"name": "one", "keys": [KEY]},
    {"name": "two", "serviceAccounts": ["{namespace}/default"], "requestsPerMinute": 2},
]


def own_address() -> str:
    """This machine's address: EndpointSlices take none of the loopback's. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError as error:
            pytest.skip(f"this machine has no address of its own: {error}")
        return str(probe.getsockname()[0])


def endpoint(namespace: str, address: str, port: int, name: str = "gateway-0") -> dict[str, Any]:
    """What Kubernetes makes of the gateway's Service, of one of its pods."""
    labels = {
        "kubernetes.io/service-name": "gateway",
        "fairstow.dev/serving-pool": "llama",
        "endpointslice.kubernetes.io/managed-by": "tests",
    }
    pod = {"kind": "Pod", "name": name, "namespace": namespace}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "targetRef": pod}],
        "ports": [{"name": "https-admin", "port": port, "protocol": "TCP"}],
    }


def secrets(namespace: str) -> list[dict[str, Any]]:
    """The tenants, and the gateway's right to read them, as the chart grants it."""
    name = {"name": "tenants", "namespace": namespace}
    rule = {
        "apiGroups": [""],
        "resources": ["secrets"],
        "resourceNames": ["tenants"],
        "verbs": ["get"],
    }
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "tenants"}
    who = {"kind": "ServiceAccount", "name": "fairstow-gateway", "namespace": namespace}
    rbac = "rbac.authorization.k8s.io/v1"
    tenants = json.loads(json.dumps(TENANTS).replace("{namespace}", namespace))
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": name,
            "stringData": {"tenants.yaml": yaml.safe_dump(tenants)},
        },
        {
            "apiVersion": rbac,
            "kind": "Role",
            "metadata": name,
            "rules": [rule | {"verbs": ["get"]}],
        },
        {
            "apiVersion": rbac,
            "kind": "RoleBinding",
            "metadata": name,
            "roleRef": role,
            "subjects": [who],
        },
    ]


@asynccontextmanager
async def gateway(
    account: Cluster, ref: str, address: str, *options: str, name: str = "gateway-0"
) -> AsyncIterator[tuple[int, int]]:
    """Run the program with its own rights; yields the ports of clients and of the operator."""
    clients, admin = free_ports(2)
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fairstow.gateway", "--serving-pool", ref, "--grace", "1"),
        *("--kubeconfig", str(account.kubeconfig), "--name", name, *options),
        *("--listen", f"127.0.0.1:{clients}", "--admin-listen", f"{address}:{admin}"),
        cwd=ROOT,
    )
    try:
        yield clients, admin
    finally:
        program.terminate()
        await program.wait()


async def ledger(address: str, port: int, token: str = "") -> int:
    """Ask for the ledger; return the status."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession() as session:
        url = f"https://{address}:{port}/ledger"
        async with session.get(url, headers=headers, ssl=_unverified()) as reply:
            return reply.status


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def place(cluster: Cluster, namespace: str) -> None:
    """Give the engines' pods the addresses at which the servers are."""
    for name, host in HOSTS.items():
        cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", f"pod/{name}")
        body = json.dumps({"status": {"podIP": host, "podIPs": [{"ip": host}]}})
        patch = ("patch", f"pod/{name}", "--subresource=status", "--type=merge", "-p", body)
        cluster.kubectl("-n", namespace, *patch)


async def token(cluster: Cluster, namespace: str, account: str, *, meant: bool = True) -> str:
    """Return a token of an account, meant for the pool's gateways or for the API server."""
    audience = [f"--audience=gateway.fairstow.dev/{namespace}/llama"] if meant else []
    asked = ("-n", namespace, "create", "token", account, *audience)
    return (await asyncio.to_thread(cluster.kubectl, *asked)).strip()


async def only_the_operator_is_shown_the_ledger(
    cluster: Cluster, namespace: str, address: str, admin: int
) -> None:
    assert await ledger(address, admin) == 401
    elsewhere = await token(cluster, namespace, "fairstow-operator", meant=False)
    assert await ledger(address, admin, elsewhere) == 401
    assert await ledger(address, admin, await token(cluster, namespace, "default")) == 403


def client_of(port: int, key: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=key, max_retries=0)


async def accounts_are_tenants(cluster: Cluster, namespace: str, port: int) -> None:
    good = await token(cluster, namespace, "default")
    head, body, signature = good.split(".")
    async with client_of(port, good) as client:
        for _ in range(2):
            assert await streamed(client, "hi", 5) == expected("hi", 5)
        with pytest.raises(openai.RateLimitError):
            await streamed(client, "hi", 5)
    for wrong in (
        await token(cluster, namespace, "default", meant=False),
        await token(cluster, namespace, "fairstow-operator"),
        f"{head}.{body}.{signature[::-1]}",
    ):
        async with client_of(port, wrong) as client:
            with pytest.raises(openai.AuthenticationError):
                await streamed(client, "hi", 5)


def test_an_engine_is_evicted_and_no_stream_breaks(
    webhook: Webhook, namespace: str, gpu_nodes: Callable[..., list[str]], tmp_path: Path
) -> None:
    cluster = webhook.cluster
    (node,) = gpu_nodes(1, gpus=0)
    address, (port,) = own_address(), free_ports(1)
    identity = f"system:serviceaccount:{namespace}:fairstow-operator"
    cluster.apply([plain(engine(namespace, name, node=node)) for name in HOSTS])
    place(cluster, namespace)

    async def scenario() -> None:
        accounts = [
            await asyncio.to_thread(
                cluster.as_service_account, namespace, f"fairstow-{each}", tmp_path / each
            )
            for each in ("operator", "gateway")
        ]
        async with AsyncExitStack() as stack:
            for host in HOSTS.values():
                await stack.enter_async_context(process(port, "--host", host, "--speed", "2"))
            clients, admin = await stack.enter_async_context(
                gateway(accounts[1], f"{namespace}/llama", address)
            )
            served = pool(namespace, port=port)
            served["spec"]["tenants"] = {"name": "tenants", "key": "tenants.yaml"}
            slices = endpoint(namespace, address, admin)
            await asyncio.to_thread(cluster.apply, [*secrets(namespace), served, slices])
            await stack.enter_async_context(controller(accounts[0], identity))
            await eventually(lambda: status(cluster, namespace).get("ready") == 2, "the engines")

            await only_the_operator_is_shown_the_ledger(cluster, namespace, address, admin)
            await accounts_are_tenants(cluster, namespace, clients)
            client = await stack.enter_async_context(client_of(clients, KEY))
            asked = [(f"prompt {number}", 400) for number in range(8)]
            answers = [asyncio.create_task(streamed(client, *each)) for each in asked]
            await eventually(lambda: status(cluster, namespace).get("running") == 8, "streams")

            async def evicted() -> bool:
                return await asyncio.to_thread(evict, cluster, namespace, "a") == ""

            assert not await evicted()
            await eventually(evicted, "the eviction")
            (drain,) = await asyncio.to_thread(cluster.items, "-n", namespace, "instancedrains")
            said = drain["status"]
            assert said["conditions"][0]["reason"] == "Drained"
            assert (said["moved"] > 0, said["recomputed"]) == (True, 0)
            assert await asyncio.gather(*answers) == [expected(*each) for each in asked]
            await eventually(lambda: moved_to_b(cluster, namespace), "the migrations' report")
            await asyncio.to_thread(whoever_may_list_pools_sees_it, cluster, namespace, tmp_path)

    with bind(cluster, OPERATOR, namespace), bind(cluster, GATEWAY, namespace):
        asyncio.run(scenario())


def moved_to_b(cluster: Cluster, namespace: str) -> bool:
    found = status(cluster, namespace).get("migrations", [])
    return any(
        (each["from"], each["to"], each["outcome"]) == ("a", "b", "Copied") for each in found
    )


def whoever_may_list_pools_sees_it(cluster: Cluster, namespace: str, folder: Path) -> None:
    """The command line with no other right, and in this namespace alone."""
    rules = ("create", "role", "see", "--verb=list", "--resource=servingpools.fairstow.dev")
    who = ("create", "rolebinding", "see", "--role=see", f"--serviceaccount={namespace}:default")
    for words in (rules, who):
        cluster.kubectl("-n", namespace, *words)
    viewer = cluster.as_service_account(namespace, "default", folder / "viewer")

    def fairstow(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fairstow.cli", *words]
        command += ["--kubeconfig", str(viewer.kubeconfig)]
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )

    moves = fairstow("migrations", "llama", "-n", namespace, "-o", "json")
    assert moves.returncode == 0, moves.stderr
    assert {"pool": "llama", "from": "a", "to": "b", "reason": "Drain"}.items() <= json.loads(
        moves.stdout
    )[0].items()
    engines = fairstow("pools", "--serving", "-n", namespace)
    assert "Serving" in engines.stdout, engines.stderr
    assert fairstow("migrations").returncode == 3, "it may not list other namespaces"


def status(cluster: Cluster, namespace: str) -> dict[str, Any]:
    found: dict[str, Any] = cluster.get("-n", namespace, "servingpool/llama").get("status", {})
    return found
