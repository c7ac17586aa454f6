"""What the operator costs at 500, 2,000 and 5,000 nodes with 10 pods each and 50 pod events/s.

    python -m benchmarks.operator_scale [--nodes 500 2000 5000] [--seconds 60] [--page]

The operator's real program with the chart's rights on a real API server. Nodes and pods are there
first (`seed`), pods already bound, so scheduler, controller manager and KWOK have nothing to do and
aren't there. Three parts follow one another under the same load (`load`):

- *steady*: memory and CPU time of the operator's process, from /proc; nobody asks it anything;
- *delay*: from the moment that a bare watch has an event until the operator has taken it in, so
  that every snapshot it makes from then on has it. Its own metrics say so, read ten times a second;
- *run*: 2 % more pods come and wait, and a policy in mode Observe looks for a plan. What the delay
  and the operator's memory are meanwhile, and what its solver takes, a process of its own.

Exits with 1 where a bound of benchmarks/bounds.yaml is missed, at whatever size. `--page` writes
benchmarks/results/operator_scale.json and the table of docs/benchmarks/operator.md. Build first:
`python -m e2e.controlplane build`.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
from rich.console import Console
from rich.markdown import Markdown

from benchmarks.closing import exceeded, verdict
from benchmarks.operator_scale import objects, report
from benchmarks.operator_scale.load import collection, path
from benchmarks.operator_scale.meter import (
    POLL_SECONDS,
    BareWatch,
    Metrics,
    Poll,
    Solvers,
    cpu_seconds,
    lags,
    megabytes,
)
from benchmarks.operator_scale.seed import Etcd, copies
from benchmarks.provenance import provenance
from e2e.controlplane.build import KUBERNETES
from e2e.controlplane.cluster import LocalCluster
from e2e.controlplane.components import LOOPBACK
from e2e.controlplane.options import ClusterOptions
from e2e.installed import OPERATOR, Installed, operator_of
from e2e.own_scheduler import NAMESPACE, beside
from fairstow.kube.aio.api import Api

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from e2e.controlplane.client import Cluster

RATE = 50.0
PATIENCE = 600.0
_AT_ONCE = 24
_SETTLE_SECONDS = 20.0
_MONITOR = "monitor"

Json = dict[str, Any]


async def fill(cluster: Cluster, etcd: Etcd, nodes: list[Json], pods: list[Json]) -> None:
    """Create the nodes, and the pods running on them: one of each kind, then its copies."""
    alike: dict[str, list[Json]] = {}
    for pod in pods:
        alike.setdefault(pod["metadata"]["ownerReferences"][0]["name"], []).append(pod)
    async with Api.connect(str(cluster.kubeconfig)) as api:
        made = await api.create("/api/v1/nodes", nodes[0])
        # The API server taints each new node; the controller manager isn't there to take it away.
        untainted = {"spec": {"taints": None}}
        stored = await api.patch(f"/api/v1/nodes/{made['metadata']['name']}", untainted)
        etcd.put(copies(stored, nodes[1:]))
        for first, *rest in alike.values():
            await api.create(collection(first), first)
            stored = await api.patch(path(first) + "/status", {"status": objects.running()})
            etcd.put(copies(stored, rest))


async def wait_for_room(api: Api, pods: list[Json]) -> None:
    """Create pods that wait for a node."""
    since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    async def queue(pod: Json) -> None:
        await api.create(collection(pod), pod)
        await api.patch(path(pod) + "/status", {"status": objects.waiting(since)})

    await _each(pods, queue)


async def _each(items: Sequence[Json], act: Callable[[Json], Awaitable[Any]]) -> None:
    """Act on all, some at once."""
    left = iter(items)

    async def worker() -> None:
        for item in left:
            await act(item)

    await asyncio.gather(*(worker() for _ in range(_AT_ONCE)))


def prepare(local: LocalCluster, cluster: Cluster) -> None:
    """Create what pods need, a pool of all nodes and its policy; then nobody else acts."""
    cluster.apply(objects.others())
    for space in objects.NAMESPACES:
        cluster.wait(
            lambda space=space: cluster.get("-n", space, "serviceaccount", "default"),  # type: ignore[misc]
            "the ServiceAccounts",
        )
    local.processes.stop_one("kube-scheduler")
    local.processes.stop_one("kube-controller-manager")
    group = "fairstow.dev/v1alpha1"
    pool = {"apiVersion": group, "kind": "GpuPool", "metadata": {"name": "all"}, "spec": {}}
    policy = {
        "apiVersion": group,
        "kind": "PackingPolicy",
        "metadata": {"name": "all"},
        "spec": {
            "poolRef": {"name": "all"},
            "mode": "Observe",
            "triggers": {"unschedulableFor": "1s"},
        },
    }
    cluster.apply([pool])
    cluster.apply([policy])


def monitor_token(cluster: Cluster) -> str:
    """Return the token of an account that may read metrics."""
    group = "rbac.authorization.k8s.io"
    role = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": _MONITOR},
        "rules": [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}],
    }
    account = {"kind": "ServiceAccount", "name": _MONITOR, "namespace": NAMESPACE}
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": _MONITOR},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": _MONITOR},
        "subjects": [account],
    }
    metadata = {"name": _MONITOR, "namespace": NAMESPACE}
    cluster.apply([{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}])
    cluster.apply([role, binding])
    return cluster.kubectl("-n", NAMESPACE, "create", "token", _MONITOR, "--duration=4h").strip()


class Load:
    """The load's process."""

    def __init__(self, cluster: Cluster, nodes: int, seconds: float) -> None:
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "benchmarks.operator_scale.load"),
                *(str(cluster.kubeconfig), f"--nodes={nodes}"),
                *(f"--rate={RATE}", f"--seconds={seconds}"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def begin(self) -> None:
        """Let it begin, which it doesn't before: what is counted must come after the counters."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self._process.stdout.readline()

    def stop(self) -> None:
        """End it if it still runs."""
        with self._process:
            self._process.kill()


async def watch_for(
    metrics: Metrics, seconds: float, *, run_of: Solvers | None = None
) -> list[Poll]:
    """Read the metrics for so long, or until a run is over and a little longer."""
    polls: list[Poll] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        polls.append(await metrics.poll())
        if run_of is not None:
            run_of.look()
            if polls[-1].runs > polls[0].runs:
                end, run_of = min(end, time.monotonic() + 5.0), None
        await asyncio.sleep(POLL_SECONDS)
    return polls


async def observe(
    api: Api, pid: int, metrics: Metrics, load: Load, seconds: float, late: list[Json]
) -> Json:
    """Go through the three parts and return their figures."""
    watch, listed = BareWatch(), asyncio.Event()
    watching = asyncio.create_task(watch.run(api, listed))
    await listed.wait()
    base = (await metrics.poll()).changes

    # 1. Steady: nobody asks, so that what is measured is only what the operator does by itself.
    await asyncio.to_thread(load.begin)
    began, spent, loaded = time.monotonic(), cpu_seconds(pid), cpu_seconds(load.pid)
    await asyncio.sleep(seconds)
    passed = time.monotonic() - began
    cores = (cpu_seconds(pid) - spent) / passed
    load_cores = (cpu_seconds(load.pid) - loaded) / passed
    steady, events = (megabytes(pid), megabytes(pid, "VmHWM")), len(watch.moments) / passed

    # 2. Delay.
    polls = await watch_for(metrics, seconds)
    quiet = len(watch.moments)

    # 3. A run.
    solvers = Solvers(pid)
    before, solved = cpu_seconds(pid), solvers.cpu_seconds()
    queueing = asyncio.create_task(wait_for_room(api, late))
    during = await watch_for(metrics, 3 * seconds, run_of=solvers)
    run_cpu = cpu_seconds(pid) - before, solvers.cpu_seconds() - solved
    await queueing

    # 4. What came last is taken in, too.
    load.stop()
    last = await watch_for(metrics, 3.0)
    watching.cancel()
    seen, taken = len(watch.moments), last[-1].changes - base
    if seen != taken:
        raise RuntimeError(f"a bare watch saw {seen} events, the operator took in {taken}")
    return {
        "eventsPerSecond": events,
        "operatorCores": cores,
        "loadCores": load_cores,
        "steadyMegabytes": steady[0],
        "peakMegabytes": steady[1],
        "delays": lags(watch.moments[:quiet], base, [*polls, *during]),
        "runDelays": lags(watch.moments, base, [*during, *last]),
        "runCpuSeconds": run_cpu[0],
        "runPeakMegabytes": megabytes(pid, "VmHWM"),
        "solverCpuSeconds": run_cpu[1],
        "solverPeakMegabytes": solvers.peak,
    }


async def _measured(programs: Installed, nodes: int, seconds: float) -> Json:
    cluster = programs.cluster
    _, pods, late = objects.cluster(nodes)
    programs.start_operator()
    pid = programs.own.processes.pid(OPERATOR)
    url = f"https://{LOOPBACK}:{programs.ports[OPERATOR]}"
    async with Metrics(url, monitor_token(cluster)) as metrics:
        began = time.monotonic()
        await metrics.ready(PATIENCE)
        listed = cpu_seconds(pid)
        said = f"{nodes} nodes: all known after {time.monotonic() - began:.0f} s"
        Console(stderr=True).print(said, style="dim")
        await asyncio.sleep(_SETTLE_SECONDS)
        # Longer than all parts: it is ended after them.
        load = Load(cluster, nodes, 6 * seconds)
        try:
            async with Api.connect(str(cluster.kubeconfig)) as api:
                found = await observe(api, pid, metrics, load, seconds, late)
        except (aiohttp.ClientError, FileNotFoundError) as error:
            last = "\n".join(programs.log().splitlines()[-20:])
            raise RuntimeError(f"{error!r}; the operator last said\n{last}") from error
        finally:
            load.stop()
    run = cluster.get("packingpolicy", "all").get("status", {}).get("lastRun", {})
    return {
        "nodes": nodes,
        "pods": len(pods),
        "listCpuSeconds": round(listed, 1),
        "lastRun": run.get("reason", "none"),
        "lastRunSaid": run.get("message", ""),
        **report.figures(found),
    }


def measure(nodes: int, asked: argparse.Namespace, folder: Path) -> Json:
    """Return the figures of one size."""
    console = Console(stderr=True)
    local = LocalCluster(folder / "cluster", ClusterOptions(fake_nodes=False))
    with local as cluster, beside(cluster, folder / "own") as own:
        prepare(local, cluster)
        began = time.monotonic()
        asyncio.run(fill(cluster, Etcd(local.blueprint), *objects.cluster(nodes)[:2]))
        console.print(f"{nodes} nodes: filled in {time.monotonic() - began:.0f} s", style="dim")
        programs = Installed(own, operator_of(cluster, folder))
        return asyncio.run(_measured(programs, nodes, asked.seconds))


def judge(sizes: Sequence[Json]) -> list[str]:
    """Return what misses a bound, a sentence each."""
    return [
        sentence
        for size in sizes
        for sentence in exceeded("operator_scale", f"{size['nodes']} nodes", size)
    ]


def main() -> int:
    """Run the sizes asked for, one after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[500, 2000, 5000])
    parser.add_argument("--seconds", type=float, default=60.0, help="of each part")
    parser.add_argument("--page", action="store_true", help="write the record and the page")
    asked = parser.parse_args()
    folders = ("controllers", "fairstow", "operator", "benchmarks/operator_scale")
    about = provenance("kopf", "msgspec", folders=folders) | {"kubernetes": KUBERNETES}
    sizes = []
    for nodes in asked.nodes:
        with tempfile.TemporaryDirectory(prefix="fairstow-bench-") as folder:
            sizes.append(measure(nodes, asked, Path(folder)))
    record = {"provenance": about, "seconds": asked.seconds, "rate": RATE, "sizes": sizes}
    Console(width=140).print(Markdown(report.table(record)))
    if asked.page:
        report.write(record)
    return verdict(judge(sizes))


if __name__ == "__main__":
    sys.exit(main())
