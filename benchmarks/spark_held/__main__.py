"""What 10,000 Spark applications that wait cost the operator and the API server.

    python -m benchmarks.spark_held [--apps 10000] [--users 50] [--page]

The operator's real program with the chart's rights on a real API server. First there is one driver
that has all of its queue's cores; then drivers of many users that wait behind it, put into etcd as
the API server would store them; then the operator starts, as after an upgrade, and has to tell all
of them where they stand. Nothing else runs. Measured:

- *told*: seconds from its start until each has a SparkAdmission with a status;
- *resident*: MB of the operator's process then, and the most until then;
- *list*: a whole list of SparkAdmissions, as `kubectl get` asks for it, by pages of 500;
- *status*: bytes of the largest SparkAdmission's status, and of the queue's;
- *idle*: cores that the operator takes afterwards, while nothing changes.

Exits with 1 where a bound of benchmarks/bounds.yaml is missed. `--page` writes
benchmarks/results/spark_held.json and its part of docs/benchmarks/spark.md.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import Progress

from benchmarks.closing import columns, exceeded, rewrite, save, verdict
from benchmarks.operator_scale.meter import cpu_seconds, megabytes, quantile
from benchmarks.operator_scale.seed import Etcd, copies
from benchmarks.provenance import provenance
from e2e.controlplane.build import KUBERNETES
from e2e.controlplane.cluster import LocalCluster
from e2e.controlplane.options import ClusterOptions
from e2e.installed import OPERATOR, Installed, operator_of
from e2e.own_scheduler import beside
from fairstow.kube.aio.api import Api
from fairstow.spark.names import ADMITTED, GATE, QUEUE, USER

if TYPE_CHECKING:
    from e2e.controlplane.client import Cluster

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "spark_held.json"
PAGE = ROOT / "docs" / "benchmarks" / "spark.md"
MARKS = "<!-- held -->", "<!-- end of held -->\n"
NAME = "held"
LISTS = 30
PATIENCE = 1_800.0
_IDLE_SECONDS = 30.0
_SETTLE_SECONDS = 15.0
_CORES = 10
_ADMISSIONS = f"/apis/fairstow.dev/v1alpha1/namespaces/{NAME}/sparkadmissions"
_PODS = f"/api/v1/namespaces/{NAME}/pods"

Json = dict[str, Any]


def driver(name: str, user: str, **more: Any) -> Json:
    """A driver's pod as spark-submit makes it; more: of its spec."""
    container = {
        "name": "spark-kubernetes-driver",
        "image": "registry.example.com/team/spark:4.0.1",
        "args": ["driver", "--class", "org.example.Main", "local:///opt/app.jar"],
        "env": [{"name": f"SETTING_{i}", "value": f"value of setting {i}"} for i in range(6)],
        "resources": {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "2Gi"}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": NAME,
            "name": name,
            "labels": {"spark-role": "driver", "spark-app-selector": f"spark-{name}"},
            "annotations": {USER: user, QUEUE: NAME},
        },
        "spec": {"containers": [container], "restartPolicy": "Never"} | more,
    }


def waiting(apps: int, users: int) -> Iterator[Json]:
    """Yield drivers that wait, of the users in turn."""
    for number in range(apps):
        user = f"user-{number % users:03d}@example.com"
        yield driver(f"job-{number:05d}", user, schedulingGates=[{"name": GATE}])


async def fill(cluster: Cluster, etcd: Etcd, apps: int, users: int) -> None:
    """Have a queue, a driver that has all of its cores, and those that wait."""
    group = "fairstow.dev/v1alpha1"
    meta = {"name": NAME, "labels": {QUEUE: NAME}}
    cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": meta}])
    queue = {"metadata": {"name": NAME}, "spec": {"cores": _CORES}}
    cluster.apply([{"apiVersion": group, "kind": "SparkQueue"} | queue])
    cluster.wait(lambda: cluster.get("-n", NAME, "serviceaccount", "default"), "its account")
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    async with Api.connect(str(cluster.kubeconfig)) as api:
        node = {"metadata": {"name": "node"}}
        await api.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node"} | node)
        first = driver("running", "user-000@example.com", nodeName="node")
        first["metadata"]["annotations"][ADMITTED] = now
        first["spec"]["containers"][0]["resources"]["requests"]["cpu"] = str(_CORES)
        await api.create(_PODS, first)
        status = {"status": {"phase": "Running", "startTime": now}}
        await api.patch(f"{_PODS}/running/status", status)
        one, *others = waiting(apps, users)
        etcd.put(copies(await api.create(_PODS, one), others))


async def told(api: Api, apps: int) -> None:
    """Wait until so many SparkAdmissions have a status."""
    deadline = time.monotonic() + PATIENCE
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("told", total=apps)
        while True:
            page = await api.get(_ADMISSIONS, {"limit": "1"})
            there = len(page["items"]) + page["metadata"].get("remainingItemCount", 0)
            progress.update(task, completed=there)
            if there >= apps and all([_has_status(each) async for each in _all(api)]):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{there} of {apps} applications were told where they stand")
            await asyncio.sleep(0.5)


