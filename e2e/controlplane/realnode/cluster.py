"""A running cluster with a real node as tests see it. Handed out by the `real_cluster` fixture."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from e2e.controlplane.client import Cluster, KubectlError
from e2e.controlplane.realnode.config import NODE_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from e2e.controlplane.audit import Audit
    from e2e.controlplane.realnode.node import RealNode


@dataclass(frozen=True)
class RealCluster(Cluster):
    """Like any cluster; besides, helm works and pods on `node_name` really run."""

    helm_program: Path
    image: str
    """The product's image, already on the node: use it with imagePullPolicy IfNotPresent."""
    node: RealNode
    """For other images: `load`, `load_scheduler`."""
    audit: Audit
    """What ServiceAccounts have asked of the API server."""
    network: Path
    """The network namespace that pods, Services and the node are in."""
    node_name: str = NODE_NAME

    def helm(self, *args: str, timeout: float = 300) -> str:
        """Run helm and return its output. Raises KubectlError."""
        return self.run("helm", [str(self.helm_program)], args, timeout=timeout)

    @contextmanager
    def forward(self, namespace: str, target: str, port: int) -> Iterator[str]:
        """Yield a URL under which this machine reaches `port` of a pod or Service meanwhile."""
        command = (*self.kubectl_command, "-n", namespace, "port-forward", target, f":{port}")
        with subprocess.Popen(
            command, env=self.environ(), stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout is not None
                words = process.stdout.readline().split()  # Forwarding from 127.0.0.1:N -> …
                if not words:
                    raise KubectlError(f"kubectl port-forward {target} {port} ended at once")
                yield f"http://{words[2]}"
            finally:
                process.terminate()

    def environ(self) -> Mapping[str, str]:
        """Return an environment in which helm sees no user's settings either."""
        folder = self.kubeconfig.parent / "helm"
        own = {f"HELM_{kind}_HOME": str(folder / kind) for kind in ("CACHE", "CONFIG", "DATA")}
        return {**super().environ(), **own}
