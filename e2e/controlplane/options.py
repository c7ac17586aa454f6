"""What a caller may choose about a local cluster. Read by components.py and cluster.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class ClusterOptions:
    """Everything has a default that suits tests with fake nodes."""

    feature_gates: Mapping[str, bool] = field(default_factory=dict)
    """Feature gates of all Kubernetes components."""
    apiserver_args: tuple[str, ...] = ()
    controller_manager_args: tuple[str, ...] = ()
    scheduler_args: tuple[str, ...] = ()
    scheduler_config: Mapping[str, Any] = field(default_factory=dict)
    """Top-level fields of KubeSchedulerConfiguration: profiles, extenders, …"""
    real_node: bool = False
    """Whether one node is real: kubelet, containerd, kube-proxy and CoreDNS (realnode/). Then all
    components share a network namespace; the kubeconfigs work inside and outside of it."""
    fake_nodes: bool = True
    """Whether KWOK plays the nodes annotated kwok.x-k8s.io/node=fake and their pods."""
    node_lease_seconds: int = 40
    """KWOK renews each fake node's lease four times in that span; raise it for 1,000s of nodes."""
    ready_timeout: float = 90.0
    """Seconds each component may take to become ready; on a quiet machine all take 8."""
