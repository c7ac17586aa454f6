"""How the planner grows: 500 to 5,000 nodes with 10 pods each, 2 % of them pending.

    python -m benchmarks.scale [--nodes 500 2000 5000] [--window 9] [--page]

The cluster: equal nodes of 8 GPUs, 140 workloads of 0 to 2 GPUs a pod placed at random where they
fit, so that holes are small and many; the pending pods ask for 2 to 8 GPUs. Each size runs in a
process of its own. The window is what is spent, so what grows is the time until the search can
start, the memory, and what is left undone: pods placed against the proved bound.

Exits with 1 where a bound of benchmarks/bounds.yaml is missed (at the size named there). `--page`
writes benchmarks/results/scale.json, the page's table and its curve.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import track

from benchmarks import scale_report
from benchmarks.closing import verdict
from benchmarks.provenance import provenance
from fairstow.cluster.items import item
from fairstow.cluster.project import Builder
from fairstow.cluster.snapshot import Snapshot

BOUNDS = Path(__file__).parent / "bounds.yaml"
PODS_PER_NODE = 10
PENDING = 0.02
GPU = "nvidia.com/gpu"
ROOM = {"cpu": "96", "memory": "768Gi", "pods": "110", GPU: "8"}
CAPACITY = (96_000, 768, 8)
PRIORITIES = (0, 100, 1000)


def objects(nodes: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the cluster's nodes and pods."""
    rng = random.Random(seed)
    small = [
        (rng.choice((500, 1000, 2000, 4000, 8000)), rng.choice((1, 2, 4, 8, 16, 32)),
         rng.choice((0, 0, 0, 1, 1, 2)))
        for _ in range(140)
    ]  # fmt: skip
    large = [(8000, 32, rng.choice((2, 4, 4, 8))) for _ in range(10)]
    free = [list(CAPACITY) for _ in range(nodes)]
    for n in range(nodes):
        yield {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": f"node-{n:05d}", "uid": f"node-{n}"},
            "status": {"allocatable": ROOM, "conditions": [{"type": "Ready", "status": "True"}]},
        }
    total = nodes * PODS_PER_NODE
    for i in range(total):
        if i >= total * (1 - PENDING):
            w = rng.randrange(len(large))
            yield _pod(i, len(small) + w, large[w], None)
            continue
        w, on = _somewhere(rng, small, free)
        free[on] = [left - wants for left, wants in zip(free[on], small[w], strict=True)]
        yield _pod(i, w, small[w], on)


def _somewhere(
    rng: random.Random, small: list[tuple[int, int, int]], free: list[list[int]]
) -> tuple[int, int]:
    """Return a workload and a node with room for a pod of it, at random."""
    while True:
        w = rng.randrange(len(small))
        for n in (rng.randrange(len(free)) for _ in range(6)):
            if _fits(free[n], small[w]):
                return w, n


def _fits(free: list[int], wants: tuple[int, int, int]) -> bool:
    return all(left >= w for left, w in zip(free, wants, strict=True))


def _pod(number: int, workload: int, wants: tuple[int, int, int], on: int | None) -> dict[str, Any]:
    cpu, memory, gpus = wants
    requests = {"cpu": f"{cpu}m", "memory": f"{memory}Gi"} | ({GPU: str(gpus)} if gpus else {})
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"w-{workload}"}
    spec = {
        "priority": PRIORITIES[workload % 3],
        "containers": [{"name": "main", "resources": {"requests": requests}}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": "bench",
            "name": f"pod-{number}",
            "uid": f"pod-{number}",
            "ownerReferences": [owner | {"uid": f"w-{workload}", "controller": True}],
        },
        "spec": spec if on is None else spec | {"nodeName": f"node-{on:05d}"},
        "status": {"phase": "Pending" if on is None else "Running"},
    }


def snapshot(nodes: int, seed: int = 0) -> Snapshot:
    """Return the benchmark's cluster."""
    builder = Builder()
    for i, content in enumerate(objects(nodes, seed)):
        builder.add(item("scale", i, msgspec.Raw(msgspec.json.encode(content))))
    return builder.build()


def measure(nodes: int, window: float) -> dict[str, Any]:
    """Decide once in this process and say what it took."""
    from fairstow.packing.formulate import formulate
    from fairstow.packing.model import Request
    from fairstow.packing.planner import decide
    from fairstow.packing.worker import Worker

    with Worker() as worker:
        cluster = snapshot(nodes)
        worker.ready(60)
        started = time.perf_counter()
        formulate(cluster)
        formulated = time.perf_counter() - started
        started = time.perf_counter()
        request = Request(cluster, window=window)
        decision = decide(request, worker, time.monotonic, os.cpu_count() or 1)
        seconds = time.perf_counter() - started
    # The solver is a child of this process and is counted once it has ended.
    peak = sum(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {
        "nodes": nodes,
        "pods": len(cluster.pods),
        "pending": len(cluster.pending),
        "formulateSeconds": round(formulated, 2),
        "seconds": round(seconds, 2),
        "placed": len(decision.placements),
        "moves": len(decision.moves),
        "boundPods": sum(t.bound - t.before for t in decision.tiers),
        "peakMegabytes": round(peak / 1024),
    }


def judge(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the bounds that are missed, with what was measured."""
    bounds = yaml.safe_load(BOUNDS.read_text())["scale"]
    largest = [r for r in results if r["nodes"] == bounds["nodes"]]
    return [
        {"bound": name, "measured": found[name], **bounds[name]}
        for found in largest
        for name in ("seconds", "peakMegabytes")
        if found[name] > bounds[name]["at_most"]
    ]


def main() -> int:
    """Run the sizes asked for, one after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[500, 1000, 2000, 5000])
    parser.add_argument("--window", type=float, default=9.0, help="seconds per decision")
    parser.add_argument("--page", action="store_true", help="write the record and the page")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(asked.one, asked.window)))
        return 0
    about = provenance("ortools", folders=("fairstow", "benchmarks/scale.py"))
    results = []
    for nodes in track(asked.nodes, "growth", console=Console(stderr=True)):
        command = ["-m", "benchmarks.scale", "--one", str(nodes), "--window", str(asked.window)]
        done = subprocess.run([sys.executable, *command], check=True, stdout=subprocess.PIPE)
        results.append(json.loads(done.stdout))
    Console(width=120).print(Markdown(scale_report.table(results)))
    if asked.page:
        scale_report.write({"provenance": about, "windowSeconds": asked.window, "sizes": results})
    missed = judge(results)
    return verdict(f"{b['bound']}: {b['measured']}, at most {b['at_most']}" for b in missed)


if __name__ == "__main__":
    sys.exit(main())
