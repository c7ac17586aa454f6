"""How long a large dump takes to become a snapshot, and how much memory at most.

    python -m benchmarks.load_dump [--nodes 5000] [--pods-per-node 10] [-f DUMP] [-o RESULT]

Makes a dump in the form of `kubectl get -o json`, compressed, and loads it in a process of its
own, so that peak memory is the load's alone. Loading is one thread that computes, so `cpuSeconds`
is the time it takes where a core is free; `seconds` is wall-clock time, which other work on the
machine makes longer. Exits with 1 where 5,000 nodes with 10 pods each take more than
`benchmarks/bounds.yaml` allows.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[1]
BOUNDS = ROOT / "benchmarks" / "bounds.yaml"
BOUNDED_NODES = 5000
APPS = 500


def main() -> int:
    """Run the benchmark as its arguments say; 0 if the bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--pods-per-node", type=int, default=10)
    parser.add_argument("-f", "--dump", type=Path, help="load this dump instead of a made one")
    parser.add_argument("-o", "--output", type=Path, help="write the result as JSON")
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        print(json.dumps(load(options.load)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        path = options.dump or Path(folder) / "dump.json.gz"
        if options.dump is None:
            make(path, options.nodes, options.pods_per_node)
        result = in_own_process(path)
    print(
        "{nodes} nodes, {pods} pods: {seconds} s ({cpuSeconds} s of CPU), {peakMegabytes} MB at "
        "most (dump: {dumpMegabytes} MB)".format(**result)
    )
    bounds = judged(result)
    if options.output:
        from benchmarks.provenance import provenance

        about = provenance("msgspec", folders=("fairstow/cluster", "benchmarks/load_dump.py"))
        written = {"bounds": bounds, "provenance": about, "result": result}
        options.output.write_text(json.dumps(written, indent=1) + "\n")
    missed = [b for b in bounds if b["measured"] > b["at_most"]]
    for bound in missed:
        print("{bound}: {measured}, at most {at_most}".format(**bound))
    return 1 if missed else 0


def judged(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each bound with what was measured; none for a dump larger than they are for."""
    import yaml

    if result["nodes"] > BOUNDED_NODES:
        return []
    bounds = yaml.safe_load(BOUNDS.read_text())["load_dump"]
    return [
        {"bound": name, "measured": result[name], "at_most": limit["at_most"]}
        for name, limit in bounds.items()
    ]


def load(path: Path) -> dict[str, Any]:
    """Load a dump in this process and say what it took; imports are part of it."""
    started, cpu = time.perf_counter(), time.process_time()
    from fairstow.cluster import dump, project

    snapshot = project.build(dump.read([str(path)]))
    digest = snapshot.hash
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "nodes": len(snapshot.nodes),
        "pods": len(snapshot.pods),
        "seconds": round(seconds, 2),
        "cpuSeconds": round(time.process_time() - cpu, 2),
        "peakMegabytes": round(peak / 1e6),
        "dumpMegabytes": round(path.stat().st_size / 1e6, 1),
        "snapshotHash": digest,
    }


def in_own_process(path: Path) -> dict[str, Any]:
    """Return what `load` says in a fresh process."""
    command = [sys.executable, __file__, "--load", str(path)]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def make(path: Path, nodes: int, pods_per_node: int) -> None:
    """Write a made-up cluster, item by item, as kubectl would."""
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write('{\n    "apiVersion": "v1",\n    "items": [\n')
        for number in range(nodes):
            write(file, node(number), first=number == 0)
            for index in range(number * pods_per_node, (number + 1) * pods_per_node):
                write(file, pod(index, number))
        file.write('\n    ],\n    "kind": "List",\n    "metadata": {"resourceVersion": ""}\n}\n')


def write(file: IO[str], item: dict[str, Any], *, first: bool = False) -> None:
    """Write one item of the list."""
    text = json.dumps(item, indent=4, sort_keys=True).replace("\n", "\n        ")
    file.write(("" if first else ",\n") + "        " + text)


def node(number: int) -> dict[str, Any]:
    """Return a node with eight GPUs, as long as a real one's JSON."""
    name = f"gpu-{number:05}"
    room = {"cpu": "128", "memory": "1056768Mi", "nvidia.com/gpu": "8", "pods": "110"}
    kinds = ("MemoryPressure", "DiskPressure", "PIDPressure")
    conditions = [{"type": kind, "status": "False", "reason": "Fine"} for kind in kinds]
    image = {"names": ["registry.example.com/" + "x" * 60], "sizeBytes": 1_000_000_000}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "uid": f"node-{number}",
            "labels": {
                "kubernetes.io/hostname": name,
                "topology.kubernetes.io/zone": f"zone-{number % 3}",
                "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB",
            },
        },
        "spec": {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]},
        "status": {
            "allocatable": room,
            "capacity": room,
            "conditions": [*conditions, {"type": "Ready", "status": "True", "reason": "Kubelet"}],
            "images": [image] * 30,
        },
    }


def pod(index: int, number: int) -> dict[str, Any]:
    """Return a running pod, as long as a real one's JSON."""
    app = f"app-{index % APPS}"
    requests = {"cpu": "4", "memory": "32Gi"} | ({"nvidia.com/gpu": "1"} if index % 2 else {})
    owner = {"apiVersion": "apps/v1", "controller": True, "kind": "ReplicaSet"}
    variables = [{"name": f"SETTING_{n}", "value": "some value or other"} for n in range(15)]
    token = {"name": "kube-api-access", "projected": {"defaultMode": 420, "sources": []}}
    state = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "annotations": {"prometheus.io/scrape": "true"},
            "labels": {"app": app, "pod-template-hash": f"{index % APPS:09}"},
            "name": f"{app}-{index % APPS:09}-{index:06}",
            "namespace": f"team-{index % 40}",
            "ownerReferences": [owner | {"name": app, "uid": f"owner-{app}"}],
            "uid": f"pod-{index}",
        },
        "spec": {
            "containers": [
                {
                    "env": variables,
                    "image": "registry.example.com/team/app:1",
                    "livenessProbe": {"httpGet": {"path": "/live", "port": 8080}},
                    "name": "main",
                    "resources": {"limits": requests, "requests": requests},
                    "volumeMounts": [{"mountPath": "/var/run/secrets", "name": "kube-api-access"}],
                }
            ],
            "nodeName": f"gpu-{number:05}",
            "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"},
            "priority": index % 4 * 100,
            "schedulerName": "default-scheduler",
            "tolerations": [
                {"effect": "NoSchedule", "key": "nvidia.com/gpu", "operator": "Exists"},
                {"effect": "NoExecute", "key": "node.kubernetes.io/not-ready",
                 "operator": "Exists", "tolerationSeconds": 300},
            ],
            "volumes": [token],
        },
        "status": {
            "conditions": [
                {"lastTransitionTime": "2026-01-01T00:00:00Z", "status": "True", "type": kind}
                for kind in ("Initialized", "Ready", "ContainersReady", "PodScheduled")
            ],
            "containerStatuses": [
                {
                    "allocatedResources": requests,
                    "imageID": "sha256:" + "0" * 64,
                    "name": "main",
                    "ready": True,
                    "resources": {"limits": requests, "requests": requests},
                    "state": state,
                }
            ],
            "phase": "Running",
            "podIP": "10.0.0.1",
        },
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
