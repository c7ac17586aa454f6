"""What tests of serving share: a pool, engines, and the serving controller on a real cluster."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from controllers.health import Turns
from controllers.serving.gateways import Gateways
from controllers.serving.objects import ServingObjects
from controllers.serving.pools import ServingLoop
from controllers.serving.rescheduling import ReschedulingLoop
from e2e.watching import running
from fairstow.cluster.kinds import NODE, POD
from fairstow.cluster.live import LiveCluster
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.recorder import Recorder
from fairstow.kube.aio.reflector import Reflector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from e2e.controlplane.client import Cluster

Json = dict[str, Any]


def pool(namespace: str, *, app: str = "llama", **engines: Any) -> Json:
    return {
        "apiVersion": "fairstow.dev/v1alpha1",
        "kind": "ServingPool",
        "metadata": {"name": "llama", "namespace": namespace},
        "spec": {"engines": {"selector": {"matchLabels": {"app": app}}} | engines},
    }


def engine(namespace: str, name: str, app: str = "llama", *, node: str = "") -> Json:
    """A pod that takes a while to go, on a node if one is given."""
    spec: Json = {"containers": [{"name": "engine", "image": "none"}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app": app},
            "finalizers": ["example.com/stays"],
        },
        "spec": spec | ({"nodeName": node} if node else {}),
    }


def drain(namespace: str, pod: str, uid: str) -> Json:
    return {
        "apiVersion": "fairstow.dev/v1alpha1",
        "kind": "InstanceDrain",
        "metadata": {"name": pod, "namespace": namespace},
        "spec": {"pool": "llama", "podName": pod, "podUid": uid},
    }


async def kubectl(cluster: Cluster, namespace: str, *args: str, stdin: str | None = None) -> str:
    return await asyncio.to_thread(cluster.kubectl, "-n", namespace, *args, stdin=stdin)


@asynccontextmanager
async def controller(
    operator: Cluster,
    identity: str,
    *,
    clock: Callable[[], float] = time.time,
    through: Callable[[Api], Api] = lambda api: api,
) -> AsyncIterator[None]:
    """Run the serving controller with the operator's rights.

    Args:
        operator: the cluster as the operator sees it.
        identity: the operator's user name.
        clock: seconds since 1970.
        through: what the controller is given to write with, instead of the connection.
    """
    async with Api.connect(str(operator.kubeconfig)) as api:
        cluster, objects = LiveCluster(), ServingObjects(api)
        gateways, recorder = Gateways(api, identity), Recorder(api, "fairstow.dev/operator", "e2e")
        loop = ServingLoop(
            through(api),
            cluster,
            objects,
            gateways,
            recorder=recorder,
            clock=clock,
            turns=Turns(),
        )
        watches = [Reflector(api, kind, cluster) for kind in (NODE, POD)]
        reflectors = (w.run for w in (*watches, *objects.reflectors))
        leading = ReschedulingLoop(objects, gateways, clock=time.time, turns=Turns())
        async with running(*reflectors, recorder.run, loop.run, leading.run):
            yield
