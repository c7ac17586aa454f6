"""Plans that move LLM engines on a real API server: drained, then evicted, then placed elsewhere.

Covered: the InstanceDrain that a plan makes, whose it is and when it goes; marked `full`: the
same with the operator killed half-way, and an engine that moves under streams, none of which
breaks. The engines are cost-model servers beside the cluster, whose pods are given their addresses.
Not covered: the decisions case by case (tests/packing/test_engines.py), the webhook on evictions
(e2e/serving).
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import openai
import pytest

from e2e.execution.work import Work
from e2e.rights import bind
from e2e.serving.scene import pool
from e2e.serving.test_gateway import KEY, endpoint, gateway, own_address, secrets, status
from e2e.watching import eventually
from fairstow.kube.permissions import GATEWAY
from tests.gateway.gateways import expected, free_ports, process, streamed

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.execution.scene import Scene

pytestmark = pytest.mark.e2e


def drains(scene: Scene) -> list[dict[str, Any]]:
    return scene.cluster.items("-n", scene.namespace, "instancedrains")


def stuck(scene: Scene, *, held: bool = False) -> None:
    """Two nodes of 4 GPUs, an engine of 2 on each, and a pod that wants 4 of one."""
    scene.place("llama", scene.nodes(4, 4), Work(2, held=held))
    scene.run("big", 1, Work(4))
    scene.await_stuck("big")


@pytest.mark.parametrize("crash", [False, pytest.param(True, marks=pytest.mark.full)])
def test_an_engine_is_drained_for_the_plan_before_it_is_evicted(scene: Scene, crash: bool) -> None:
    """No gateway serves the pool, so that the drain is over at once; the pod stays terminating."""
    stuck(scene, held=True)
    scene.put(pool(scene.namespace))
    scene.wait(lambda: status(scene.cluster, scene.namespace).get("instances") == 2, "the pool")
    plan = scene.plan_by_hand()
    scene.approve(plan)
    (leaving,) = scene.await_terminating("llama")
    (made,) = drains(scene)
    assert made["spec"]["cause"] == "Packing"
    assert made["spec"]["podUid"] == leaving["metadata"]["uid"]
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("PackingPlan", plan)

    if crash:  # whoever comes after it takes the drain up, and away in the end
        scene.programs.kill()
        scene.programs.start_operator()
    assert scene.finish(plan) == "Succeeded"
    scene.wait(lambda: not drains(scene), "the end of the drain")
    assert len(scene.await_running("llama", 2)) == 2
    scene.await_running("big", 1)


@pytest.mark.full
def test_an_engine_moves_under_streams_and_none_breaks(scene: Scene, tmp_path: Path) -> None:
    cluster, namespace = scene.cluster, scene.namespace
    stuck(scene)
    address, (port,) = own_address(), free_ports(1)
    hosts = {
        pod["metadata"]["name"]: f"127.0.0.{number + 2}"
        for number, pod in enumerate(scene.pods("llama"))
    }
    for name, host in hosts.items():
        ip = json.dumps({"status": {"podIP": host, "podIPs": [{"ip": host}]}})
        patch = ("patch", f"pod/{name}", "--subresource=status", "--type=merge", "-p", ip)
        cluster.kubectl("-n", namespace, *patch)
    served = pool(namespace, port=port)
    served["spec"]["tenants"] = {"name": "tenants", "key": "tenants.yaml"}

    async def scenario() -> None:
        account = await asyncio.to_thread(
            cluster.as_service_account, namespace, "fairstow-gateway", tmp_path / "gateway"
        )
        async with AsyncExitStack() as stack:
            for host in hosts.values():
                await stack.enter_async_context(process(port, "--host", host))
            clients, admin = await stack.enter_async_context(
                gateway(account, f"{namespace}/llama", address)
            )
            slices = endpoint(namespace, address, admin)
            await asyncio.to_thread(cluster.apply, [*secrets(namespace), served, slices])
            await eventually(lambda: status(cluster, namespace).get("ready") == 2, "the engines")
            client = openai.AsyncOpenAI(
                base_url=f"http://127.0.0.1:{clients}/v1", api_key=KEY, max_retries=0
            )
            stack.push_async_callback(client.close)
            over = asyncio.Event()

            async def talk(number: int) -> None:
                """Ask again and again, so that somebody runs whenever the engine is drained."""
                while not over.is_set():
                    asked = (f"prompt {number}", 400)
                    assert await streamed(client, *asked) == expected(*asked)

            talks = [asyncio.create_task(talk(number)) for number in range(8)]
            await eventually(lambda: status(cluster, namespace).get("running") == 8, "streams")
            assert status(cluster, namespace)["spareInstances"] == 1

            plan = await asyncio.to_thread(scene.plan_by_hand)
            await asyncio.to_thread(scene.approve, plan)
            (made,) = await eventually(lambda: drains(scene), "the drain")
            assert made["spec"]["cause"] == "Packing"
            assert await asyncio.to_thread(scene.await_end, plan) == "Succeeded"
            over.set()
            await asyncio.gather(*talks)
            moves = await eventually(
                lambda: status(cluster, namespace).get("migrations"), "the moves' report"
            )
            assert {move["reason"] for move in moves} == {"Drain"}
            assert {move["from"] for move in moves} == {made["spec"]["podName"]}

    with bind(cluster, GATEWAY, namespace):
        asyncio.run(scenario())
