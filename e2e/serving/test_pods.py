"""Engines and gateways as pods of a real node, and whatever ends them while clients are served.

A hundred clients with the unmodified `openai` package hear every token once, and no other, through
`kubectl drain`, `kubectl delete pod`, `rollout restart`, preemption, a NoExecute taint, a killed
engine and a killed or replaced gateway. Not covered: several nodes, networks that fail, engines
that compute (e2e/engines). A deleted pod in the short suite: e2e/test_chart.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from e2e.on_real_node import installed, values
from e2e.serving import pods
from e2e.serving.crowd import Crowd, crowd
from e2e.serving.test_evictions import evict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from e2e.controlplane.realnode.cluster import RealCluster

pytestmark = [pytest.mark.real_node, pytest.mark.full]

CHAT = "chat"
ENGINES = 4
GPU = "nvidia.com/gpu"
TOLERANT = [{"key": "e2e.example/leave", "operator": "Exists"}]
GATEWAYS = "app.kubernetes.io/component=gateway"
KILL = """
import os, sys
for pid in filter(str.isdigit, os.listdir("/proc")):
    words = open(f"/proc/{pid}/cmdline").read().split(chr(0))
    if sys.argv[1] in words and int(pid) != os.getpid():
        os.kill(int(pid), 9)
        print("killed", pid)
"""


@dataclass(frozen=True)
class Site:
    """The installation."""

    cluster: RealCluster

    def kubectl(self, *args: str, timeout: float = 60) -> str:
        return self.cluster.kubectl("-n", CHAT, *args, timeout=timeout)

    def clients(self, count: int = 100, tokens: int = 250, base: str = "") -> Any:
        where = base or pods.address(self.cluster, CHAT)
        found: AbstractContextManager[Crowd] = crowd(
            where, pods.CLIENT_KEY, self.cluster.network, count=count, tokens=tokens
        )
        return found

    def kill(self, pod: str, container: str, program: str) -> None:
        command = ("exec", pod, "-c", container, "--", "python", "-c", KILL, program)
        assert "killed" in self.kubectl(*command)

    def broken(self) -> int:
        """How many legs of requests have broken off so far."""
        return len(pods.events(self.cluster, CHAT, "leg broke"))

    def settled(self) -> None:
        """Wait until all engines serve that there should be, and no others are there."""
        pods.rolled_out(self.cluster, CHAT)
        pods.ready(self.cluster, CHAT, engines=ENGINES)


@pytest.fixture(scope="module")
def site(real_cluster: RealCluster) -> Iterator[Site]:
    off = {"enabled": False}
    gateways = [pods.gateway(CHAT)]
    chosen = values(
        real_cluster, scheduler=off, extender=off, gateways=gateways, tolerations=TOLERANT
    )
    with installed(real_cluster, chosen, CHAT):
        pods.start(real_cluster, CHAT, ENGINES, tolerations=TOLERANT)
        yield Site(real_cluster)


@pytest.fixture(autouse=True)
def _settled(site: Site) -> None:
    site.settled()


def one(site: Site) -> str:
    """An engine's pod."""
    return pods.names(site.cluster, CHAT)[0]


def test_an_evicted_pod(site: Site) -> None:
    before = site.broken()
    with site.clients() as clients:
        clients.speaking(20)
        name = one(site)
        assert "InstanceDrain" in evict(site.cluster, CHAT, name)
        site.cluster.wait(lambda: not evict(site.cluster, CHAT, name), "the eviction", timeout=120)
        clients.unbroken()
    assert site.broken() == before


def test_a_deleted_pod(site: Site) -> None:
    before = site.broken()
    with site.clients() as clients:
        clients.speaking(20)
        site.kubectl("delete", "pod", one(site), "--timeout=150s", timeout=160)
        clients.unbroken()
    assert site.broken() == before


def test_a_rollout(site: Site) -> None:
    before, old = site.broken(), set(pods.names(site.cluster, CHAT))
    with site.clients(tokens=500) as clients:
        clients.speaking(20)
        site.kubectl("rollout", "restart", f"deployment/{pods.POOL}")
        clients.unbroken(timeout=300)
    pods.rolled_out(site.cluster, CHAT)
    assert not old & set(pods.names(site.cluster, CHAT))
    assert site.broken() == before


def test_a_rollout_of_another_model(site: Site) -> None:
    """Nothing goes on across models: what was begun ends where it is."""

    def roll_out(weights: str) -> None:
        made = pods.engines(site.cluster, CHAT, ENGINES, weights=weights, tolerations=TOLERANT)
        site.cluster.apply([made])

    before = site.broken()
    with site.clients() as clients:
        clients.speaking(20)
        roll_out("2")
        pods.rolled_out(site.cluster, CHAT)
        clients.unbroken()
    site.settled()
    with site.clients(20, 50) as clients:
        clients.unbroken(weights="2")
    roll_out("1")
    assert site.broken() == before


