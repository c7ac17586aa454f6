"""The command line, configuration files and identities of each control-plane component.

Pure apart from writing those files into the cluster's folder; cluster.py starts the results.
"""

from __future__ import annotations

import json
import random
import socket
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.controlplane.realnode.config import ADDRESS
from e2e.controlplane.tls import Authority, KeyPair

if TYPE_CHECKING:
    from e2e.controlplane.options import ClusterOptions

SERVICE_RANGE = "10.96.0.0/16"
SERVICE_IP = "10.96.0.1"
LOOPBACK = "127.0.0.1"
KWOK_USER = "fairstow-e2e:kwok"
KUBELET_CLIENT = "kube-apiserver-kubelet-client"


@dataclass(frozen=True)
class Ports:
    """One free port per listener."""

    etcd: int
    etcd_peer: int
    apiserver: int
    controller_manager: int
    scheduler: int

    @classmethod
    def pick(cls) -> Ports:
        """Choose ports that are free now, below those the kernel gives to outgoing connections.

        Somebody may take one before its server listens; cluster.py then tries once more.
        """
        chosen: set[int] = set()
        while len(chosen) < len(fields(cls)):
            port = random.randrange(20_000, 30_000)
            with socket.socket() as probe:
                try:
                    probe.bind((LOOPBACK, port))
                except OSError:
                    continue
            chosen.add(port)
        return cls(*chosen)


