"""Fairstow's kinds, made known to a cluster as the chart does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fairstow.api import KINDS

if TYPE_CHECKING:
    from e2e.controlplane.client import Cluster

CRDS = Path(__file__).parents[1] / "crds"


def install_crds(cluster: Cluster) -> None:
    """Create the CRDs and wait until objects of them can be."""
    cluster.kubectl("apply", "--server-side", "-f", str(CRDS))
    names = [f"crd/{kind.resource.plural}.fairstow.dev" for kind in KINDS]
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
