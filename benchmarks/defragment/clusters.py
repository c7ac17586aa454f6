"""The clusters that are defragmented, as raw objects and as a snapshot.

openb-120: a real dump of 120 nodes, nearly full, from the folder that FAIRSTOW_DATA names.

openb-1213: all GPU nodes of the openb trace (Alibaba cluster-trace-gpu-v2023), filled with its
multigpu20 pods in random order, each on the node of least allocated CPU and memory (kube-scheduler
default) with room, until as many GPUs were asked for as there are; then each pod has ended with
probability 15 %. A share of a GPU counts as a whole one, as Kubernetes counts. Pods are of as many
ReplicaSets as there are different requests, all may move, and none waits.
"""

import csv
import gzip
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from fairstow.cluster.items import item
from fairstow.cluster.project import Builder
from fairstow.cluster.snapshot import Snapshot

GPU = "nvidia.com/gpu"
ENDED = 0.15
_MIB = 1 << 20

Json = dict[str, Any]


def data() -> Path:
    """Return the folder of data sets.

    Raises:
        SystemExit: it isn't named.
    """
    folder = os.environ.get("FAIRSTOW_DATA")
    if not folder:
        raise SystemExit(
            "FAIRSTOW_DATA isn't set: name the folder that holds clusters/openb-120.json.gz and "
            "openb/openb_node_list_gpu_node.csv"
        )
    return Path(folder)


def openb_120(seed: int) -> list[Json]:
    """Return the dump's objects; there is one whatever the seed."""
    del seed
    with gzip.open(data() / "clusters" / "openb-120.json.gz") as file:
        found: list[Json] = json.load(file)["items"]
    return found


def openb_1213(seed: int) -> list[Json]:
    """Return nodes and running pods of the trace's whole cluster after some churn."""
    rng = random.Random(seed)
    with (data() / "openb" / "openb_node_list_gpu_node.csv").open() as file:
        nodes = list(csv.DictReader(file))
    with (data() / "openb" / "openb_pod_list_multigpu20.csv").open() as file:
        pods = [p for p in csv.DictReader(file) if int(p["num_gpu"])]
    objects = [_node(n) for n in nodes]
    total = [[int(n["cpu_milli"]), int(n["memory_mib"]), int(n["gpu"])] for n in nodes]
    left, asked = [list(t) for t in total], 0
    while asked < sum(t[2] for t in total):
        wants = rng.choice(pods)
        asks = [int(wants["cpu_milli"]), int(wants["memory_mib"]), int(wants["num_gpu"])]
        asked += asks[2]
        on = _least_allocated(asks, left, total)
        if on is None:
            continue
        left[on] = [room - ask for room, ask in zip(left[on], asks, strict=True)]
        if rng.random() >= ENDED:
            objects.append(_pod(len(objects), asks, nodes[on]["sn"]))
    return objects


def _least_allocated(asks: list[int], left: list[list[int]], total: list[list[int]]) -> int | None:
    """Return the node with room of which most CPU and memory would stay free, by share."""
    best, found = -1.0, None
    for n, room in enumerate(left):
        if all(r >= a for r, a in zip(room, asks, strict=True)):
            share = sum((room[i] - asks[i]) / total[n][i] for i in (0, 1))
            if share > best:
                best, found = share, n
    return found


def _node(row: dict[str, str]) -> Json:
    room = {
        "cpu": f"{row['cpu_milli']}m",
        "memory": str(int(row["memory_mib"]) * _MIB),
        "pods": "110",
        GPU: row["gpu"],
    }
    labels = {"nvidia.com/gpu.product": row["model"]}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": row["sn"], "uid": row["sn"], "labels": labels},
        "status": {"allocatable": room, "conditions": [{"type": "Ready", "status": "True"}]},
    }


def _pod(number: int, asks: list[int], on: str) -> Json:
    kind = "-".join(map(str, asks))
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"w-{kind}", "uid": kind}
    requests = {"cpu": f"{asks[0]}m", "memory": str(asks[1] * _MIB), GPU: str(asks[2])}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": "bench",
            "name": f"pod-{number}",
            "uid": f"pod-{number}",
            "ownerReferences": [owner | {"controller": True}],
        },
        "spec": {
            "nodeName": on,
            "priority": 0,
            "containers": [{"name": "main", "resources": {"requests": requests}}],
        },
        "status": {"phase": "Running"},
    }


def snapshot(objects: list[Json]) -> Snapshot:
    """Return what the planner sees of objects."""
    builder = Builder()
    for i, content in enumerate(_known(objects)):
        builder.add(item("defragment", i, msgspec.Raw(msgspec.json.encode(content))))
    return builder.build()


def _known(objects: list[Json]) -> Iterator[Json]:
    yield from objects
    if not any(o["kind"] == "PodDisruptionBudget" for o in objects):
        yield {"apiVersion": "policy/v1", "kind": "PodDisruptionBudgetList", "items": []}
