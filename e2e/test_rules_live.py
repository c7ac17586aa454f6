"""Fairstow's rules against a scheduler at work: which nodes does it call feasible?

A recording extender gets exactly the nodes that passed the scheduler's filters, and lets none
through, so that every pod is asked about in the same state. Covers what the API server does to
objects on the way (defaults, label keys merged into selectors), which test_rules_against_scheduler
takes for granted; each single rule is tested there. Not covered here: volumes and room.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from e2e.controlplane.client import KubectlError
from e2e.controlplane.cluster import LocalCluster
from e2e.controlplane.kwok import gpu_node
from e2e.controlplane.options import ClusterOptions
from fairstow.cluster.state import State
from fairstow.kube.client import connect
from fairstow.kube.live import read_snapshot
from tests.cluster.random_clusters import cluster
from tests.cluster.random_pods import NAMESPACES, Json, Uses

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.controlplane.client import Cluster

pytestmark = pytest.mark.e2e

USES = Uses.NODES | Uses.AFFINITY | Uses.SPREAD | Uses.PORTS
MERGED = ("matchLabelKeys", "mismatchLabelKeys")


@contextmanager
def recorder() -> Iterator[tuple[int, Mapping[str, set[frozenset[str]]]]]:
    """Serve an extender that keeps, by pod UID, each set of nodes it was asked about."""
    seen: dict[str, set[frozenset[str]]] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            feasible = frozenset(asked["NodeNames"])
            seen.setdefault(asked["Pod"]["metadata"]["uid"], set()).add(feasible)
            body = json.dumps({"NodeNames": []}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.usefixtures("local_programs")
def test_feasible_nodes_of_a_scheduler_at_work(tmp_path: Path) -> None:
    with recorder() as (port, seen):
        extender = {
            "urlPrefix": f"http://127.0.0.1:{port}",
            "filterVerb": "filter",
            "nodeCacheCapable": True,
            "httpTimeout": "10s",
        }
        options = ClusterOptions(
            feature_gates={"TaintTolerationComparisonOperators": True},
            apiserver_args=("--disable-admission-plugins=ServiceAccount",),
            scheduler_config={"percentageOfNodesToScore": 100, "extenders": [extender]},
        )
        with LocalCluster(tmp_path / "c", options) as running:
            waiting = fill(running)
            found = read_snapshot(connect(str(running.kubeconfig)))
    state = State(found)
    accepted = nowhere = 0
    for pod in found.pods:
        if pod.uid in waiting:
            fits = frozenset(n.name for n in found.nodes if state.refusal(pod, n) is None)
            assert seen.get(pod.uid, set()) == ({fits} if fits else set()), pod
            accepted += len(fits)
            nowhere += not fits
    assert (len(waiting) >= 30, accepted >= 50, nowhere >= 3) == (True, True, True)


def fill(running: Cluster) -> set[str]:
    """Make a random cluster; return the pods that the scheduler has given up on, by UID."""
    made = cluster(6, USES, nodes=12, pods=100)
    for raw in made.nodes[::2]:  # else few pods would fit anywhere
        raw["spec"] = {"taints": []}
    # Nothing is to be preempted: the extender's refusals look like full nodes.
    quiet = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "quiet"},
        "value": 0,
        "globalDefault": True,
        "preemptionPolicy": "Never",
    }
    running.apply([quiet, *made.others, *(node(n) for n in made.nodes)])
    running.kubectl("wait", "--for=condition=Ready", "node", "--all")
    pods = [pod(p) for p in made.pods.values()]
    create(running, [p for p in pods if "nodeName" in p["spec"]])
    for namespace in NAMESPACES:
        running.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod", "--all")
    create(running, [p for p in pods if "nodeName" not in p["spec"]])

    def given_up() -> set[str] | None:
        pending = [p for p in running.items("pods", "-A") if "nodeName" not in p["spec"]]
        said = [c for p in pending for c in p["status"].get("conditions", ())]
        done = [c for c in said if c["type"] == "PodScheduled" and c["status"] == "False"]
        return {p["metadata"]["uid"] for p in pending} if len(done) == len(pending) else None

    return running.wait(given_up, "the scheduler's verdict on every pod")


def create(running: Cluster, pods: list[Json]) -> None:
    """Create the pods that an API server allows; random ones break some of its rules."""
    try:
        running.kubectl(
            "create",
            "-f",
            "-",
            stdin=json.dumps({"kind": "List", "apiVersion": "v1", "items": pods}),
        )
    except KubectlError as error:
        if "is invalid" not in str(error):
            raise


def node(raw: Json) -> Json:
    """A fake node with a random one's labels and taints, none of which evicts."""
    taints = [
        t | {"effect": t["effect"].replace("NoExecute", "NoSchedule")}
        for t in raw["spec"]["taints"]
    ]
    unique = {(t["key"], t["effect"]): t for t in taints}.values()
    made = gpu_node(raw["metadata"]["name"], gpus=0, taints=unique)
    labels = {k: v for k, v in raw["metadata"]["labels"].items() if not v.startswith("-")}
    made["metadata"]["labels"] = labels
    made["spec"]["unschedulable"] = raw["spec"].get("unschedulable", False)
    return made


def pod(raw: Json) -> Json:
    """A random pod as a person writes it: label keys not merged, nothing only a server sets."""
    spec = {k: v for k, v in raw["spec"].items() if k != "priority"}
    for container in (*spec["containers"], *spec.get("initContainers", ())):
        container["image"] = "registry.example/work:1"
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = spec["affinity"].get(kind, {})
        for term in rules.get("requiredDuringSchedulingIgnoredDuringExecution", ()):
            if any(key in term for key in MERGED):
                term["labelSelector"]["matchExpressions"].pop()
    meta = {k: raw["metadata"][k] for k in ("name", "namespace", "labels")}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