@dataclass(frozen=True)
class Blueprint:
    """One cluster on paper: its folder, binary, ports, certificates and options."""

    folder: Path
    binary: Path
    ports: Ports
    authority: Authority
    options: ClusterOptions

    @property
    def server(self) -> str:
        """The API server's URL."""
        return f"https://{LOOPBACK}:{self.ports.apiserver}"

    def serving(self) -> KeyPair:
        """Return a certificate under which every component can serve."""
        names = ["localhost", LOOPBACK, SERVICE_IP, ADDRESS]
        names += ["kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        names += ["kubernetes.default.svc.cluster.local"]
        return self.authority.issue("serving", hosts=names)

    def kubeconfig(self, name: str, user: str, *groups: str) -> Path:
        """Write `<folder>/<name>.kubeconfig` for `user` in `groups`, with a new certificate."""
        pair = self.authority.issue(user, groups=groups)
        path = self.folder / f"{name}.kubeconfig"
        return self.authority.kubeconfig(path, self.server, pair)

    def etcd(self, serving: KeyPair) -> list[str]:
        """Return etcd's command: only holders of our certificates get in, nothing is synced."""
        client = f"https://{LOOPBACK}:{self.ports.etcd}"
        peer = f"https://{LOOPBACK}:{self.ports.etcd_peer}"
        ca = self.authority.pair.cert
        return [
            str(self.binary),
            "etcd",
            "--name=etcd",
            f"--data-dir={self.folder / 'etcd'}",
            "--unsafe-no-fsync",
            "--log-level=warn",
            "--quota-backend-bytes=4294967296",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=etcd={peer}",
            "--client-cert-auth",
            f"--trusted-ca-file={ca}",
            f"--cert-file={serving.cert}",
            f"--key-file={serving.key}",
            "--peer-client-cert-auth",
            f"--peer-trusted-ca-file={ca}",
            f"--peer-cert-file={serving.cert}",
            f"--peer-key-file={serving.key}",
        ]

    def apiserver(self, serving: KeyPair) -> list[str]:
        """Return the API server's command: RBAC and Node authorization, secure port only."""
        ca = self.authority.pair.cert
        etcd = self.authority.issue("kube-apiserver-etcd-client")
        kubelet = self.authority.issue(KUBELET_CLIENT)
        accounts = self.authority.issue("service-accounts")
        real = self.options.real_node
        return [
            str(self.binary),
            "kube-apiserver",
            f"--etcd-servers=https://{LOOPBACK}:{self.ports.etcd}",
            f"--etcd-cafile={ca}",
            f"--etcd-certfile={etcd.cert}",
            f"--etcd-keyfile={etcd.key}",
            f"--bind-address={'0.0.0.0' if real else LOOPBACK}",
            f"--advertise-address={ADDRESS if real else LOOPBACK}",
            f"--secure-port={self.ports.apiserver}",
            # Endpoints may not hold a loopback address, so there the kubernetes Service has none.
            f"--endpoint-reconciler-type={'lease' if real else 'none'}",
            f"--tls-cert-file={serving.cert}",
            f"--tls-private-key-file={serving.key}",
            f"--client-ca-file={ca}",
            f"--kubelet-client-certificate={kubelet.cert}",
            f"--kubelet-client-key={kubelet.key}",
            f"--kubelet-certificate-authority={ca}",
            "--kubelet-preferred-address-types=InternalIP",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-signing-key-file={accounts.key}",
            f"--service-account-key-file={accounts.key}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--allow-privileged",
            "--profiling=false",
            *self._feature_gates(),
            *self.options.apiserver_args,
        ]

    def controller_manager(self, serving: KeyPair) -> list[str]:
        """Return the controller manager's command: all controllers except IP allocation."""
        kubeconfig = self.kubeconfig("controller-manager", "system:kube-controller-manager")
        ca = self.authority.pair
        return [
            str(self.binary),
            "kube-controller-manager",
            *self._served(serving, kubeconfig, self.ports.controller_manager),
            f"--kubeconfig={kubeconfig}",
            # Fake nodes need no pod address ranges; node-lifecycle must stay, it removes the
            # not-ready taint from new nodes.
            "--controllers=*,-node-ipam-controller",
            "--use-service-account-credentials",
            f"--service-account-private-key-file={self.authority.folder / 'service-accounts.key'}",
            f"--root-ca-file={ca.cert}",
            f"--cluster-signing-cert-file={ca.cert}",
            f"--cluster-signing-key-file={ca.key}",
            "--leader-elect=false",
            # By default it makes a folder below /usr/libexec, where root may.
            f"--flex-volume-plugin-dir={self.folder / 'volume-plugins'}",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            *self._feature_gates(),
            *self.options.controller_manager_args,
        ]

    def scheduler(self, serving: KeyPair) -> list[str]:
        """Return the scheduler's command, writing its configuration file first."""
        kubeconfig = self.kubeconfig("scheduler", "system:kube-scheduler")
        config = {
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "leaderElection": {"leaderElect": False},
            "enableProfiling": False,
            **self.options.scheduler_config,
            "clientConnection": {
                "kubeconfig": str(kubeconfig),
                "qps": 1000,  # the default of 50 takes 20 s to bind 1,000 pods
                "burst": 2000,
                **self.options.scheduler_config.get("clientConnection", {}),
            },
        }
        path = self.folder / "scheduler.json"
        path.write_text(json.dumps(config, indent=1))
        return [
            str(self.binary),
            "kube-scheduler",
            f"--config={path}",
            *self._served(serving, kubeconfig, self.ports.scheduler),
            *self._feature_gates(),
            *self.options.scheduler_args,
        ]

    def _served(self, serving: KeyPair, kubeconfig: Path, port: int) -> list[str]:
        return [
            f"--bind-address={LOOPBACK}",
            f"--secure-port={port}",
            f"--tls-cert-file={serving.cert}",
            f"--tls-private-key-file={serving.key}",
            f"--client-ca-file={self.authority.pair.cert}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--authentication-skip-lookup",
            *(["--profiling=false"] if port != self.ports.scheduler else []),
        ]

    def _feature_gates(self) -> list[str]:
        gates = (f"{k}={str(v).lower()}" for k, v in sorted(self.options.feature_gates.items()))
        joined = ",".join(gates)
        return [f"--feature-gates={joined}"] if joined else []
