"""What the gateways of a pool tell each other: how much each has on every engine, and of tenants.

Started by the gateway where it serves a pool of a cluster. Each asks the others several times a
second, and what they answer counts in the views by which it dispatches, as its own requests do.
What a peer has sent in between nobody knows: `dispatching` allows for it. One that doesn't answer
for a second counts no longer; engines' own counts tell then what it has there. What tenants use at
others counts against their limits here (`usage`).

Peers are found by the EndpointSlices of the pool's Service, which whoever may make such objects in
the namespace can forge: so answers are bounded, and the token that peers are shown, made by the
kubelet for this pool's gateways alone, lets its holder read loads and nothing else.

Needs, in the pool's namespace: endpointslices (list).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import aiohttp
import msgspec
import structlog

from fairstow.cluster.errors import InputError
from fairstow.gateway.app import Gateway
from fairstow.gateway.ledger import Others
from fairstow.kube.aio.api import Api
from fairstow.kube.problems import ApiError
from fairstow.serving.replicas import POOL_LABEL, Replica, replicas
from fairstow.serving.wire import Load, Loads

PAUSE_SECONDS = 0.15
"""Some four decode steps: what is dispatched meanwhile changes an engine's freeness by few."""
FORGET_SECONDS = 1.0
FIND_SECONDS = 5.0
TOKEN_SECONDS = 60.0
ANSWER_SECONDS = 0.5
LONGEST = 1 << 20

log = structlog.get_logger(__name__)


class Peers:
    """See the module.

    Args:
        gateway: whose queue, engines and tenants they are.
        pool: its namespace and name.
        name: our own.
        token: the file that holds what peers are shown.
    """

    def __init__(
        self,
        api: Api,
        session: aiohttp.ClientSession,
        gateway: Gateway,
        *,
        pool: tuple[str, str],
        name: str,
        token: Path,
    ) -> None:
        self._api, self._session = api, session
        self._gateway = gateway
        self._dispatcher, self._fleet = gateway.dispatcher, gateway.fleet
        self._pool, self._name, self._file = pool, name, token
        self._token, self._read = "", float("-inf")
        self._there: tuple[Replica, ...] | None = None
        self._found = float("-inf")
        self._heard: dict[str, tuple[float, Loads]] = {}
        self._silent: set[str] = set()

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await self._find()
            if self._there is not None:
                await asyncio.gather(*(self._ask(each) for each in self._there))
                self._share(self._there)
            await asyncio.sleep(PAUSE_SECONDS if self._there else FIND_SECONDS)

    async def _find(self) -> None:
        now = time.monotonic()
        if now - self._found < FIND_SECONDS:
            return
        self._found = now
        namespace, name = self._pool
        path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        try:
            slices, _ = await self._api.list(path, {"labelSelector": f"{POOL_LABEL}={name}"})
        except (ApiError, InputError) as error:
            log.warning("peers can't be found", problem=str(error))
            return
        found = replicas(slices).get(self._pool, ())
        self._there = tuple(each for each in found if each.name != self._name)

    async def _ask(self, peer: Replica) -> None:
        try:
            said = await self._loads(peer)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            if peer.name not in self._silent:
                self._silent.add(peer.name)
                log.warning("a peer doesn't answer", peer=peer.name, problem=repr(error))
            return
        self._silent.discard(peer.name)
        if said.gateway != self._name:
            self._heard[peer.name] = time.monotonic(), said

    async def _loads(self, peer: Replica) -> Loads:
        headers = {"Authorization": f"Bearer {self._shown()}"}
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        # Nobody can verify its certificate; the token is worth nothing elsewhere.
        async with self._session.get(
            f"{peer.url}/loads", headers=headers, ssl=False, timeout=timeout
        ) as answer:
            if answer.status != 200:
                raise ValueError(f"it answers {answer.status}")
            said = bytearray()
            async for part in answer.content.iter_chunked(1 << 14):
                said += part
                if len(said) > LONGEST:
                    raise ValueError(f"it says more than {LONGEST:,} bytes")
            return msgspec.json.decode(said, type=Loads)

    def _shown(self) -> str:
        now = time.monotonic()
        if now - self._read >= TOKEN_SECONDS:
            self._token, self._read = self._file.read_text().strip(), now
        return self._token

    def _share(self, peers: Sequence[Replica]) -> None:
        """Let dispatch see what peers have; those that are gone or silent have nothing."""
        now, there = time.monotonic(), {each.name for each in peers}
        for name, (heard, _) in list(self._heard.items()):
            if name not in there or now - heard > FORGET_SECONDS:
                del self._heard[name]
        everywhere = summed(load for _, said in self._heard.values() for load in said.instances)
        for instance in self._fleet.instances.values():
            others = everywhere.get(instance.name, Others())
            if others != instance.place.peers:
                instance.place.share(others)
        usages = {name: said.tenants for name, (_, said) in self._heard.items()}
        self._gateway.usage.heard(self._gateway.tenants, usages, len(there) + 1)
        self._dispatcher.peers = len(self._heard)
        self._dispatcher.look()


def summed(loads: Iterable[Load]) -> dict[str, Others]:
    """Return what all peers together have on each engine."""
    found: dict[str, Others] = {}
    for load in loads:
        new = Others(load.used, load.running, load.waiting, load.demand)
        if min(new) < 0:
            continue  # nonsense
        before = found.get(load.name, Others())
        found[load.name] = Others(*map(sum, zip(before, new, strict=True)))
    return found
