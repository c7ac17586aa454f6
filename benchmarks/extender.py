"""Pods per second of a real kube-scheduler with Fairstow's extender, against the same without it.

    python -m benchmarks.extender [--rounds 5] [--nodes 500] [--pods 1500] [--page]

Each turn fills the queue first and then starts a scheduler; what is timed is from its first binding
to its last, as a watch sees them. Three arms, in turn, the order of each round rotated:

- `stock`: without an extender and without OpportunisticBatching, which any extender switches off;
- `extender`: the same with ours: mutual TLS, filter and prioritize, all plugins, a plan under way
  that keeps room on twenty nodes;
- `batching`: stock as it is since 1.35, for what else an extender costs where pods are alike.

All with the same percentageOfNodesToScore, nodes kept Ready and pods played by KWOK. The figure is
the ratio extender / stock of each round: on a busy machine rates vary, ratios less. Beside it, the
CPU time of all programs per pod, stock / extender: the ratio where CPU alone counts. Exits with 1
where a bound of benchmarks/bounds.yaml is missed by more than the mean's standard error. `--page`
writes benchmarks/results/extender.json and the table of docs/benchmarks/extender.md. Build first:
`python -m e2e.controlplane build`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import yaml
from rich.console import Console
from rich.markdown import Markdown

from benchmarks import extender_report
from benchmarks.closing import verdict
from benchmarks.provenance import provenance
from e2e.controlplane.build import KUBERNETES, KWOK
from e2e.controlplane.cluster import LocalCluster
from e2e.controlplane.kwok import GPU, gpu_node
from e2e.controlplane.options import ClusterOptions
from e2e.controlplane.processes import running
from e2e.own_scheduler import EXTENDER, SCHEDULER, Beside, beside
from fairstow.cluster.kinds import POD, Kind
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.reflector import Reflector
from tests.scheduler_plugins.plans import Arrival, Plan, lease

if TYPE_CHECKING:
    from collections.abc import Set

    from e2e.controlplane.client import Cluster

BOUNDS = Path(__file__).parent / "bounds.yaml"
SPACE = "bench"
HOLDS = 20
ARMS = ("stock", "extender", "batching")
PATIENCE = 300.0
DEMANDS = (("1", "4Gi", 0), ("2", "8Gi", 1), ("2", "8Gi", 1), ("4", "16Gi", 1), ("8", "32Gi", 2))
_TICK = os.sysconf("SC_CLK_TCK")


class _Meta(msgspec.Struct):
    name: str


class _Spec(msgspec.Struct, rename="camel"):
    node_name: str = ""


class _Seen(msgspec.Struct):
    metadata: _Meta
    spec: _Spec


@dataclass(frozen=True)
class Turn:
    """One arm's turn. Attributes: cpu: CPU time per pod of each program, in ms."""

    arm: str
    rate: float
    cpu: dict[str, float]


