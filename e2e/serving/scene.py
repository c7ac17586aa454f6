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
from e2e.watching import running
from fairstow.cluster.kinds import NODE, POD
from fairstow.cluster.live import LiveCluster
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.reflector import Reflector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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
async def controller(operator: Cluster, identity: str) -> AsyncIterator[None]:
    """Run the serving controller with the operator's rights."""
    async with Api.connect(str(operator.kubeconfig)) as api:
        cluster, objects = LiveCluster(), ServingObjects(api)
        gateways = Gateways(api, identity)
        loop = ServingLoop(api, cluster, objects, gateways, clock=time.time, turns=Turns())
        watches = [Reflector(api, kind, cluster) for kind in (NODE, POD)]
        async with running(*(w.run for w in (*watches, *objects.reflectors)), loop.run):
            yield
