"""The real LeaderWorkerSet beside a cluster: its kinds, its controller and its webhooks.

Built from the project's own source, as the control plane is. KEDA's kinds are there likewise,
without KEDA's operator. Used by test_leader_worker_sets.py.
"""

from __future__ import annotations

import json
from base64 import b64encode
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import yaml

from e2e.controlplane.build import KEDA, LEADER_WORKER_SET, LWS, ensure, module
from e2e.controlplane.processes import Processes
from e2e.controlplane.tls import Authority
from e2e.own_webhook import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.controlplane.client import Cluster

SET, INDEX = "leaderworkerset.sigs.k8s.io/name", "leaderworkerset.sigs.k8s.io/worker-index"


@contextmanager
def running(cluster: Cluster, folder: Path) -> Iterator[None]:
    """Have a cluster that knows LeaderWorkerSets, and their controller. Raises BuildError."""
    program, sources = ensure(LWS), module("sigs.k8s.io/lws", LEADER_WORKER_SET)
    kinds(cluster, sources / "config" / "crd" / "bases")
    processes, port = Processes(folder, die_with_parent=True), free_port()
    authority = Authority(folder / "pki")
    pair = authority.issue("lws", hosts=["localhost"])
    (folder / "tls.crt").write_bytes(pair.cert.read_bytes())
    (folder / "tls.key").write_bytes(pair.key.read_bytes())
    settings = {
        "apiVersion": "config.lws.x-k8s.io/v1alpha1",
        "kind": "Configuration",
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "webhook": {"host": "127.0.0.1", "port": port, "certDir": str(folder)},
        "metrics": {"bindAddress": "0"},
        "health": {"healthProbeBindAddress": f"127.0.0.1:{free_port()}"},
    }
    file = folder / "lws.json"
    file.write_text(json.dumps(settings))
    hooks = _hooks(sources / "config" / "webhook" / "manifests.yaml", authority, port)
    try:
        given = (f"--config={file}", f"--kubeconfig={cluster.kubeconfig}")
        processes.spawn("lws", (program, *given))
        cluster.apply(hooks)
        yield
        processes.check()
    finally:
        for each in hooks:
            cluster.kubectl("delete", each["kind"], each["metadata"]["name"], "--ignore-not-found")
        processes.stop()


def keda(cluster: Cluster) -> None:
    """Make KEDA's kinds known. Raises BuildError."""
    kinds(cluster, module("github.com/kedacore/keda/v2", KEDA) / "config" / "crd" / "bases")


def kinds(cluster: Cluster, folder: Path) -> None:
    """Make known what a project defines."""
    cluster.kubectl("apply", "--server-side", "-f", str(folder))
    wait = ("wait", "--for=condition=Established", "--timeout=30s", "-f", str(folder))
    cluster.kubectl(*wait)


def _hooks(file: Path, authority: Authority, port: int) -> list[dict[str, Any]]:
    """Return the project's webhooks, called beside the cluster and for pods of sets alone."""
    bundle = b64encode(authority.pair.cert.read_bytes()).decode()
    found: list[dict[str, Any]] = list(yaml.safe_load_all(file.read_text()))
    for each in found:
        each["metadata"]["name"] = "e2e-lws"
        for hook in each["webhooks"]:
            path = hook["clientConfig"]["service"]["path"]
            hook["clientConfig"] = {"url": f"https://localhost:{port}{path}", "caBundle": bundle}
            if hook["rules"][0]["resources"] == ["pods"]:
                selects = {"matchExpressions": [{"key": SET, "operator": "Exists"}]}
                hook["objectSelector"] = selects
    return found
