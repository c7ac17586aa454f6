"""kubeflow's Spark operator, built from its Go module and run as a process beside a cluster.

Its module replaces others, so `go install` refuses it: it is built where Go unpacked it. Its pod
webhook isn't run: it only changes pods in ways that spark-submit can't. Used by test_kubeflow.py.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import yaml

from e2e.controlplane.cache import cache_dir, locked
from e2e.spark_admission import submitting

if TYPE_CHECKING:
    from e2e.controlplane.client import Cluster
    from e2e.controlplane.processes import Processes

MODULE, VERSION = "github.com/kubeflow/spark-operator/v2", "v2.4.0"
BUILD_SECONDS = 1200
_EVERY = ["*"]


def module() -> Path:
    """Return the folder of its sources; skip the test where there is no Go or no such module."""
    try:
        done = subprocess.run(
            ["go", "mod", "download", "-json", f"{MODULE}@{VERSION}"],
            capture_output=True,
            text=True,
            check=False,
            cwd=cache_dir(),
        )
    except FileNotFoundError:
        pytest.skip("no Go to build kubeflow's Spark operator")
    found = json.loads(done.stdout or "{}")
    if "Dir" not in found:
        pytest.skip(f"no {MODULE}: {found.get('Error', done.stderr)}")
    return Path(found["Dir"])


def program() -> Path:
    """Return its program, built if need be: some four minutes on two cores."""
    place = cache_dir() / "bin" / f"spark-operator-{VERSION.removeprefix('v')}"
    with locked(place.with_suffix(".lock")):
        if not place.exists():
            draft = place.with_suffix(".draft")
            command = ["go", "build", "-trimpath", "-mod=readonly", "-ldflags=-s -w"]
            subprocess.run(
                ["nice", "-n", "5", *command, "-o", str(draft), "./cmd/operator"],
                cwd=module(),
                env=os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"},
                check=True,
                timeout=BUILD_SECONDS,
            )
            draft.rename(place)
    return place


def definitions() -> list[dict[str, Any]]:
    """Return its CustomResourceDefinitions."""
    folder = module() / "config" / "crd" / "bases"
    return [yaml.safe_load(file.read_text()) for file in sorted(folder.glob("*.yaml"))]


def rules() -> list[dict[str, Any]]:
    """Return what it may do: everything with its own objects and what an application is made of."""
    groups = ["", "sparkoperator.k8s.io", "networking.k8s.io", "extensions"]
    read = {"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"]}
    return [
        {"apiGroups": groups, "resources": _EVERY, "verbs": _EVERY},
        read | {"verbs": ["get"]},
    ]


def start(processes: Processes, own: Cluster, namespace: str) -> None:
    """Run it for one namespace, with the rights of `own`."""
    raw = own.kubectl("config", "view", "--raw", "--minify", "-o", "json")
    server = urlsplit(json.loads(raw)["clusters"][0]["cluster"]["server"])
    address = {
        "KUBERNETES_SERVICE_HOST": str(server.hostname),
        "KUBERNETES_SERVICE_PORT": str(server.port),
    }
    options = (f"--namespaces={namespace}", "--enable-ui-service=false", "--controller-threads=2")
    processes.spawn(
        "kubeflow",
        [str(program()), "controller", "start", *options, "--health-probe-bind-address=0"],
        env={"KUBECONFIG": str(own.kubeconfig), **address, **submitting.home()},
    )
