"""Measures the local control plane: time to ready, 1,000 pods of one Deployment, memory.

    python -m benchmarks.control_plane [-o FILE] [--runs N]

Bounds (of the issue "Local control plane"): ready within 10 s of a warm start, 1,000 pods on 200
fake nodes Running within 30 s, all processes together within 1.5 GB. Exits with 1 if the mean of
one is beyond its bound. Build first: `python -m e2e.controlplane build`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from e2e.controlplane.build import KUBERNETES, KWOK
from e2e.controlplane.cluster import LocalCluster
from e2e.controlplane.kwok import GPU, gpu_node
from e2e.controlplane.processes import running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.controlplane.client import Cluster

NODES = 200
PODS = 1000
BOUNDS = {"ready_seconds": 10.0, "pods_running_seconds": 30.0, "peak_memory_mb": 1500.0}
TITLES = {
    "ready_seconds": "ready after a warm start, s",
    "pods_running_seconds": f"{PODS} pods on {NODES} nodes Running, s",
    "peak_memory_mb": "resident memory of all processes, highest sum, MB",
}


@dataclass
class Memory:
    """Resident memory in MB: the highest sum seen, and its parts by component at that moment."""

    total: float = 0.0
    parts: dict[str, float] | None = None


def resident(folder: Path) -> dict[str, float]:
    """Return the resident memory in MB of each recorded process of the cluster."""
    found = {}
    for record in folder.glob("pids/*.json"):
        if pid := running(record):
            status = Path(f"/proc/{pid}/status").read_text()
            pages = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
            found[record.stem.partition("-")[2]] = int(pages.split()[1]) / 1000
    return found


@contextmanager
def watching(folder: Path) -> Iterator[Memory]:
    """Sample the memory twice a second while the block runs."""
    highest = Memory()
    done = threading.Event()

    def sample() -> None:
        while not done.wait(0.5):
            parts = resident(folder)
            if sum(parts.values()) > highest.total:
                highest.total, highest.parts = sum(parts.values()), parts

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield highest
    finally:
        done.set()
        thread.join()


def deployment() -> dict[str, Any]:
    """Return a Deployment of PODS one-GPU pods."""
    labels = {"app": "many"}
    container = {
        "name": "main",
        "image": "example.com/none",
        "resources": {"limits": {GPU: "1"}, "requests": {"cpu": "1", "memory": "1Gi"}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "many", "namespace": "default"},
        "spec": {
            "replicas": PODS,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def fill(cluster: Cluster) -> float:
    """Return the seconds from the Deployment's creation until all its pods are ready."""
    cluster.apply(gpu_node(f"node-{index}", zone=f"zone-{index % 3}") for index in range(NODES))
    start = time.monotonic()
    cluster.apply([deployment()])
    cluster.wait(
        lambda: cluster.get("deployment", "many")["status"].get("readyReplicas") == PODS,
        f"{PODS} pods",
        timeout=300,
    )
    return time.monotonic() - start


def measure(folder: Path) -> dict[str, Any]:
    """Run once and return the three figures, and the memory by component."""
    start = time.monotonic()
    with LocalCluster(folder) as cluster:
        ready = time.monotonic() - start
        with watching(folder) as memory:
            pods = fill(cluster)
            time.sleep(2)
    return {
        "ready_seconds": round(ready, 2),
        "pods_running_seconds": round(pods, 2),
        "peak_memory_mb": round(memory.total),
        "memory_mb": {name: round(size) for name, size in sorted((memory.parts or {}).items())},
    }


def report(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean, spread and bound of each figure."""
    figures = {}
    for name, bound in BOUNDS.items():
        values = [run[name] for run in runs]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        mean = statistics.mean(values)
        figures[name] = {
            "mean": round(mean, 2),
            "stdev": round(spread, 2),
            "bound": bound,
            "within": mean <= bound,
        }
    return figures


def main() -> int:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-o", metavar="FILE", type=Path, help="write the figures as JSON")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    runs = []
    for _ in range(options.runs):
        with tempfile.TemporaryDirectory(prefix="fairstow-bench-") as folder:
            runs.append(measure(Path(folder)))
    figures = report(runs)
    table = Table("figure", "mean ± stdev", "bound", "")
    for name, figure in figures.items():
        cells = (f"{figure['mean']} ± {figure['stdev']}", f"≤ {figure['bound']:g}")
        table.add_row(TITLES[name], *cells, "ok" if figure["within"] else "BEYOND")
    Console().print(table)
    if options.o:
        machine = {"cpus": os.cpu_count(), "load_before": round(load, 2), "os": platform.system()}
        versions = {"kubernetes": KUBERNETES, "kwok": KWOK}
        content = {"figures": figures, "runs": runs, "machine": machine, "versions": versions}
        options.o.write_text(json.dumps(content, indent=1) + "\n")
    return 0 if all(figure["within"] for figure in figures.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
