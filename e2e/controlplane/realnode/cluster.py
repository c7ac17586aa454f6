"""A running cluster with a real node as tests see it. Handed out by the `real_cluster` fixture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from e2e.controlplane.client import Cluster
from e2e.controlplane.realnode.config import NODE_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class RealCluster(Cluster):
    """Like any cluster; besides, helm works and pods on `node_name` really run."""

    helm_program: Path
    node_name: str = NODE_NAME

    def helm(self, *args: str, timeout: float = 300) -> str:
        """Run helm and return its output. Raises KubectlError."""
        return self.run("helm", [str(self.helm_program)], args, timeout=timeout)

    def environ(self) -> Mapping[str, str]:
        """Return an environment in which helm sees no user's settings either."""
        folder = self.kubeconfig.parent / "helm"
        own = {f"HELM_{kind}_HOME": str(folder / kind) for kind in ("CACHE", "CONFIG", "DATA")}
        return {**super().environ(), **own}