@pytest.fixture
def odd(site: Site) -> Iterator[None]:
    """An engine beside the others that tolerates no taint, has a GPU and no priority."""
    cluster, resources = site.cluster, pods.SMALL | {"limits": {GPU: "1"}}

    def gpus(value: str | None) -> None:
        part = {"capacity": {GPU: value}, "allocatable": {GPU: value}}
        body = json.dumps({"status": part})
        cluster.kubectl("patch", "node", cluster.node_name, "--subresource=status", "-p", body)

    gpus("1")
    cluster.apply([pods.engines(cluster, CHAT, 1, name="odd", resources=resources)])
    pods.rolled_out(cluster, CHAT, "odd")
    pods.ready(cluster, CHAT, engines=ENGINES + 1)
    yield
    site.kubectl("delete", "deployment/odd", "--cascade=foreground", timeout=120)
    gpus(None)


def test_a_taint_that_evicts(site: Site, odd: None) -> None:
    cluster, before = site.cluster, site.broken()
    (name,) = pods.names(cluster, CHAT, "set=odd")
    with site.clients() as clients:
        clients.speaking(20)
        cluster.kubectl("taint", "node", cluster.node_name, "e2e.example/leave=now:NoExecute")
        try:
            site.kubectl("wait", "--for=delete", f"pod/{name}", "--timeout=150s", timeout=160)
            clients.unbroken()
        finally:
            cluster.kubectl("taint", "node", cluster.node_name, "e2e.example/leave-")
    assert site.broken() == before


def test_a_preemption(site: Site, odd: None) -> None:
    cluster, before = site.cluster, site.broken()
    (name,) = pods.names(cluster, CHAT, "set=odd")
    urgent = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "e2e-urgent"},
        "value": 1000,
    }
    template = pods.engines(cluster, CHAT, 1)["spec"]["template"]
    (container,) = template["spec"]["containers"]
    container |= {"resources": {"limits": {GPU: "1"}}}
    spec = template["spec"] | {"priorityClassName": "e2e-urgent"}
    taker = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "taker", "namespace": CHAT, "labels": {"app": "taker"}},
        "spec": spec,
    }
    try:
        with site.clients() as clients:
            clients.speaking(20)
            cluster.apply([urgent, taker])
            site.kubectl("wait", "--for=delete", f"pod/{name}", "--timeout=150s", timeout=160)
            clients.unbroken()
        site.kubectl("wait", "--for=condition=Ready", "pod/taker", "--timeout=55s")
    finally:
        site.kubectl("delete", "pod/taker", "--ignore-not-found")
        cluster.kubectl("delete", "priorityclass", "e2e-urgent", "--ignore-not-found")
    assert site.broken() == before


def test_a_killed_engine(site: Site) -> None:
    with site.clients() as clients:
        clients.speaking(20)
        site.kill(one(site), "engine", "fairstow.gateway.cost_model_server")
        clients.unbroken()


def test_a_killed_gateway_takes_its_own_clients_alone(site: Site) -> None:
    first, second = site.cluster.items("-n", CHAT, "pods", "-l", GATEWAYS)
    bases = [f"http://{each['status']['podIP']}:8080" for each in (first, second)]
    with site.clients(50, 250, bases[0]) as lost, site.clients(50, 250, bases[1]) as others:
        lost.speaking(20)
        others.speaking(20)
        site.kill(first["metadata"]["name"], "gateway", "fairstow.gateway")
        others.unbroken()
        assert len(lost.wrong()) == len(lost.clients)


def test_gateways_are_replaced_and_no_client_is_turned_away(site: Site) -> None:
    old = set(pods.names(site.cluster, CHAT, GATEWAYS))
    with site.clients(50, 100) as clients:
        clients.speaking(5)
        site.kubectl("rollout", "restart", f"deployment/fairstow-gateway-{pods.POOL}")
        while old & set(pods.names(site.cluster, CHAT, GATEWAYS)):
            with site.clients(5, 5) as more:
                more.unbroken()
        clients.unbroken()


def test_a_gateway_ends_streams_that_outlast_its_grace_by_an_error(site: Site) -> None:
    first, _ = site.cluster.items("-n", CHAT, "pods", "-l", GATEWAYS)
    base = f"http://{first['status']['podIP']}:8080"
    with site.clients(3, 2000, base) as clients:
        clients.speaking(5)
        site.kubectl("delete", "pod", first["metadata"]["name"], "--timeout=100s", timeout=110)
        clients.stop()
        assert [("shutting down" in each) for each in clients.wrong()] == [True] * 3


def test_a_node_that_is_drained_whole(site: Site) -> None:
    """There is no other node to go to: all streams end where they are, then the engines go."""
    cluster = site.cluster
    drain = ("drain", cluster.node_name, f"--pod-selector=app={pods.POOL}", "--timeout=280s")
    try:
        with site.clients() as clients:
            clients.speaking(20)
            cluster.kubectl(*drain, "--delete-emptydir-data", timeout=290)
            clients.unbroken()
    finally:
        cluster.kubectl("uncordon", cluster.node_name)