async def _all(api: Api) -> Any:
    async for page in api.pages(_ADMISSIONS):
        for each in page.items:
            yield each


def _has_status(raw: msgspec.Raw) -> bool:
    return bool(msgspec.json.decode(raw).get("status"))


async def observe(programs: Installed, cluster: Cluster, apps: int) -> Json:
    """Start the operator and return the figures."""
    began = time.monotonic()
    programs.start_operator()
    pid = programs.own.processes.pid(OPERATOR)
    async with Api.connect(str(cluster.kubeconfig)) as api:
        await told(api, apps)
        took, cpu = time.monotonic() - began, cpu_seconds(pid)
        await asyncio.sleep(_SETTLE_SECONDS)
        spent = cpu_seconds(pid)
        await asyncio.sleep(_IDLE_SECONDS)
        idle = (cpu_seconds(pid) - spent) / _IDLE_SECONDS
        lists: list[float] = []
        found: list[msgspec.Raw] = []
        for _ in range(LISTS):
            since = time.monotonic()
            found = [each async for each in _all(api)]
            lists.append(time.monotonic() - since)
        statuses = [msgspec.json.decode(each)["status"] for each in found]
        largest = max((msgspec.json.encode(each) for each in statuses), key=len)
        queue = await api.get(f"/apis/fairstow.dev/v1alpha1/sparkqueues/{NAME}")
    waits = sum(each.get("phase") == "Waiting" for each in statuses)
    if waits != apps:
        raise RuntimeError(f"{waits} of {apps} applications wait; the largest says {largest!r}")
    return {
        "apps": apps,
        "toldSeconds": round(took, 1),
        "toldPerSecond": round(apps / took, 1),
        "toldCpuSeconds": round(cpu, 1),
        "residentMegabytes": round(megabytes(pid)),
        "peakMegabytes": round(megabytes(pid, "VmHWM")),
        "listMedianSeconds": round(quantile(lists, 0.5), 3),
        "list99Seconds": round(quantile(lists, 0.99), 3),
        "statusBytes": len(largest),
        "queueStatusBytes": len(msgspec.json.encode(queue["status"])),
        "idleCores": round(idle, 3),
    }


def measure(apps: int, users: int, folder: Path) -> Json:
    """Return the figures of one size."""
    local = LocalCluster(folder / "cluster", ClusterOptions(fake_nodes=False))
    with local as cluster, beside(cluster, folder / "own") as own:
        asyncio.run(fill(cluster, Etcd(local.blueprint), apps, users))
        local.processes.stop_one("kube-scheduler")
        local.processes.stop_one("kube-controller-manager")
        programs = Installed(own, operator_of(cluster, folder))
        try:
            return asyncio.run(observe(programs, cluster, apps))
        except (RuntimeError, TimeoutError) as error:
            last = "\n".join(programs.log().splitlines()[-20:])
            raise RuntimeError(f"{error}; the operator last said\n{last}") from error


_ROWS = (
    ("toldSeconds", "until all are told, s", "{:,.0f}"),
    ("toldPerSecond", "told, a second", "{:.0f}"),
    ("toldCpuSeconds", "operator's CPU s until then", "{:.0f}"),
    ("residentMegabytes", "operator, resident MB", "{:.0f}"),
    ("peakMegabytes", "until then: its most, MB", "{:.0f}"),
    ("listMedianSeconds", "a list of all, s: median", "{:.2f}"),
    ("list99Seconds", "a list of all, s: 99 %", "{:.2f}"),
    ("statusBytes", "largest SparkAdmission's status, bytes", "{:,}"),
    ("queueStatusBytes", "the SparkQueue's status, bytes", "{:,}"),
    ("idleCores", "operator while nothing changes, cores", "{:.3f}"),
)


def table(sizes: list[Json], users: int) -> str:
    """Return the figures as Markdown."""
    about = provenance("kopf", "msgspec", folders=("controllers", "fairstow", "operator"))
    said = (
        f"{about['date']}, commit {about['commit']}, {about['cores']} cores, Kubernetes "
        f"{KUBERNETES}; applications of {users} users, one run each."
    )
    heads = [f"{size['apps']:,} that wait" for size in sizes]
    return "\n".join([said, "", *columns(_ROWS, heads, sizes)]) + "\n"


def judge(sizes: list[Json]) -> list[str]:
    """Return what misses a bound, a sentence each."""
    return [
        sentence
        for size in sizes
        for sentence in exceeded("spark_held", f"{size['apps']} applications", size)
    ]


def main() -> int:
    """Run the sizes asked for, one after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--apps", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--page", action="store_true", help="write the record and the page")
    asked = parser.parse_args()
    sizes = []
    for apps in asked.apps:
        with tempfile.TemporaryDirectory(prefix="fairstow-bench-") as folder:
            sizes.append(measure(apps, asked.users, Path(folder)))
    text = table(sizes, asked.users)
    Console(width=120).print(Markdown(text))
    if asked.page:
        save(RESULTS, sizes, folders=("controllers", "fairstow", "operator"))
        rewrite(PAGE, MARKS, text)
    return verdict(judge(sizes))


if __name__ == "__main__":
    sys.exit(main())