class Bindings(threading.Thread):
    """Notes when each pod got its node; its own thread, since the main one starts processes."""

    def __init__(self, cluster: Cluster, pods: int, folders: list[Path]) -> None:
        super().__init__(daemon=True)
        self._folders = folders
        self._cpu: list[dict[str, float]] = []
        self.watching = threading.Event()
        self.done = threading.Event()
        self.moments: list[float] = []
        self._bound: set[str] = set()
        self._cluster = cluster
        self._pods = pods

    def run(self) -> None:
        """Watch until all pods are bound."""
        asyncio.run(self._watch())

    async def _watch(self) -> None:
        async with Api.connect(str(self._cluster.kubeconfig)) as api:
            reflector = Reflector(api, POD, self, namespace=SPACE)
            watching = asyncio.create_task(reflector.run())
            await reflector.synced.wait()
            self.watching.set()
            while not self.done.is_set():
                await asyncio.sleep(0.2)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    def upsert(self, _kind: Kind, obj: msgspec.Raw) -> None:
        """Take in a pod."""
        seen = msgspec.json.decode(obj, type=_Seen)
        if seen.spec.node_name and seen.metadata.name not in self._bound:
            self._bound.add(seen.metadata.name)
            self.moments.append(time.monotonic())
            if len(self.moments) in (1, self._pods):
                self._cpu.append(_cpu_seconds(self._folders))
            if len(self.moments) == self._pods:
                self.done.set()

    def delete(self, _kind: Kind, _obj: msgspec.Raw) -> None:
        """Nobody deletes pods while a turn runs."""

    def retain(self, _kind: Kind, _names: Set[str]) -> None:
        """Nor does a list forget any."""

    def unknown(self, kind: Kind) -> None:
        """Give up: without pods there is nothing to see."""
        raise RuntimeError(f"{kind.plural} can't be listed")

    def turn(self, arm: str) -> Turn:
        """Return what was seen from the first binding to the last."""
        first, last = self._cpu
        pods = len(self.moments) - 1
        cpu = {name: 1000 * (last[name] - first.get(name, 0.0)) / pods for name in last}
        return Turn(arm, pods / (self.moments[-1] - self.moments[0]), cpu)


def pods(count: int) -> list[dict[str, Any]]:
    """Return the queue: pods of several demands, mixed."""
    rng = random.Random(0)
    return [_pod(i, *rng.choice(DEMANDS)) for i in range(count)]


def _pod(number: int, cpu: str, memory: str, gpus: int) -> dict[str, Any]:
    requests = {"cpu": cpu, "memory": memory} | ({GPU: str(gpus)} if gpus else {})
    limits = {GPU: str(gpus)} if gpus else {}
    container = {
        "name": "main",
        "image": "example.com/none",
        "resources": {"requests": requests, "limits": limits},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": SPACE, "name": f"pod-{number}"},
        "spec": {"schedulerName": "fairstow", "containers": [container]},
    }


def prepare(cluster: Cluster, nodes: int) -> None:
    """Create Ready nodes, the namespace, a living operator's Lease and a plan under way."""
    cluster.apply(gpu_node(f"node-{n:04d}", zone=f"zone-{n % 3}") for n in range(nodes))
    cluster.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=280s", timeout=300)
    cluster.kubectl("create", "namespace", SPACE)
    cluster.wait(
        lambda: cluster.get("-n", SPACE, "serviceaccount", "default"), "the ServiceAccount"
    )
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    cluster.apply([lease(renewed=now, seconds=24 * 3600)])
    requests = {"cpu": "8", GPU: "4"}
    holds = tuple(
        Arrival(SPACE, f"big-{i}", f"uid-{i}", f"node-{i:04d}", requests, "ReplicaSet/big")
        for i in range(min(HOLDS, nodes))
    )
    plan = Plan("under-way", (holds,))
    obj = plan.to_object(status=False)
    del obj["metadata"]["uid"]
    obj["spec"]["stepTimeout"] = "24h"
    cluster.apply([obj])
    status = json.dumps({"status": plan.status(executing=True, since=now)})
    cluster.kubectl(
        *("patch", "packingplan", plan.name, "--subresource=status", "--type=merge", "-p", status)
    )


def turn(arm: str, cluster: Cluster, own: Beside, count: int) -> Turn:
    """Fill the queue, start the arm's scheduler, wait until all pods are bound, clear up."""
    # 1. The queue, and who waits for its end.
    cluster.apply(pods(count))
    bindings = Bindings(cluster, count, [cluster.kubeconfig.parent, own.folder])
    bindings.start()
    bindings.watching.wait()
    if arm == "extender":
        own.start_extender()

    # 2. The scheduler, against the clock.
    batching = str(arm == "batching").lower()
    config: dict[str, Any] = {} if arm == "extender" else {"extenders": []}
    own.start_scheduler(None, f"--feature-gates=OpportunisticBatching={batching}", config=config)
    if not bindings.done.wait(PATIENCE):
        own.processes.check()
        raise TimeoutError(f"{arm}: {len(bindings.moments)} of {count} pods bound in {PATIENCE} s")
    _check(arm, own)

    # 3. As it was before.
    own.stop(SCHEDULER)
    if arm == "extender":
        own.stop(EXTENDER)
    _clear(cluster)
    return bindings.turn(arm)


