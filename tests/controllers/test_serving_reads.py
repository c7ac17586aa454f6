"""What the serving loops read of the cluster, and how often: gateways, and who else scales.

Not covered: what is done with it (tests/serving, e2e/serving).
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from controllers.serving.gateways import Gateways
from controllers.serving.workloads import RIVALS_SECONDS, Workloads
from fairstow.api import ServingPool
from fairstow.kube.problems import ApiError
from fairstow.serving.scaling import Obstacle
from tests.packing.engine_objects import pool

POOL = ServingPool.model_validate(
    {
        **pool("llama"),
        "kind": "ServingPool",
        "metadata": {"name": "llama", "namespace": "chat"},
        "spec": {
            "engines": {"selector": {"matchLabels": {"app": "llama"}}},
            "scaling": {
                "targetRef": {"kind": "Deployment", "name": "llama"},
                "minReplicas": 1,
                "maxReplicas": 3,
            },
        },
    }
)
SLICE = {
    "metadata": {"namespace": "chat", "labels": {"fairstow.dev/serving-pool": "llama"}},
    "ports": [{"name": "https-admin", "port": 9}],
    "endpoints": [
        {"addresses": ["127.0.0.1"], "targetRef": {"name": f"gateway-{n}"}} for n in range(2)
    ],
}


class Server:
    """Has an autoscaler or none, two gateways, and no KEDA."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lists: list[str] = []
        self.rivals: list[Any] = []

    async def list(self, path: str, _query: object = None) -> tuple[list[Any], str]:
        kind = path.rpartition("/")[2]
        self.lists.append(kind)
        if kind == "scaledobjects":
            raise ApiError(404, "there is no such kind")
        return [SLICE] if kind == "endpointslices" else self.rivals, "1"

    async def get(self, _path: str) -> dict[str, Any]:
        return {"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 1}}


def test_who_else_scales_is_read_now_and_then() -> None:
    server = Server()
    workloads = Workloads(cast("Any", server), lambda: server.now)

    async def scaled_elsewhere() -> bool:
        return isinstance(await workloads.read(POOL), Obstacle)

    async def test() -> None:
        assert [await scaled_elsewhere() for _ in range(3)] == [False] * 3
        assert server.lists == ["horizontalpodautoscalers", "scaledobjects"]
        ref = {"kind": "Deployment", "name": "llama"}
        server.rivals = [{"metadata": {"name": "x"}, "spec": {"scaleTargetRef": ref}}]
        server.now += RIVALS_SECONDS
        assert await scaled_elsewhere()

    asyncio.run(test())


def test_gateways_are_found_once_for_all_who_ask() -> None:
    server = Server()
    gateways = Gateways(cast("Any", server), "nobody's ServiceAccount", lambda: server.now)

    async def test() -> None:
        found = await asyncio.gather(*(gateways.of(POOL) for _ in range(5)))
        assert {tuple(each.name for each in there) for there in found} == {
            ("gateway-0", "gateway-1")
        }
        assert server.lists == ["endpointslices"]
        # Without a token nobody is asked; it is said that they aren't known.
        assert await gateways.ledgers(POOL) == {"gateway-0": None, "gateway-1": None}
        server.now += 5
        await gateways.of(POOL)
        assert server.lists == ["endpointslices"] * 2

    asyncio.run(test())
