"""Two gateways of one pool on a real API server, and the operator that sees both.

Covered: each hears what the other has on the engines, by a token that opens nothing else; requests
move as the operator proposes, which sees the sum of both, and as the gateways themselves see fit
once nobody leads them. Marked `full`, since it takes long. Not covered: gateways as pods, and which
moves help (tests/serving).
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import openai
import pytest

from controllers import metrics
from e2e.crds import install_crds
from e2e.rights import bind
from e2e.serving.scene import controller, drain, engine, kubectl, pool
from e2e.serving.test_evictions import plain
from e2e.serving.test_gateway import (
    HOSTS,
    KEY,
    endpoint,
    gateway,
    ledger,
    own_address,
    place,
    secrets,
    status,
)
from e2e.watching import eventually
from fairstow.kube.permissions import GATEWAY, OPERATOR
from fairstow.serving.wire import Loads
from tests.gateway.gateways import expected, free_ports, process, streamed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from e2e.controlplane.client import Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.full]

NAMES = ("gateway-0", "gateway-1")


async def loads(address: str, port: int, token: str) -> Loads:
    async with aiohttp.ClientSession() as session:
        url, headers = f"https://{address}:{port}/loads", {"Authorization": f"Bearer {token}"}
        async with session.get(url, headers=headers, ssl=False) as reply:
            return msgspec.json.decode(await reply.read(), type=Loads)


async def peers(address: str, port: int, token: str) -> bool:
    """Whether a gateway hears another one."""
    async with aiohttp.ClientSession() as session:
        url, headers = f"https://{address}:{port}/metrics", {"Authorization": f"Bearer {token}"}
        async with session.get(url, headers=headers, ssl=False) as reply:
            return "fairstow_gateway_peers 1.0" in await reply.text()


@dataclass
class Both:
    """Two gateways. Attributes: ports: their admin ports; shown: a gateway's token."""

    cluster: Cluster
    namespace: str
    address: str
    ports: tuple[int, int]
    shown: str
    clients: list[openai.AsyncOpenAI]

    @property
    def empty(self) -> str:
        pod = self.cluster.get("-n", self.namespace, "pod/b")
        return str(pod["metadata"]["uid"])

    async def crowd(
        self, tokens: int, meanwhile: Callable[[], Awaitable[None]] | None = None
    ) -> list[asyncio.Task[str]]:
        """Have requests of both on one engine, the other one empty."""
        drained = drain(self.namespace, "b", self.empty)
        await asyncio.to_thread(self.cluster.apply, [drained])

        def shows(**wanted: int) -> bool:
            return wanted.items() <= status(self.cluster, self.namespace).items()

        await eventually(partial(shows, ready=1), "the drain")
        answers = [
            asyncio.create_task(streamed(self.clients[n % 2], f"prompt {n}", tokens))
            for n in range(12)
        ]
        await eventually(partial(shows, running=12), "the streams")
        if meanwhile is not None:
            await meanwhile()
        await kubectl(self.cluster, self.namespace, "delete", "instancedrain/b")
        return answers

    async def moved(self) -> bool:
        told = [await loads(self.address, port, self.shown) for port in self.ports]
        there = [each for one in told for each in one.instances if each.name == self.empty]
        return any(each.running for each in there)


def test_two_gateways_share_what_they_know_and_are_led(
    cluster: Cluster, namespace: str, gpu_nodes: Callable[..., list[str]], tmp_path: Path
) -> None:
    (node,) = gpu_nodes(1, gpus=0)
    address, (port,) = own_address(), free_ports(1)
    identity = f"system:serviceaccount:{namespace}:fairstow-operator"
    install_crds(cluster)
    cluster.apply([plain(engine(namespace, name, node=node)) for name in HOSTS])
    place(cluster, namespace)
    meant = f"--audience=gateway.fairstow.dev/{namespace}/llama"

    def made(account: str) -> str:
        text = cluster.kubectl("-n", namespace, "create", "token", account, meant)
        return text.strip()

    async def scenario() -> None:
        operator, account = [
            await asyncio.to_thread(
                cluster.as_service_account, namespace, f"fairstow-{each}", tmp_path / each
            )
            for each in ("operator", "gateway")
        ]
        shown, leading = [
            await asyncio.to_thread(made, f"fairstow-{each}") for each in ("gateway", "operator")
        ]
        file = tmp_path / "token"
        file.write_text(shown)
        async with AsyncExitStack() as stack:
            for host in HOSTS.values():
                await stack.enter_async_context(process(port, "--host", host))
            ports = [
                await stack.enter_async_context(
                    gateway(
                        account,
                        f"{namespace}/llama",
                        address,
                        "--peer-token-file",
                        str(file),
                        name=name,
                    )
                )
                for name in NAMES
            ]
            served = pool(namespace, port=port)
            served["spec"] |= {
                "tenants": {"name": "tenants", "key": "tenants.yaml"},
                "rescheduling": {"belowSteps": 1_300, "aboveSteps": 1_301},
            }
            slices = [
                endpoint(namespace, address, admin, name)
                for name, (_, admin) in zip(NAMES, ports, strict=True)
            ]
            await asyncio.to_thread(cluster.apply, [*secrets(namespace), served, *slices])
            led = await stack.enter_async_context(AsyncExitStack())
            await led.enter_async_context(controller(operator, identity))
            await eventually(lambda: status(cluster, namespace).get("ready") == 2, "the engines")

            # Each hears the other; what it is shown for that opens nothing else.
            (_, first), (_, second) = ports
            for admin in (first, second):
                await eventually(partial(peers, address, admin, leading), "peers")
            assert (await loads(address, first, shown)).gateway == "gateway-0"
            assert await ledger(address, first, shown) == 403

            clients = [
                openai.AsyncOpenAI(
                    base_url=f"http://127.0.0.1:{each}/v1", api_key=KEY, max_retries=0
                )
                for each, _ in ports
            ]
            for client in clients:
                stack.push_async_callback(client.close)
            both = Both(cluster, namespace, address, (first, second), shown, clients)

            answers = await both.crowd(400)
            await eventually(both.moved, "moves that the operator proposed")
            assert metrics.PROPOSED.labels(f"{namespace}/llama", "taken")._value.get() > 0
            asked: Any = [(f"prompt {n}", 400) for n in range(12)]
            assert await asyncio.gather(*answers) == [expected(*each) for each in asked]

            # Nobody leads them any more.
            answers = await both.crowd(600, led.aclose)
            await eventually(both.moved, "moves of their own")
            asked = [(f"prompt {n}", 600) for n in range(12)]
            assert await asyncio.gather(*answers) == [expected(*each) for each in asked]

    with bind(cluster, OPERATOR, namespace), bind(cluster, GATEWAY, namespace):
        asyncio.run(scenario())