def _check(arm: str, own: Beside) -> None:
    """See that the arm was what it says: the extender answered every time, or there is none."""
    skipped = "Skipping extender" in own.processes.log(SCHEDULER).read_text()
    if skipped:
        raise RuntimeError(f"{arm}: the scheduler went on without the extender, see its log")


def _clear(cluster: Cluster) -> None:
    path = f"/api/v1/namespaces/{SPACE}/pods?gracePeriodSeconds=0"

    def empty() -> bool:
        cluster.kubectl("delete", f"--raw={path}", timeout=PATIENCE)
        return not cluster.kubectl("-n", SPACE, "get", "pods", "-o", "name")

    # The API server ends a request after a minute, done or not.
    cluster.wait(empty, "an empty queue", timeout=PATIENCE)


def _cpu_seconds(folders: list[Path]) -> dict[str, float]:
    """Return the CPU time of each recorded process so far."""
    spent = {}
    for record in (path for folder in folders for path in folder.glob("pids/*.json")):
        if pid := running(record):
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            spent[record.stem.partition("-")[2]] = (int(stat[11]) + int(stat[12])) / _TICK
    return spent


def measure(rounds: int, nodes: int, count: int, console: Console) -> list[list[Turn]]:
    """Return the turns, round by round."""
    found = []
    options = ClusterOptions(node_lease_seconds=600)
    with tempfile.TemporaryDirectory(prefix="fairstow-bench-") as name:
        local = LocalCluster(Path(name) / "cluster", options)
        with local as cluster, beside(cluster, Path(name) / "own") as own:
            local.processes.stop_one("kube-scheduler")
            prepare(cluster, nodes)
            turn("stock", cluster, own, min(count, 200))  # warms the API server up
            for each in range(rounds):
                order = ARMS[each % 3 :] + ARMS[: each % 3]
                turns = [turn(arm, cluster, own, count) for arm in order]
                said = ", ".join(f"{t.arm} {t.rate:.0f}" for t in turns)
                console.print(f"round {each + 1}: pods/s {said}")
                found.append(turns)
    return found


def judge(summary: dict[str, Any]) -> list[str]:
    """Return what misses a bound, a sentence each."""
    bounds = yaml.safe_load(BOUNDS.read_text())["extender"]
    least, ratio = bounds["ratio"]["at_least"], summary["ratio"]
    unsure = ratio["stdev"] / math.sqrt(len(summary["rounds"]))
    if ratio["mean"] + unsure >= least:
        return []
    return [f"ratio: {ratio['mean']} ± {unsure:.3f} (standard error), at least {least}"]


def main() -> int:
    """Run the arms in turn."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--pods", type=int, default=1500)
    parser.add_argument("--page", action="store_true", help="write the record and the page")
    asked = parser.parse_args()
    folders = (
        "scheduler_plugins",
        "fairstow/packing",
        "fairstow/cluster",
        "benchmarks/extender.py",
    )
    about = provenance("uvloop", "msgspec", "httptools", folders=folders)
    console = Console(stderr=True, width=120)
    rounds = measure(asked.rounds, asked.nodes, asked.pods, console)
    summary = extender_report.summary([[vars(t) for t in turns] for turns in rounds])
    record = {
        "provenance": about | {"kubernetes": KUBERNETES, "kwok": KWOK},
        "nodes": asked.nodes,
        "pods": asked.pods,
        **summary,
    }
    Console(width=120).print(Markdown(extender_report.table(record)))
    if asked.page:
        extender_report.write(record)
    return verdict(judge(summary))


if __name__ == "__main__":
    sys.exit(main())
