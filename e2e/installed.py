"""Fairstow as the chart installs it, as processes beside the local cluster.

Operator, extender and scheduler, each with its own ServiceAccount and the rights of the chart's
table. Used by tests that kill, stop and restart programs; e2e/test_chart.py has them as pods.
"""

from __future__ import annotations

import socket
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2e.controlplane.components import LOOPBACK
from e2e.own_scheduler import NAMESPACE, ROOT, Beside, beside
from e2e.rights import account
from fairstow.kube import permissions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.controlplane.client import Cluster

OPERATOR = "operator"
SERVICE = "fairstow-extender"


@dataclass
class Installed:
    """The programs.

    Attributes:
        own: extender and scheduler.
        operator: its rights.
        ports: for health and metrics, by the operators' names.
        enforced: names of the schedulers that ask the extender.
        restarts: whether programs that end by themselves are started again, as a kubelet does.
    """

    own: Beside
    operator: Cluster
    ports: dict[str, int] = field(default_factory=dict)
    enforced: str = "fairstow"
    restarts: bool = False

    @property
    def cluster(self) -> Cluster:
        """The cluster, with all rights."""
        return self.own.cluster

    def start_operator(self, name: str = OPERATOR, *arguments: str) -> None:
        """Start a replica of the operator."""
        pair = self.own.authority.issue("fairstow-operator", hosts=[LOOPBACK])
        with socket.create_server((LOOPBACK, 0)) as probe:
            self.ports[name] = probe.getsockname()[1]
        self.own.processes.spawn(
            name,
            [
                *(sys.executable, str(ROOT / "operator" / "main.py")),
                f"--namespace={NAMESPACE}",
                f"--replica={name}",
                f"--enforced-schedulers={self.enforced}",
                f"--extender-service={SERVICE}",
                f"--admin-listen={LOOPBACK}:{self.ports[name]}",
                f"--tls-cert={pair.cert}",
                f"--tls-key={pair.key}",
                *arguments,
            ],
            env={"PYTHONPATH": str(ROOT), "KUBECONFIG": str(self.operator.kubeconfig)},
        )

    def admin(self, path: str, token: str = "", *, of: str = OPERATOR) -> tuple[int, str]:
        """GET from an operator's admin port; status 0 while nobody answers."""
        return self.own.get(self.ports[of], path, token)

    def check(self) -> None:
        """Raise ComponentError if a program has ended that isn't to be started again."""
        if self.restarts:
            for name in self.own.processes.ended():
                self.own.processes.restart(name)
        self.own.processes.check()

    def kill(self, name: str = OPERATOR) -> None:
        """End a program as a crash does."""
        self.own.processes.kill_one(name)

    def stop(self, name: str = OPERATOR) -> None:
        """End a program as Kubernetes does."""
        self.own.processes.stop_one(name)

    def log(self, name: str = OPERATOR) -> str:
        """What a program has written."""
        return (self.own.folder / "logs" / f"{name}.log").read_text()


@contextmanager
def installed(cluster: Cluster, folder: Path, *, enforced: str = "fairstow") -> Iterator[Installed]:
    """Yield everything running."""
    with beside(cluster, folder) as own:
        cluster.apply(_endpoints("extender-0"))
        programs = Installed(own, operator_of(cluster, folder), enforced=enforced)
        own.start_extender("--replica=extender-0")
        own.start_scheduler()
        programs.start_operator()
        yield programs


def operator_of(cluster: Cluster, folder: Path) -> Cluster:
    """Return the cluster with the operator's rights, as the chart's table has them."""
    cluster.apply(account(permissions.OPERATOR, NAMESPACE))
    return cluster.as_service_account(
        NAMESPACE, "fairstow-operator", folder / "operator.kubeconfig"
    )


def _endpoints(*replicas: str) -> list[dict[str, Any]]:
    """The extender's Service with one endpoint a replica."""
    metadata = {"name": SERVICE, "namespace": NAMESPACE}
    endpoints = [
        {
            "addresses": [f"198.51.100.{index + 2}"],
            "hostname": replica,
            "conditions": {"ready": True},
        }
        for index, replica in enumerate(replicas)
    ]
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"ports": [{"port": 443}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": metadata | {"labels": {"kubernetes.io/service-name": SERVICE}},
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [{"port": 443}],
        },
    ]
