"""The load: so many pod events a second, and the nodes' heartbeats; a process of its own.

    python -m benchmarks.operator_scale.load KUBECONFIG --nodes N --rate R --seconds S

Pods come and go, four events each: a running pod is deleted, a like one created in its place on the
same node, its status becomes Running, and a label of another pod changes. Each is one request and
one event of the watch. Beside it every node's status is written once in five minutes, as kubelets
do. Begins with a line on standard input; ends when it is told to, at the latest after so many
seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import deque
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

from benchmarks.operator_scale import objects
from fairstow.kube.aio.api import Api
from fairstow.kube.problems import ApiError

KUBELET_SECONDS = 300
_KIND_OF_EVENT = 4
_SETTLED = 20
"""So many cycles lie between a pod's creation and its status."""

Json = dict[str, Any]


def collection(pod: Json) -> str:
    """Return where pods of a pod's namespace are created."""
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods"


def path(pod: Json) -> str:
    """Return a pod's path."""
    return f"{collection(pod)}/{pod['metadata']['name']}"


def renamed(pod: Json, number: int) -> Json:
    """Return a like pod of another name."""
    name = f"{pod['metadata']['name'].partition('.')[0]}.{number}"
    return pod | {"metadata": pod["metadata"] | {"name": name}}


class Churn:
    """The pods, and the next request."""

    def __init__(self, api: Api, pods: list[Json], rng: random.Random) -> None:
        self._api = api
        self._pods = pods
        self._rng = rng
        self._number = 0
        self._gone: Json = {}
        self._fresh: deque[Json] = deque()
        self._settled: deque[Json] = deque()

    def request(self, turn: int) -> Coroutine[Any, Any, Any]:
        """Return the request of a turn; each pod's requests are far apart."""
        kind = turn % _KIND_OF_EVENT
        if kind == 0:
            self._gone = self._pods.pop(self._rng.randrange(len(self._pods)))
            return self._api.delete(path(self._gone))
        if kind == 1:
            self._number += 1
            made = renamed(self._gone, self._number)
            self._fresh.append(made)
            return self._api.create(collection(made), made)
        if kind == 2 and len(self._fresh) > _SETTLED:
            starts = self._fresh.popleft()
            self._settled.append(starts)
            return self._api.patch(path(starts) + "/status", {"status": objects.running()})
        if len(self._settled) > _SETTLED:
            self._pods.append(self._settled.popleft())
        pod = self._pods[self._rng.randrange(len(self._pods))]
        return self._api.patch(path(pod), {"metadata": {"labels": {"revision": str(turn)}}})


async def paced(rate: float, seconds: float, send: Any) -> None:
    """Start a request `rate` times a second, whatever becomes of those before."""
    began, tasks = time.monotonic(), []
    for turn in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + turn / rate - time.monotonic()))
        tasks.append(asyncio.ensure_future(send(turn)))
    await asyncio.gather(*tasks)


async def run(asked: argparse.Namespace) -> None:
    """Send everything."""
    nodes, pods, _ = objects.cluster(asked.nodes)
    rng = random.Random(asked.seed)
    async with Api.connect(asked.kubeconfig) as api:
        churn = Churn(api, pods, rng)

        async def event(turn: int) -> None:
            try:
                await churn.request(turn)
            except ApiError as error:
                if error.status != 404:  # a busy server answers out of order: no event then
                    raise

        async def beat(turn: int) -> None:
            name = nodes[turn % len(nodes)]["metadata"]["name"]
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            body = {"status": objects.heartbeat(now)}
            await api.patch(f"/api/v1/nodes/{name}/status", body)

        await asyncio.to_thread(sys.stdin.readline)
        print("begun", flush=True)
        await asyncio.gather(
            paced(asked.rate, asked.seconds, event),
            paced(len(nodes) / KUBELET_SECONDS, asked.seconds, beat),
        )


def main() -> int:
    """Run the load."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kubeconfig")
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    asyncio.run(run(parser.parse_args()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
