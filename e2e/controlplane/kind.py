"""A cluster in Docker by kind, for machines that have Docker and no Go. Used by provider.py."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

from e2e.controlplane.build import KUBERNETES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CREATE_SECONDS = 600


class KindError(Exception):
    """kind is missing or could not create a cluster."""


def docker_works() -> bool:
    """Whether `docker info` succeeds."""
    if shutil.which("docker") is None:
        return False
    try:
        reply = subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return False
    return reply.returncode == 0


@contextmanager
def kind_cluster(folder: Path) -> Iterator[Path]:
    """Create a cluster of its own name, yield its kubeconfig, delete it again."""
    if shutil.which("kind") is None:
        raise KindError("E2E_CLUSTER=kind needs the `kind` command: https://kind.sigs.k8s.io")
    folder.mkdir(parents=True, exist_ok=True)
    kubeconfig = folder / "kind.kubeconfig"
    name = f"fairstow-e2e-{uuid.uuid4().hex[:8]}"
    image = f"kindest/node:v{KUBERNETES}"
    scope = ["--name", name, "--kubeconfig", str(kubeconfig)]
    try:
        reply = subprocess.run(
            ["kind", "create", "cluster", *scope, "--image", image, "--wait", "120s"],
            capture_output=True,
            text=True,
            timeout=_CREATE_SECONDS,
            check=False,
        )
        if reply.returncode:
            raise KindError(f"kind create cluster failed:\n{reply.stderr.strip()}")
        yield kubeconfig
    finally:
        subprocess.run(
            ["kind", "delete", "cluster", *scope], capture_output=True, timeout=120, check=False
        )
